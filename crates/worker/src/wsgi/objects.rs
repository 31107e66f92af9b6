//! What the app gets hold of: `start_response`, `write`, `wsgi.early_hints`, `wsgi.file_wrapper`, `gunicorn.socket`.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use pyo3::exceptions::{PyAssertionError, PyAttributeError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use rgunicorn_http::response::{hop_by_hop, valid_name, valid_value};

use super::exchange::{AppHead, Exchange, Stage};
use super::ffi::{append_latin1, references};

/// `start_response` of PEP 3333.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct StartResponse {
    exchange: Arc<Exchange>,
    write: Py<Write>,
}

/// The `write` callable that it returns.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct Write {
    exchange: Arc<Exchange>,
}

/// `wsgi.early_hints`: sends a 103.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct EarlyHints {
    exchange: Arc<Exchange>,
}

impl StartResponse {
    /// For the responses of one exchange.
    pub fn new(py: Python<'_>, exchange: &Arc<Exchange>) -> PyResult<Self> {
        let write = Py::new(py, Write { exchange: Arc::clone(exchange) })?;
        Ok(StartResponse { exchange: Arc::clone(exchange), write })
    }

    /// Whether the app has kept its `write`.
    pub fn write_is_kept(&self, py: Python<'_>) -> bool {
        references(self.write.bind(py).as_any()) > 1
    }
}

impl EarlyHints {
    /// For the responses of one exchange.
    pub fn new(exchange: &Arc<Exchange>) -> Self {
        EarlyHints { exchange: Arc::clone(exchange) }
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info=None))]
    fn __call__(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<Write>> {
        let stage = self.exchange.lock().stage;
        match (exc_info, stage) {
            (Some(exc_info), Stage::Sent) => return Err(raised(exc_info)),
            (None, Stage::Set | Stage::Sent) => {
                return Err(PyAssertionError::new_err("Response headers already set!"));
            }
            _ => {}
        }
        // No lock while Python objects are looked at: that can run Python code. A head that is refused replaces none.
        let mut head = std::mem::take(&mut self.exchange.lock().spare);
        head.reset();
        let read = read_head(&mut head, status, headers);
        let mut state = self.exchange.lock();
        if read.is_ok() {
            std::mem::swap(&mut state.app, &mut head);
            state.stage = Stage::Set;
        }
        state.spare = head;
        drop(state);
        read?;
        Ok(self.write.clone_ref(py))
    }
}

fn raised(exc_info: &Bound<'_, PyAny>) -> PyErr {
    match exc_info.get_item(1) {
        Ok(value) => PyErr::from_value(value),
        Err(_) => PyAssertionError::new_err("Response headers already sent!"),
    }
}

/// Reads status and headers as PEP 3333 and Gunicorn have them: `str` only, tokens as names, no control characters.
fn read_head(head: &mut AppHead, status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
    let status = status
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("status must be str, not {}", type_name(status))))?;
    append_latin1(status, &mut head.status)?;
    head.code = head
        .status
        .get(..3)
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .filter(|code| (100..1000).contains(code) && head.status.get(3).is_none_or(|&b| b == b' '))
        .ok_or_else(|| PyValueError::new_err(format!("status must begin with three digits and a blank: {status}")))?;
    if !valid_value(&head.status) {
        return Err(PyValueError::new_err(format!("status holds control characters: {}", status.repr()?)));
    }
    if let Ok(list) = headers.cast::<PyList>() {
        for item in list.iter() {
            read_field(head, &item)?;
        }
    } else {
        for item in headers.try_iter()? {
            read_field(head, &item?)?;
        }
    }
    Ok(())
}

