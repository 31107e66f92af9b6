//! What the app returned, on its way to the client.

use std::os::fd::RawFd;

use pyo3::exceptions::{PyAssertionError, PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyTuple};

use super::FileWrapper;
use super::exchange::{Exchange, Stage};
use super::gateway::{Called, Gateway};
use super::objects::type_name;

/// Bodies up to this size are copied behind their head and sent after the GIL is let go; bigger ones are sent from Python's
/// memory while it is let go.
const COPIED_BODY: usize = 32 * 1024;

impl Gateway {
    /// Sends what the app returned.
    pub(super) fn respond(&mut self, py: Python<'_>, body: &Bound<'_, PyAny>) -> PyResult<Called> {
        if let Ok(list) = body.cast_exact::<PyList>() {
            if list.len() == 1 {
                return self.respond_single(py, &list.get_item(0)?);
            }
        } else if let Ok(tuple) = body.cast_exact::<PyTuple>() {
            if tuple.len() == 1 {
                return self.respond_single(py, &tuple.get_item(0)?);
            }
        } else if let Ok(file) = body.cast_exact::<FileWrapper>()
            && self.sendfile
            && self.respond_file(py, file.get())?
        {
            return Ok(Called::Done);
        }
        for item in PyIterator::from_object(body)? {
            let item = item?;
            let bytes = as_bytes(&item)?;
            self.started()?;
            if !self.keep(bytes) {
                send(py, &self.exchange, bytes)?;
            }
            if self.exchange.lock().dead {
                return Ok(Called::Done);
            }
        }
        self.started()?;
        py.detach(|| self.exchange.finish());
        Ok(Called::Done)
    }

    /// All of a body that its length promises, in one piece, while the app may have more to do (it is an iterator, and to be
    /// closed): it is sent when the app is done, or by the sentinel when that takes long. So the client need not wait for the
    /// app, which PEP 3333 forbids. False: it is to be sent now.
    fn keep(&mut self, bytes: &[u8]) -> bool {
        let mut state = self.exchange.lock();
        let whole = state.stage == Stage::Set && state.app.content_length == Some(bytes.len() as u64);
        // Behind something that the client has not taken yet, or that the app sends itself, it keeps its place.
        let next = state.conn.as_ref().is_some_and(|conn| conn.out.is_empty() && !conn.taken);
        if !whole || !next || bytes.len() > COPIED_BODY || self.is_python_access() || self.after {
            return false;
        }
        self.out.clear();
        if self.exchange.whole_head(&mut state, &mut self.out, bytes.len() as u64) {
            self.out.extend_from_slice(state.clip(bytes));
            self.exchange.pulse.seat.in_flight.keep(&mut self.out);
            self.exchange.pulse.beat();
        }
        true
    }

    /// A body of one piece: its length is known, head and body go in one system call.
    fn respond_single(&mut self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<Called> {
        let bytes = as_bytes(item)?;
        self.started()?;
        let mut state = self.exchange.lock();
        if state.stage == Stage::Sent {
            drop(state);
            send(py, &self.exchange, bytes)?;
            py.detach(|| self.exchange.finish());
            return Ok(Called::Done);
        }
        self.out.clear();
        if !self.exchange.whole_head(&mut state, &mut self.out, bytes.len() as u64) {
            return Ok(Called::Done);
        }
        let bytes = state.clip(bytes);
        if bytes.len() <= COPIED_BODY {
            self.out.extend_from_slice(bytes);
            return Ok(Called::Whole);
        }
        drop(state);
        let length = bytes.len();
        let body = item.cast::<PyBytes>().map_err(PyErr::from)?.clone().into();
        let (out, exchange) = (&self.out, &self.exchange);
        // What comes back of the body is dropped here, attached.
        drop(py.detach(|| exchange.send_object(out, body, length)));
        Ok(Called::Done)
    }

    /// sendfile(2) for a wrapped file. False: it is none that the kernel can send, and its blocks are to be read.
    fn respond_file(&self, py: Python<'_>, file: &FileWrapper) -> PyResult<bool> {
        let Some((fd, offset)) = plain_file(file.filelike.bind(py))? else { return Ok(false) };
        let Ok(stat) = nix::sys::stat::fstat(crate::sys::borrow(fd)) else { return Ok(false) };
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Ok(false);
        }
        let left = u64::try_from(stat.st_size.saturating_sub(offset)).unwrap_or(0);
        self.started()?;
        // A copy of the descriptor: the app's file is closed as soon as close() has been called.
        let copy = crate::sys::borrow(fd).try_clone_to_owned()?;
        py.detach(|| {
            self.exchange.write_file(copy, offset, left);
            self.exchange.finish();
        });
        Ok(true)
    }

    fn started(&self) -> PyResult<()> {
        match self.exchange.lock().stage {
            Stage::Unset => Err(PyAssertionError::new_err("the app returned a body but never called start_response()")),
            _ => Ok(()),
        }
    }
}

/// Sends a piece of the body and waits, detached, until not too much of it is kept for the client. Comes back to Python at
/// least once a second, for its signal handlers.
pub(super) fn send(py: Python<'_>, exchange: &Exchange, bytes: &[u8]) -> PyResult<()> {
    if !py.detach(|| exchange.write(bytes)) {
        return Ok(());
    }
    let turn = exchange.lock().turn;
    loop {
        py.check_signals()?;
        if !py.detach(|| exchange.wait_for_room(turn)) {
            break;
        }
    }
    if exchange.leaves() {
        return Err(PyOSError::new_err((libc::ECANCELED, "the worker has to leave now")));
    }
    Ok(())
}

fn as_bytes<'b>(item: &'b Bound<'_, PyAny>) -> PyResult<&'b [u8]> {
    match item.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes()),
        Err(_) => Err(PyTypeError::new_err(format!("the app's body must consist of bytes, not {}", type_name(item)))),
    }
}

/// Descriptor and position of a file that the kernel can send: only Python's own FileIO and BufferedReader, since the
/// `fileno()` of others (a GzipFile's is the compressed file) need not mean what `read()` gives.
fn plain_file(file: &Bound<'_, PyAny>) -> PyResult<Option<(RawFd, i64)>> {
    let io = file.py().import("_io")?;
    let kind = file.get_type();
    let plain = |name: &str| io.getattr(name).map(|known| kind.is(&known));
    let raw = if plain("FileIO")? {
        file.clone()
    } else if plain("BufferedReader")? || plain("BufferedRandom")? {
        let raw = file.getattr("raw")?;
        if !raw.get_type().is(&io.getattr("FileIO")?) {
            return Ok(None);
        }
        raw
    } else {
        return wrapped_tempfile(file);
    };
    let (Ok(fd), Ok(offset)) = (raw.call_method0("fileno"), file.call_method0("tell")) else { return Ok(None) };
    Ok(Some((fd.extract()?, offset.extract()?)))
}

/// `tempfile.NamedTemporaryFile` wraps a plain file in an object of its own.
fn wrapped_tempfile(file: &Bound<'_, PyAny>) -> PyResult<Option<(RawFd, i64)>> {
    if file.get_type().name()? != "_TemporaryFileWrapper" {
        return Ok(None);
    }
    match file.getattr_opt("file")? {
        Some(inner) if inner.get_type().name()? != "_TemporaryFileWrapper" => plain_file(&inner),
        _ => Ok(None),
    }
}
