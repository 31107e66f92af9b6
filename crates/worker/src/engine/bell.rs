//! What wakes the sentinel.
//!
//! While requests run it looks around every millisecond, so that nobody has to tell it of one. When there have been none
//! for a while it sleeps, and the first request after that rings: the only one that costs a system call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// See the module's head.
#[derive(Debug)]
pub struct Bell {
    sleeps: AtomicBool,
    event: EventFd,
}

impl Bell {
    /// With nobody asleep.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Bell { sleeps: AtomicBool::new(false), event })
    }

    /// Something begins: wakes the sentinel if it sleeps. After the beginning was noted where the sentinel looks, with a
    /// fence between.
    pub fn ring(&self) {
        if self.sleeps.load(Ordering::Relaxed) && self.sleeps.swap(false, Ordering::Relaxed) {
            let _ = self.event.write(1);
        }
    }

    /// The sentinel is about to sleep; it looks once more after this.
    pub fn sleep(&self) {
        self.sleeps.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// It is awake; `rung`: by the bell.
    pub fn awake(&self, rung: bool) {
        self.sleeps.store(false, Ordering::Relaxed);
        if rung {
            let _ = self.event.read();
        }
    }

    /// For its poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// The raw descriptor.
    pub fn raw_fd(&self) -> RawFd {
        self.event.as_fd().as_raw_fd()
    }
}

/// Wakes a thread that polls it.
#[derive(Debug)]
pub struct Chime(EventFd);

impl Chime {
    /// Silent.
    pub fn new() -> io::Result<Self> {
        Ok(Chime(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Wakes it, now or when it polls next.
    pub fn ring(&self) {
        let _ = self.0.write(1);
    }

    /// It is awake.
    pub fn silence(&self) {
        let _ = self.0.read();
    }

    /// For its poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