fn read_field(head: &mut AppHead, item: &Bound<'_, PyAny>) -> PyResult<()> {
    let (name, value) = match item.cast::<PyTuple>() {
        Ok(pair) if pair.len() == 2 => (pair.get_item(0)?, pair.get_item(1)?),
        _ => pair(item)?,
    };
    let (name, value) = (as_text(&name)?, as_text(&value)?);
    let start = head.fields.len();
    append_latin1(name, &mut head.fields)?;
    let name_end = head.fields.len();
    if !valid_name(&head.fields[start..name_end]) {
        return Err(PyValueError::new_err(format!("invalid header name: {}", name.repr()?)));
    }
    head.fields.extend_from_slice(b": ");
    append_latin1(value, &mut head.fields)?;
    let written = &head.fields[name_end + 2..];
    let trimmed = written.trim_ascii();
    if !valid_value(trimmed) {
        return Err(PyValueError::new_err(format!("invalid value of header {name}: {}", value.repr()?)));
    }
    let lead = written.len() - written.trim_ascii_start().len();
    let length = trimmed.len();
    head.fields.drain(name_end + 2..name_end + 2 + lead);
    head.fields.truncate(name_end + 2 + length);
    let (raw_name, raw_value) = (&head.fields[start..name_end], &head.fields[name_end + 2..]);
    if raw_name.eq_ignore_ascii_case(b"content-length") {
        let length = std::str::from_utf8(raw_value).ok().and_then(|digits| digits.parse().ok());
        head.content_length = Some(length.ok_or_else(|| {
            PyValueError::new_err(format!(
                "Content-Length is no number: {}",
                value.repr().map_or_else(|_| String::new(), |r| r.to_string())
            ))
        })?);
        head.fields.truncate(start);
        return Ok(());
    }
    if hop_by_hop(raw_name) {
        // An app that upgrades a connection (to WebSocket) says so in these two; the others are the server's own.
        if raw_name.eq_ignore_ascii_case(b"connection") {
            head.upgrade |= raw_value.eq_ignore_ascii_case(b"upgrade");
            head.fields.truncate(start);
            return Ok(());
        }
        if !(raw_name.eq_ignore_ascii_case(b"upgrade") && raw_value.eq_ignore_ascii_case(b"websocket")) {
            head.fields.truncate(start);
            return Ok(());
        }
    }
    head.fields.extend_from_slice(b"\r\n");
    Ok(())
}

/// PEP 3333 asks for tuples; whatever can be unpacked into two will do, as in Gunicorn.
fn pair<'py>(item: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let mut parts = item.try_iter()?;
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(value), None) => Ok((name?, value?)),
        _ => Err(PyValueError::new_err(format!("a header must be a name and a value: {}", item.repr()?))),
    }
}

fn as_text<'p, 'py>(part: &'p Bound<'py, PyAny>) -> PyResult<&'p Bound<'py, PyString>> {
    part.cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("header names and values must be str, not {}", type_name(part))))
}

/// The name of an object's type, for messages.
pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string())
}

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let bytes = data
            .cast::<PyBytes>()
            .map_err(|_| PyTypeError::new_err(format!("write() takes bytes, not {}", type_name(data))))?;
        let (unset, over) = {
            let state = self.exchange.lock();
            (state.stage == Stage::Unset, state.conn.is_none())
        };
        if over {
            return Err(PyOSError::new_err("the request of this write() is over"));
        }
        if unset {
            return Err(PyAssertionError::new_err("write() before start_response()"));
        }
        super::respond::send(py, &self.exchange, bytes.as_bytes())
    }
}

