//! The worker's end of its link to the arbiter.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{MsgFlags, recv, send};
use pyo3::prelude::*;
use rgunicorn_wire::{ArbiterSays, WorkerSays};

/// Messages to and from the arbiter. Sending never blocks and never fails the caller: an arbiter that is gone is noticed
/// by the sentinel.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct Link {
    fd: OwnedFd,
    retire: AtomicBool,
    closed: AtomicBool,
}

#[pymethods]
impl Link {
    /// Takes over the descriptor.
    #[new]
    fn new(fd: RawFd) -> Self {
        // SAFETY: the forkserver passed this descriptor for the worker to own; nobody else closes it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Link { fd, retire: AtomicBool::new(false), closed: AtomicBool::new(false) }
    }

    /// The app is loaded and the worker serves.
    fn ready(&self) {
        self.say(&WorkerSays::Ready);
    }

    /// It could not boot and will exit with this code.
    fn failed(&self, exit: i32, reason: String) {
        self.say(&WorkerSays::Failed { exit, reason });
    }

    /// A TERM came from outside.
    fn stop_asked(&self) {
        self.say(&WorkerSays::StopAsked);
    }

    /// It leaves now.
    fn bye(&self) {
        self.say(&WorkerSays::Bye);
    }

    /// Whether the arbiter has told this worker to leave, or is gone. Reads what has arrived.
    pub fn retired(&self) -> bool {
        self.listen();
        self.retire.load(Ordering::Relaxed) || self.closed.load(Ordering::Relaxed)
    }

    /// The descriptor, for polling.
    pub fn fileno(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Link {
    /// Sends one message; a full or closed link drops it.
    pub fn say(&self, message: &WorkerSays) {
        let bytes = rgunicorn_wire::encode(message);
        let bytes =
            if bytes.len() > rgunicorn_wire::MAX_INLINE { rgunicorn_wire::encode(&shortened(message)) } else { bytes };
        let _ = send(self.fd.as_raw_fd(), &bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    fn listen(&self) {
        let mut buffer = [0u8; 4096];
        while !self.closed.load(Ordering::Relaxed) {
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => self.closed.store(true, Ordering::Relaxed),
                Ok(length) => {
                    if let Ok(ArbiterSays::Retire { drain: _ }) = rgunicorn_wire::decode(&buffer[..length]) {
                        self.retire.store(true, Ordering::Relaxed);
                    }
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(_) => self.closed.store(true, Ordering::Relaxed),
            }
        }
    }
}

fn shortened(message: &WorkerSays) -> WorkerSays {
    match message {
        WorkerSays::Failed { exit, reason } => {
            WorkerSays::Failed { exit: *exit, reason: reason.chars().take(1000).collect() }
        }
        other => other.clone(),
    }
}
