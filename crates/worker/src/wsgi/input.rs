//! `wsgi.input`: the request's body, read as the app asks for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyConnectionResetError, PyOSError, PyStopIteration, PyTimeoutError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::body::{BodyError, Piece};
use super::exchange::Exchange;

/// See the module's head. What is buffered already costs no system call; the rest comes from the connection.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct Input {
    buffer: Mutex<Buffer>,
    /// Where the rest of the body comes from; `None`: all of it is in the buffer.
    stream: Option<(Arc<Exchange>, u64)>,
}

#[derive(Default)]
struct Buffer {
    data: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Input {
    /// A body of which `data` has been read, and all of it unless there is an exchange (and its turn) to read on from.
    pub fn new(data: Vec<u8>, stream: Option<(Arc<Exchange>, u64)>) -> Self {
        let ended = stream.is_none();
        Input { buffer: Mutex::new(Buffer { data, at: 0, ended }), stream }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until `enough` says so or the body ends. Comes back to Python at least once a second, for its signal handlers.
    fn fill(&self, py: Python<'_>, mut enough: impl FnMut(&[u8]) -> bool) -> PyResult<()> {
        loop {
            {
                let mut buffer = self.lock();
                if enough(&buffer.data[buffer.at..]) || buffer.ended {
                    return Ok(());
                }
                let at = std::mem::take(&mut buffer.at);
                buffer.data.drain(..at);
            }
            let Some((stream, turn)) = &self.stream else { return Ok(()) };
            let more = py.detach(|| {
                let mut piece = Vec::new();
                let more = stream.read_body(*turn, &mut piece);
                let mut buffer = self.lock();
                buffer.data.append(&mut piece);
                buffer.ended |= matches!(more, Ok(Piece::End) | Err(_));
                more
            });
            match more {
                Ok(Piece::Some | Piece::End) => {}
                Ok(Piece::Nothing) => py.check_signals()?,
                Err(error) => return Err(raised(&error)),
            }
        }
    }

    fn take<'py>(&self, py: Python<'py>, length: usize) -> Bound<'py, PyBytes> {
        let mut buffer = self.lock();
        let start = buffer.at;
        let end = start + length.min(buffer.data.len() - start);
        buffer.at = end;
        PyBytes::new(py, &buffer.data[start..end])
    }

    fn line<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyBytes>> {
        let (mut seen, mut end) = (0, None);
        self.fill(py, |data| {
            // Another thread may have taken some.
            let from = seen.min(data.len());
            end = memchr::memchr(b'\n', &data[from..]).map(|at| from + at + 1);
            seen = data.len();
            end.is_some() || data.len() >= limit
        })?;
        Ok(self.take(py, end.unwrap_or(usize::MAX).min(limit)))
    }
}

/// As Gunicorn: `OSError`, with the errno by which apps and frameworks know a client that left.
fn raised(error: &BodyError) -> PyErr {
    match error {
        BodyError::Bad(bad) => PyOSError::new_err(bad.to_string()),
        BodyError::Gone => {
            PyConnectionResetError::new_err((libc::ECONNRESET, "the client closed the connection within its request"))
        }
        BodyError::Stalled => {
            PyTimeoutError::new_err((libc::ETIMEDOUT, "the client sends its request's body too slowly"))
        }
        BodyError::Leaving => PyOSError::new_err((libc::ECANCELED, "the worker has to leave now")),
    }
}

/// Gunicorn's sizes: None and negative mean all.
fn size_of(size: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    match size {
        None => Ok(usize::MAX),
        Some(size) if size.is_none() => Ok(usize::MAX),
        Some(size) => {
            let number: i64 = size.extract().map_err(|_| PyTypeError::new_err("size must be an integral type"))?;
            Ok(usize::try_from(number).unwrap_or(usize::MAX))
        }
    }
}

#[pymethods]
impl Input {
    /// So many bytes, fewer only at the end; all without a size.
    #[pyo3(signature = (size=None))]
    fn read<'py>(&self, py: Python<'py>, size: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyBytes>> {
        let size = size_of(size)?;
        self.fill(py, |data| data.len() >= size)?;
        Ok(self.take(py, size))
    }

    /// A line with its end, at most so many bytes of it.
    #[pyo3(signature = (size=None))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyBytes>> {
        self.line(py, size_of(size)?)
    }

    /// All lines; with a hint, lines until so many bytes have come.
    #[pyo3(signature = (hint=None))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyList>> {
        let hint = match size_of(hint)? {
            0 => usize::MAX,
            hint => hint,
        };
        let lines = PyList::empty(py);
        let mut total = 0;
        while total < hint {
            let line = self.line(py, usize::MAX)?;
            if line.as_bytes().is_empty() {
                break;
            }
            total += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.line(py, usize::MAX)?;
        if line.as_bytes().is_empty() { Err(PyStopIteration::new_err(())) } else { Ok(line) }
    }
}
