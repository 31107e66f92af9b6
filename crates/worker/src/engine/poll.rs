//! The poll set.
//!
//! One for all: with the connections in a set of their own, nested in this one, every event is looked at twice and every wake
//! passes through two queues. Only a thread that can serve what comes waits on it (whoever waits beside an exclusive listener
//! takes wake-ups that another worker needs); the sentinel looks without waiting.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::options::Listener;
use crate::sys::borrow;

/// What woke a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A listener (its index) has a connection to accept.
    Listener(usize),
    /// A signal arrived.
    Signal,
    /// The arbiter says something, or is gone.
    Link,
    /// Another worker has handed off a connection.
    HandOff,
    /// Somebody has changed what the thread would find at its next look around.
    Nudge,
}

/// What an event says of a connection, as of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Happened {
    /// There is something to read.
    pub input: bool,
    /// There is room to write.
    pub room: bool,
    /// The peer has hung up, or the connection broke.
    pub hangup: bool,
}

impl Happened {
    fn read(flags: EpollFlags) -> Self {
        let gone = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        let (input, room) = (flags.contains(EpollFlags::EPOLLIN), flags.contains(EpollFlags::EPOLLOUT));
        Happened { input, room, hangup: flags.intersects(gone) }
    }
}

/// Events taken at once. Not more: the memory for all is cleared each time.
const AT_ONCE: usize = 64;
/// Tokens of connections begin here: below are the listeners by their numbers, and above these:
const FIRST_TOKEN: u64 = 1 << 32;
const SIGNAL: u64 = u64::MAX;
const LINK: u64 = u64::MAX - 1;
const HAND_OFF: u64 = u64::MAX - 2;
const NUDGE: u64 = u64::MAX - 3;

/// Descriptors that are waited for besides connections and listeners.
pub struct Fds {
    /// The link to the arbiter.
    pub link: RawFd,
    /// The signals' wake-up pipe.
    pub wake: RawFd,
    /// Where connections are received from other workers.
    pub receive: RawFd,
}

/// See the module's head.
#[derive(Debug)]
pub struct Sets {
    set: Epoll,
    nudge: EventFd,
    /// For each listener, whether it is waited for, and whether it has been shut down.
    listening: Vec<(AtomicBool, AtomicBool)>,
    receive: RawFd,
    receiving: AtomicBool,
    /// Held by who changes what is listened to: what is noted above has to be what the set has in it.
    changing: Mutex<()>,
}

impl Sets {
    /// The set. Listeners come with [`Sets::listen`], once there is somebody to accept: a waiter on an exclusive listener
    /// that does not accept takes the wake-up from one that would. With several threads, signals and the link are the main
    /// thread's to wait for.
    pub fn new(fds: &Fds, listeners: usize, threaded: bool) -> io::Result<Self> {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let nudge = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        set.add(&nudge, EpollEvent::new(EpollFlags::EPOLLIN, NUDGE))?;
        if !threaded {
            set.add(borrow(fds.link), EpollEvent::new(EpollFlags::EPOLLIN, LINK))?;
            set.add(borrow(fds.wake), EpollEvent::new(EpollFlags::EPOLLIN, SIGNAL))?;
        }
        let listening = std::iter::repeat_with(Default::default).take(listeners).collect();
        let (receiving, changing) = Default::default();
        Ok(Sets { set, nudge, listening, receive: fds.receive, receiving, changing })
    }

    /// Has whoever waits, or is next to, look around.
    pub fn nudge(&self) {
        let _ = self.nudge.write(1);
    }

    /// Somebody has looked around.
    pub fn nudged(&self) {
        let _ = self.nudge.read();
    }

