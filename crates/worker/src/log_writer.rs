//! A log target as Python sees it: a text stream that never makes its caller wait.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString};
use rgunicorn_logs::Writer;

/// Lines are written where they are logged: no thread may run here (forkserver, a child that the app forked).
const DIRECT: u8 = 0;
/// Lines go through the writer's thread.
const THREADED: u8 = 1;

/// See the module's head. In the forkserver it writes directly; a worker calls [`LogWriter::start`].
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct LogWriter {
    inner: Arc<Inner>,
    mode: AtomicU8,
}

/// What can be opened again without Python.
#[derive(Debug)]
pub struct Inner {
    fd: OwnedFd,
    writer: Writer,
}

impl Inner {
    /// Lines go to this file from now on; the number of the descriptor stays.
    pub fn reopen(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        // Both or none.
        let copy = file.try_clone_to_owned()?;
        crate::sys::replace(file, self.fd.as_raw_fd())?;
        self.writer.reopen(copy);
        Ok(())
    }
}

#[pymethods]
impl LogWriter {
    /// For an open descriptor, which is duplicated.
    #[new]
    fn new(fd: RawFd) -> PyResult<Self> {
        let copy = crate::sys::duplicate(fd)?;
        let writer = Writer::new(copy.try_clone()?);
        Ok(LogWriter { inner: Arc::new(Inner { fd: copy, writer }), mode: AtomicU8::new(DIRECT) })
    }

    /// From now on a thread writes (in a worker, once it is who it is to be).
    fn start(&self) {
        self.mode.store(THREADED, Ordering::Relaxed);
    }

    /// Writes a text of whole lines.
    fn write(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let length = text.len()?;
        match text.to_str() {
            Ok(text) => self.put(py, text.as_bytes()),
            // A surrogate (an undecodable file name in a message): shown as an escape rather than lost.
            Err(_) => {
                let bytes = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
                self.put(py, bytes.extract::<&[u8]>()?);
            }
        }
        Ok(length)
    }

    /// Writes several.
    fn writelines(&self, py: Python<'_>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in PyIterator::from_object(lines)? {
            self.write(py, line?.cast::<PyString>()?)?;
        }
        Ok(())
    }

    /// Nothing is held back here: logging's handlers call this after every line.
    fn flush(&self) {}

    /// Waits until everything is written, at most so many seconds.
    fn drain(&self, py: Python<'_>, seconds: f64) -> bool {
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        py.detach(|| self.inner.writer.flush(limit))
    }

    /// Lines go to this file from now on (it was opened again). The descriptor is duplicated.
    fn reopen(&self, fd: RawFd) -> PyResult<()> {
        Ok(self.inner.reopen(crate::sys::borrow(fd))?)
    }

    /// In a child that the app forked: the thread is not there, and what was waiting is its parent's to write.
    fn after_fork_in_child(&self) {
        if self.mode.swap(DIRECT, Ordering::Relaxed) == THREADED {
            self.inner.writer.disable();
        }
    }

    /// The descriptor.
    fn fileno(&self) -> RawFd {
        self.inner.fd.as_raw_fd()
    }

    /// Whether it is a terminal.
    fn isatty(&self) -> bool {
        nix::unistd::isatty(&self.inner.fd).unwrap_or(false)
    }

    /// As of a text stream.
    #[getter]
    fn encoding(&self) -> &'static str {
        "utf-8"
    }

    /// As of a text stream.
    #[getter]
    fn errors(&self) -> &'static str {
        "backslashreplace"
    }

    /// It is never closed.
    #[getter]
    fn closed(&self) -> bool {
        false
    }

    /// As of a text stream.
    fn writable(&self) -> bool {
        true
    }
}

impl LogWriter {
    /// The writer behind it, for lines that are made without Python.
    pub fn writer(&self) -> Writer {
        self.inner.writer.clone()
    }

    /// For whoever opens it again.
    pub fn share(&self) -> Arc<Inner> {
        Arc::clone(&self.inner)
    }

    fn put(&self, py: Python<'_>, bytes: &[u8]) {
        if self.mode.load(Ordering::Relaxed) == THREADED {
            self.inner.writer.push(bytes);
        } else {
            py.detach(|| write_all(&self.inner.fd, bytes));
        }
    }
}

fn write_all(fd: &OwnedFd, bytes: &[u8]) {
    use std::os::fd::AsFd;
    let mut rest = bytes;
    while !rest.is_empty() {
        match nix::unistd::write(fd, rest) {
            Ok(0) => return,
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(_) => return,
        }
    }
}
