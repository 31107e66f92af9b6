//! The worker's end of its link to the arbiter.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
use pyo3::prelude::*;
use rgunicorn_wire::message::Logs;
use rgunicorn_wire::{ArbiterSays, WorkerSays};

use crate::log_writer::{self, LogWriter};

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
    reading: Mutex<()>,
    retire: AtomicBool,
    drain: AtomicBool,
    heirs: AtomicBool,
    closing: AtomicBool,
    closed: AtomicBool,
    logs: OnceLock<[Option<Arc<log_writer::Inner>>; 2]>,
    /// Descriptors to give up for those that come with a message, and for what is done with them.
    spares: Mutex<Vec<OwnedFd>>,
}

#[pymethods]
impl Link {
    /// Takes over the descriptor.
    #[new]
    fn new(fd: RawFd) -> Self {
        let (reading, retire, drain, heirs, closing, closed, logs) = Default::default();
        let (fd, spares) = (crate::sys::own(fd), Mutex::new(spares()));
        Link { inner: Arc::new(LinkInner { fd, reading, retire, drain, heirs, closing, closed, logs, spares }) }
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

    /// Files that the app is made of. False: there is no room, and nothing was said.
    fn files(&self, files: Vec<String>) -> bool {
        self.inner.try_say(&rgunicorn_wire::encode(&WorkerSays::Files { files }))
    }

    /// It leaves now.
    fn bye(&self) {
        self.inner.say(&WorkerSays::Bye);
    }

    /// Whether the arbiter has told this worker to leave, or is gone. Reads what has arrived.
    fn retired(&self) -> bool {
        self.inner.retired()
    }

    /// What to write to other files when the arbiter has opened the logs again.
    #[pyo3(signature = (error, access))]
    fn reopens(&self, error: Option<PyRef<'_, LogWriter>>, access: Option<PyRef<'_, LogWriter>>) {
        let _ = self.inner.logs.set([error, access].map(|log| log.map(|log| log.share())));
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

    /// Whether it is the arbiter that sends this worker away, as far as has been read.
    pub fn sent_away(&self) -> bool {
        self.retire.load(Ordering::Relaxed)
    }

    /// Whether other workers will take connections of this one, which has been sent away.
    pub fn has_heirs(&self) -> bool {
        self.heirs.load(Ordering::Relaxed) && !self.drains()
    }

    /// Whether it has said all that it can say.
    pub fn ended(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether nobody else will take what waits in the listeners' queues.
    pub fn drains(&self) -> bool {
        self.drain.load(Ordering::Relaxed)
    }

    /// Whether the server is about to stop, and connections are not to be kept.
    pub fn closes(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Sends one message. False: the link is full or closed, and nothing was said.
    pub fn say(&self, message: &WorkerSays) -> bool {
        let bytes = rgunicorn_wire::encode(message);
        let bytes =
            if bytes.len() > rgunicorn_wire::MAX_INLINE { rgunicorn_wire::encode(&shortened(message)) } else { bytes };
        self.try_say(&bytes)
    }

    fn try_say(&self, bytes: &[u8]) -> bool {
        send(self.raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).is_ok()
    }

    fn listen(&self) {
        // Whoever asks while another thread has a message in its hands waits until what that says is known.
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let _spared = self.spare();
        while !self.closed.load(Ordering::Relaxed) {
            match self.receive() {
                Ok((bytes, _)) if bytes.is_empty() => self.closed.store(true, Ordering::Relaxed),
                Ok((bytes, fds)) => match rgunicorn_wire::decode(&bytes) {
                    Ok(ArbiterSays::Retire { drain, heirs }) => {
                        // Said anew when those who would have stayed leave too.
                        self.heirs.store(heirs, Ordering::Relaxed);
                        self.drain.fetch_or(drain, Ordering::Relaxed);
                        self.retire.store(true, Ordering::Relaxed);
                    }
                    Ok(ArbiterSays::Drain) => self.closing.store(true, Ordering::Relaxed),
                    Ok(ArbiterSays::Logs(logs)) => self.reopen(logs, fds),
                    Err(_) => {}
                },
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(_) => self.closed.store(true, Ordering::Relaxed),
            }
        }
    }

    /// One message, empty at the link's end, and the descriptors that came with it.
    fn receive(&self) -> nix::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut buffer = [0u8; 4096];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let mut space = nix::cmsg_space!([RawFd; 2]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.raw_fd(), &mut parts, Some(&mut space), flags)?;
        let length = message.bytes;
        let mut fds = Vec::new();
        // An error: there was no room for descriptors. The message has come all the same.
        for control in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                fds.extend(numbers.into_iter().map(crate::sys::own));
            }
        }
        Ok((buffer[..length].to_vec(), fds))
    }

    /// Gives up the spare descriptors until what comes back is dropped.
    fn spare(&self) -> Spared<'_> {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares.clear();
        Spared(spares)
    }

    /// Without a descriptor for it a log stays where it is.
    fn reopen(&self, logs: Logs, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let error = if logs.error { fds.next() } else { None };
        let access = if logs.access { fds.next() } else { None };
        let Some([own_error, own_access]) = self.logs.get() else { return };
        for (file, log) in [(&error, own_error), (&access, own_access)] {
            if let (Some(file), Some(log)) = (file, log) {
                let _ = log.reopen(file.as_fd());
            }
        }
        if let (true, Some(file)) = (logs.captured, &error) {
            for number in [1, 2] {
                let _ = crate::sys::replace(file.as_fd(), number);
            }
        }
    }
}

/// See [`LinkInner::spare`].
struct Spared<'l>(MutexGuard<'l, Vec<OwnedFd>>);

impl Drop for Spared<'_> {
    fn drop(&mut self) {
        *self.0 = spares();
    }
}

/// For both logs, and for a copy of each while it is opened again.
fn spares() -> Vec<OwnedFd> {
    let null = || std::fs::File::open("/dev/null").ok().map(OwnedFd::from);
    std::iter::repeat_with(null).take(4).flatten().collect()
}

fn shortened(message: &WorkerSays) -> WorkerSays {
    match message {
        WorkerSays::Failed { exit, reason } => {
            WorkerSays::Failed { exit: *exit, reason: reason.chars().take(1000).collect() }
        }
        other => other.clone(),
    }
}