#[pymethods]
impl EarlyHints {
    fn __call__(&self, py: Python<'_>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut text = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
        for item in headers.try_iter()? {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
            let start = text.len();
            append_text(&name, &mut text)?;
            if !valid_name(&text[start..]) {
                return Err(PyValueError::new_err(format!("invalid header name: {}", name.repr()?)));
            }
            text.extend_from_slice(b": ");
            let start = text.len();
            append_text(&value, &mut text)?;
            if !valid_value(&text[start..]) {
                return Err(PyValueError::new_err(format!("invalid header value: {}", value.repr()?)));
            }
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        py.detach(|| self.exchange.interim(&text));
        Ok(())
    }
}

fn append_text(part: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(bytes) = part.cast::<PyBytes>() {
        out.extend_from_slice(bytes.as_bytes());
        return Ok(());
    }
    append_latin1(part.cast::<PyString>()?, out)
}

/// `wsgi.file_wrapper`: an iterable of a file's blocks, which the server sends by sendfile(2) where it can.
#[pyclass(frozen, subclass, module = "rgunicorn._rgunicorn")]
pub struct FileWrapper {
    /// The file-like object.
    #[pyo3(get)]
    pub filelike: Py<PyAny>,
    /// Bytes a block.
    #[pyo3(get)]
    pub blksize: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize=8192))]
    fn new(filelike: Py<PyAny>, blksize: usize) -> Self {
        FileWrapper { filelike, blksize }
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1("read", (self.blksize,))?;
        Ok(if block.is_truthy()? { Some(block) } else { None })
    }

    fn __getitem__<'py>(&self, py: Python<'py>, _key: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let block = self.filelike.bind(py).call_method1("read", (self.blksize,))?;
        if block.is_truthy()? { Ok(block) } else { Err(pyo3::exceptions::PyIndexError::new_err("end of file")) }
    }

    /// Closes the file, if it can be closed.
    pub fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt("close")? {
            Some(close) => close.call0().map(|_| ()),
            None => Ok(()),
        }
    }
}

/// `gunicorn.socket`: the client's socket, made when the app first uses it. From then on the connection is the app's.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct LazySocket {
    exchange: Arc<Exchange>,
    /// Which connection it stands for: the exchange serves others after it.
    serial: u64,
    socket: pyo3::sync::PyOnceLock<Py<PyAny>>,
}

impl LazySocket {
    /// For the connection with this serial number, while the exchange holds it.
    pub fn new(exchange: &Arc<Exchange>, serial: u64) -> Self {
        LazySocket { exchange: Arc::clone(exchange), serial, socket: pyo3::sync::PyOnceLock::new() }
    }

    /// Whether its connection can be found through this exchange.
    pub fn is_of(&self, exchange: &Arc<Exchange>) -> bool {
        Arc::ptr_eq(&self.exchange, exchange)
    }

    fn real<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let socket = self.socket.get_or_try_init(py, || {
            use std::os::fd::IntoRawFd;
            let over = || PyOSError::new_err("the request of this connection is over");
            let copy = {
                let state = self.exchange.lock();
                let conn = state.conn.as_ref().filter(|conn| conn.serial == self.serial).ok_or_else(over)?;
                conn.fd.try_clone()?
            };
            let kwargs = pyo3::types::PyDict::new(py);
            kwargs.set_item("fileno", copy.as_raw_fd())?;
            let socket = py.import("socket")?.getattr("socket")?.call((), Some(&kwargs))?;
            let _ = copy.into_raw_fd(); // it is the Python object's now
            {
                let mut state = self.exchange.lock();
                let state = &mut *state;
                let conn = state.conn.as_mut().filter(|conn| conn.serial == self.serial).ok_or_else(over)?;
                let mut response = Vec::new();
                if let Some(kept) = self.exchange.pulse.seat.in_flight.take_kept(&mut response) {
                    state.dead |= kept.failed || conn.send(&[&response[kept.sent..]]).is_err();
                }
                // Nobody knows what the app will read and write there.
                conn.taken = true;
                state.keep_alive = false;
            }
            socket.call_method1("setblocking", (true,))?;
            PyResult::Ok(socket.unbind())
        })?;
        Ok(socket.bind(py).clone())
    }
}

#[pymethods]
impl LazySocket {
    fn __getattr__<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        // Whoever copies, pickles or inspects the environ does not mean to take the connection.
        if name.to_str().is_ok_and(|name| name.starts_with("__")) {
            return Err(PyAttributeError::new_err(name.clone().unbind()));
        }
        self.real(py)?.getattr(name)
    }
}
