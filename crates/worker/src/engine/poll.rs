//! The two epoll sets.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::options::Listener;
use crate::sys::borrow;

/// What woke a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A listener (its index) has a connection to accept.
    Listener(usize),
    /// Connections have events.
    Connections,
    /// A signal arrived.
    Signal,
    /// The arbiter says something, or is gone.
    Link,
}

const CONNECTIONS: u64 = u64::MAX;
const SIGNAL: u64 = u64::MAX - 1;
const LINK: u64 = u64::MAX - 2;

/// See the module's head.
#[derive(Debug)]
pub struct Sets {
    shared: Epoll,
    connections: Epoll,
    listening: AtomicBool,
}

impl Sets {
    /// Both sets. Listeners come with [`Sets::listen`], once there is somebody to accept: a waiter on an exclusive listener
    /// that does not accept takes the wake-up from one that would.
    pub fn new(link: RawFd, wake: RawFd) -> io::Result<Self> {
        let shared = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let connections = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        shared.add(borrow(connections.0.as_raw_fd()), EpollEvent::new(EpollFlags::EPOLLIN, CONNECTIONS))?;
        shared.add(borrow(link), EpollEvent::new(EpollFlags::EPOLLIN, LINK))?;
        shared.add(borrow(wake), EpollEvent::new(EpollFlags::EPOLLIN, SIGNAL))?;
        Ok(Sets { shared, connections, listening: AtomicBool::new(false) })
    }

    /// Waits for new connections too.
    pub fn listen(&self, listeners: &[Listener]) -> io::Result<()> {
        if self.listening.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        for (index, listener) in listeners.iter().enumerate() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, index as u64);
            self.shared.add(borrow(listener.fd), event)?;
        }
        Ok(())
    }

    /// The link has said all that it can say; its end would be reported for ever.
    pub fn forget_link(&self, link: RawFd) {
        let _ = self.shared.delete(borrow(link));
    }

    /// Waits for no new connections any more.
    pub fn stop_listening(&self, listeners: &[Listener]) {
        if self.listening.swap(false, Ordering::Relaxed) {
            for listener in listeners {
                let _ = self.shared.delete(borrow(listener.fd));
            }
        }
    }

    /// Whether new connections are waited for.
    pub fn listens(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// Goes to the end of the listener's queue of waiters, so that the next connection goes to another worker.
    pub fn requeue(&self, listeners: &[Listener], index: usize) {
        if let (true, Some(listener)) = (self.listens(), listeners.get(index)) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, index as u64);
            let _ = self.shared.delete(borrow(listener.fd));
            let _ = self.shared.add(borrow(listener.fd), event);
        }
    }

    /// Watches a connection: edge-triggered, for everything, for its whole life.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        Ok(self.connections.add(borrow(fd), EpollEvent::new(flags, token))?)
    }

    /// Watches it no more. Needed before a close only while somebody else may hold the socket.
    pub fn remove(&self, fd: RawFd) {
        let _ = self.connections.delete(borrow(fd));
    }

    /// Waits at most so many milliseconds for something to do.
    pub fn wait(&self, limit_ms: u16, wakes: &mut Vec<Wake>) {
        wakes.clear();
        let mut events = [EpollEvent::empty(); 16];
        match self.shared.wait(&mut events, EpollTimeout::from(limit_ms)) {
            Ok(count) => wakes.extend(events[..count].iter().map(|event| match event.data() {
                CONNECTIONS => Wake::Connections,
                SIGNAL => Wake::Signal,
                LINK => Wake::Link,
                index => Wake::Listener(index as usize),
            })),
            Err(Errno::EINTR) => wakes.push(Wake::Signal),
            Err(_) => {}
        }
    }

    /// Takes the connections' events that are there: token, and whether the peer hung up.
    pub fn events(&self, mut each: impl FnMut(u64, bool)) {
        let mut events = [EpollEvent::empty(); 256];
        let Ok(count) = self.connections.wait(&mut events, EpollTimeout::ZERO) else { return };
        let gone = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        for event in &events[..count] {
            each(event.data(), event.events().intersects(gone));
        }
    }

    /// The connections' set, for event loops.
    pub fn connections_fd(&self) -> RawFd {
        self.connections.0.as_raw_fd()
    }

    /// Both descriptors.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.shared.0.as_raw_fd(), self.connections.0.as_raw_fd()]
    }
}