    /// Waits for new connections too. One listener that cannot be added does not stop the others; it is tried again.
    pub fn listen(&self, listeners: &[Listener]) {
        let _changing = self.change();
        if !self.receives() {
            self.receiving.store(self.add_receiver().is_ok(), Ordering::Relaxed);
        }
        for (index, (listener, (on, shut))) in listeners.iter().zip(&self.listening).enumerate() {
            if !on.load(Ordering::Relaxed) && !shut.load(Ordering::Relaxed) {
                on.store(self.add_listener(listener, index).is_ok(), Ordering::Relaxed);
            }
        }
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_listener(&self, listener: &Listener, index: usize) -> nix::Result<()> {
        self.add_exclusive(listener.fd, index as u64)
    }

    fn add_receiver(&self) -> nix::Result<()> {
        self.add_exclusive(self.receive, HAND_OFF)
    }

    fn add_exclusive(&self, fd: RawFd, token: u64) -> nix::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, token);
        match self.set.add(borrow(fd), event) {
            // It is in there, which is what counts.
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// This listener was shut down: it would be reported as readable for ever.
    pub fn forget_listener(&self, listeners: &[Listener], index: usize) {
        let _changing = self.change();
        if let (Some(listener), Some((on, shut))) = (listeners.get(index), self.listening.get(index)) {
            shut.store(true, Ordering::Relaxed);
            if on.swap(false, Ordering::Relaxed) {
                let _ = self.set.delete(borrow(listener.fd));
            }
        }
    }

    /// The link has said all that it can say; its end would be reported for ever.
    pub fn forget_link(&self, link: RawFd) {
        let _ = self.set.delete(borrow(link));
    }

    /// Waits for no new connections any more.
    pub fn stop_listening(&self, listeners: &[Listener]) {
        let _changing = self.change();
        if self.receiving.swap(false, Ordering::Relaxed) {
            let _ = self.set.delete(borrow(self.receive));
        }
        for (listener, (on, _)) in listeners.iter().zip(&self.listening) {
            if on.swap(false, Ordering::Relaxed) {
                let _ = self.set.delete(borrow(listener.fd));
            }
        }
    }

    /// Whether new connections are waited for on this listener.
    pub fn listens(&self, index: usize) -> bool {
        self.listening.get(index).is_some_and(|(on, _)| on.load(Ordering::Relaxed))
    }

    /// Whether they are, on every listener that has not been shut down.
    pub fn listens_everywhere(&self) -> bool {
        self.receives()
            && self.listening.iter().all(|(on, shut)| on.load(Ordering::Relaxed) || shut.load(Ordering::Relaxed))
    }

    /// Whether connections are taken from other workers.
    pub fn receives(&self) -> bool {
        self.receiving.load(Ordering::Relaxed)
    }

    /// Goes to the end of the listener's queue of waiters, so that the next connection goes to another worker.
    pub fn requeue(&self, listeners: &[Listener], index: usize) {
        let _changing = self.change();
        if let (true, Some(listener)) = (self.listens(index), listeners.get(index)) {
            let _ = self.set.delete(borrow(listener.fd));
            if self.add_listener(listener, index).is_err() {
                self.listening[index].0.store(false, Ordering::Relaxed);
            }
        }
    }

    /// The same for connections from other workers.
    pub fn requeue_receiver(&self) {
        let _changing = self.change();
        if self.receives() {
            let _ = self.set.delete(borrow(self.receive));
            self.receiving.store(self.add_receiver().is_ok(), Ordering::Relaxed);
        }
    }

    /// Watches a connection: edge-triggered, for everything, for its whole life.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        Ok(self.set.add(borrow(fd), EpollEvent::new(flags, token))?)
    }

    /// Watches it no more. Needed before a close only while somebody else may hold the socket.
    pub fn remove(&self, fd: RawFd) {
        let _ = self.set.delete(borrow(fd));
    }

    /// Waits at most so many milliseconds for something to do: `each` has the connections' events, with their tokens,
    /// `wakes` the rest.
    pub fn wait(&self, limit_ms: u16, wakes: &mut Vec<Wake>, each: impl FnMut(u64, Happened)) {
        wakes.clear();
        if self.look(EpollTimeout::from(limit_ms), each, |wake| wakes.push(wake)) == Err(Errno::EINTR) {
            wakes.push(Wake::Signal);
        }
    }

    /// Takes some of the connections' events that are there. What else there is stays: it is for a thread that can wait. False:
    /// that was all.
    pub fn events(&self, each: impl FnMut(u64, Happened)) -> bool {
        self.look(EpollTimeout::ZERO, each, |_| {}) == Ok(AT_ONCE)
    }

    fn look(
        &self,
        limit: EpollTimeout,
        mut each: impl FnMut(u64, Happened),
        mut wake: impl FnMut(Wake),
    ) -> Result<usize, Errno> {
        let mut events = [EpollEvent::empty(); AT_ONCE];
        let count = self.set.wait(&mut events, limit)?;
        for event in &events[..count] {
            match event.data() {
                SIGNAL => wake(Wake::Signal),
                LINK => wake(Wake::Link),
                HAND_OFF => wake(Wake::HandOff),
                NUDGE => wake(Wake::Nudge),
                index if index < FIRST_TOKEN => wake(Wake::Listener(index as usize)),
                token => each(token, Happened::read(event.events())),
            }
        }
        Ok(count)
    }

    /// Its own descriptors.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.set.0.as_raw_fd(), self.nudge.as_fd().as_raw_fd()]
    }
}
