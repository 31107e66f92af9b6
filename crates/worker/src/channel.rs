//! The forkserver's end of its link to the arbiter: whole messages, with descriptors beside them.

use std::io::{IoSlice, IoSliceMut, Write as _};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rgunicorn_wire::{MAX_INLINE, MAX_MESSAGE, MEMFD_MARK, Report};

use crate::json;

/// As many descriptors as the kernel passes at once (SCM_MAX_FD).
const MAX_FDS: usize = 253;

/// See the module's head. Closed in every child that is forked, so that nothing but the forkserver speaks on it.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct Channel {
    fd: AtomicI32,
}

#[pymethods]
impl Channel {
    /// Takes over the descriptor that the arbiter passed.
    #[new]
    fn new(fd: RawFd) -> PyResult<Self> {
        use nix::fcntl::{FcntlArg, FdFlag, fcntl};
        fcntl(crate::sys::borrow(fd), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(os_error)?;
        Ok(Channel { fd: AtomicI32::new(fd) })
    }

    /// Waits for a message: the object and the descriptors that came with it. `None`: the arbiter has closed its end.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, PyAny>, Vec<RawFd>)>> {
        let (bytes, mut fds) = loop {
            let fd = self.fd.load(Ordering::Relaxed);
            match py.detach(|| receive(fd)) {
                Ok(message) => break message,
                Err(Errno::EINTR) => py.check_signals()?,
                Err(Errno::ECONNRESET) => return Ok(None),
                Err(error) => return Err(os_error(error)),
            }
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let bytes = if bytes == MEMFD_MARK {
            if fds.is_empty() {
                return Err(PyValueError::new_err("a message came without its memfd"));
            }
            read_memfd(fds.remove(0))?
        } else {
            bytes
        };
        let value = serde_json::from_slice(&bytes).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let fds = fds.into_iter().map(IntoRawFd::into_raw_fd).collect();
        Ok(Some((json::to_python(py, &value)?, fds)))
    }

    /// Sends a report; one that is none of [`Report`] is an error here and never leaves.
    fn send(&self, py: Python<'_>, report: &Bound<'_, PyDict>) -> PyResult<()> {
        let report: Report = serde_json::from_value(json::from_python(report.as_any(), 0)?)
            .map_err(|error| PyValueError::new_err(format!("no report: {error}")))?;
        let bytes = rgunicorn_wire::encode(&report);
        let fd = self.fd.load(Ordering::Relaxed);
        py.detach(|| send(fd, &bytes)).map_err(PyErr::from)
    }

    /// Closes it.
    fn close(&self) {
        let fd = self.fd.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            drop(crate::sys::own(fd));
        }
    }

    /// The descriptor.
    fn fileno(&self) -> RawFd {
        self.fd.load(Ordering::Relaxed)
    }
}

fn os_error(error: Errno) -> PyErr {
    PyOSError::new_err((error as i32, error.desc()))
}

fn receive(fd: RawFd) -> Result<(Vec<u8>, Vec<OwnedFd>), Errno> {
    let mut buffer = vec![0; MAX_INLINE + 1];
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let (length, fds) = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(fd, &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(passed) = control {
                fds.extend(passed.into_iter().map(crate::sys::own));
            }
        }
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(Errno::EMSGSIZE);
        }
        (message.bytes, fds)
    };
    buffer.truncate(length);
    Ok((buffer, fds))
}

fn read_memfd(fd: OwnedFd) -> PyResult<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(fd);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Err(PyValueError::new_err("a message is longer than any may be"));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn send(fd: RawFd, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.len() <= MAX_INLINE {
        return send_with(fd, bytes, &[]);
    }
    let memfd = memfd_create(c"rgunicorn-message", MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(memfd);
    file.write_all(bytes)?;
    send_with(fd, MEMFD_MARK, &[file.as_raw_fd()])
}

fn send_with(fd: RawFd, bytes: &[u8], fds: &[RawFd]) -> std::io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(fd, &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
