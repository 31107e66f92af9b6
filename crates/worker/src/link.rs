//! The worker's end of its link to the arbiter.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{MsgFlags, recv, send};
use pyo3::prelude::*;
use rgunicorn_wire::{ArbiterSays, WorkerSays};

/// Messages to and from the arbiter. Sending never blocks and never fails the caller: an arbiter that is gone is noticed
/// by the sentinel.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct Link {
    inner: Arc<LinkInner>,
}

/// What the engine and its threads share of it.
#[derive(Debug)]
pub struct LinkInner {
    fd: OwnedFd,
    retire: AtomicBool,
    drain: AtomicBool,
    closed: AtomicBool,
}

#[pymethods]
impl Link {
    /// Takes over the descriptor.
    #[new]
    fn new(fd: RawFd) -> Self {
        let (retire, drain, closed) = Default::default();
        Link { inner: Arc::new(LinkInner { fd: crate::sys::own(fd), retire, drain, closed }) }
    }

    /// The app is loaded and the worker serves.
    fn ready(&self) {
        self.inner.say(&WorkerSays::Ready);
    }

    /// It could not boot and will exit with this code.
    fn failed(&self, exit: i32, reason: String) {
        self.inner.say(&WorkerSays::Failed { exit, reason });
    }

    /// A TERM came from outside.
    fn stop_asked(&self) {
        self.inner.say(&WorkerSays::StopAsked);
    }

    /// It leaves now.
    fn bye(&self) {
        self.inner.say(&WorkerSays::Bye);
    }

    /// Whether the arbiter has told this worker to leave, or is gone. Reads what has arrived.
    fn retired(&self) -> bool {
        self.inner.retired()
    }

    /// The descriptor, for polling.
    fn fileno(&self) -> RawFd {
        self.inner.raw_fd()
    }
}

impl Link {
    /// For the engine.
    pub fn share(&self) -> Arc<LinkInner> {
        Arc::clone(&self.inner)
    }
}

impl LinkInner {
    /// The raw descriptor.
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether the arbiter has told this worker to leave, or is gone. Reads what has arrived.
    pub fn retired(&self) -> bool {
        self.listen();
        self.told()
    }

    /// Whether an order to leave has been read, or the link's end; reads nothing.
    pub fn told(&self) -> bool {
        self.retire.load(Ordering::Relaxed) || self.closed.load(Ordering::Relaxed)
    }

    /// Whether nobody else will take what waits in the listeners' queues.
    pub fn drains(&self) -> bool {
        self.drain.load(Ordering::Relaxed)
    }

    /// Sends one message; a full or closed link drops it.
    pub fn say(&self, message: &WorkerSays) {
        let bytes = rgunicorn_wire::encode(message);
        let bytes =
            if bytes.len() > rgunicorn_wire::MAX_INLINE { rgunicorn_wire::encode(&shortened(message)) } else { bytes };
        let _ = send(self.raw_fd(), &bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    fn listen(&self) {
        let mut buffer = [0u8; 4096];
        while !self.closed.load(Ordering::Relaxed) {
            match recv(self.raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => self.closed.store(true, Ordering::Relaxed),
                Ok(length) => {
                    if let Ok(ArbiterSays::Retire { drain }) = rgunicorn_wire::decode(&buffer[..length]) {
                        self.drain.fetch_or(drain, Ordering::Relaxed);
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
