//! The few Python C-API calls of the hot path that PyO3 has no equally cheap safe form for.

use std::ffi::c_char;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{Borrowed, ffi};

/// A `str` of bytes as latin-1, which is how WSGI carries bytes in text (PEP 3333, Unicode Issues).
pub fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: the pointer and length describe a live slice; the result is a new reference or NULL with an exception set.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(
            bytes.as_ptr().cast::<c_char>(),
            bytes.len() as ffi::Py_ssize_t,
            std::ptr::null(),
        );
        Bound::from_owned_ptr_or_err(py, text).map(|text| text.cast_into_unchecked())
    }
}

/// Sets an item of a dict.
pub fn set(dict: &Bound<'_, PyDict>, key: &Py<PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: all three are live objects; PyDict_SetItem takes no references.
    if unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) } < 0 {
        return Err(PyErr::fetch(dict.py()));
    }
    Ok(())
}

/// The value under `key`, if there is one.
pub fn get<'py>(dict: &Bound<'py, PyDict>, key: &Py<PyString>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: both are live; the result is a borrowed reference, made strong before anything else can run.
    unsafe {
        let value = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        (!value.is_null()).then(|| Borrowed::from_ptr(dict.py(), value).to_owned())
    }
}

/// Calls `callable(first, second)`.
pub fn call2<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let null: *mut ffi::PyObject = std::ptr::null_mut();
    // SAFETY: live objects, NULL-terminated; the result is a new reference or NULL with an exception set.
    unsafe {
        let result = ffi::PyObject_CallFunctionObjArgs(callable.as_ptr(), first.as_ptr(), second.as_ptr(), null);
        Bound::from_owned_ptr_or_err(callable.py(), result)
    }
}

/// Appends a `str` as latin-1 bytes; a character above U+00FF is an error.
pub fn append_latin1(text: &Bound<'_, PyString>, out: &mut Vec<u8>) -> PyResult<()> {
    let utf8 = text.to_str().map_err(|_| PyValueError::new_err("a header holds a surrogate, which is no character"))?;
    if utf8.is_ascii() {
        out.extend_from_slice(utf8.as_bytes());
        return Ok(());
    }
    for c in utf8.chars() {
        let byte = u8::try_from(u32::from(c)).map_err(|_| {
            PyValueError::new_err(format!("a header holds {c:?}, which latin-1 does not have: {utf8:?}"))
        })?;
        out.push(byte);
    }
    Ok(())
}

/// How many references an object has.
pub fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: a live object, and the GIL is held.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}
