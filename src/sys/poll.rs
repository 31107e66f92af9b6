//! Waiting for several descriptors at once.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Whether nobody is at the other end any more. One who only sends no more is there.
pub fn hung_up(fd: impl AsFd) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::empty())], PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// A level-triggered epoll set; what is watched is named by a number of the caller's.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
}

impl Poller {
    /// An empty set.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    /// Watches for input and hang-up.
    pub fn watch(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Whether to watch for room to write as well.
    pub fn want_room(&self, fd: impl AsFd, token: u64, wanted: bool) -> io::Result<()> {
        self.watch_for(fd, token, true, wanted)
    }

    /// What to watch for beside hang-up, which is always told of.
    pub fn watch_for(&self, fd: impl AsFd, token: u64, input: bool, room: bool) -> io::Result<()> {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, input);
        flags.set(EpollFlags::EPOLLOUT, room);
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(flags, token))?)
    }

    /// Watches it no more. A closed descriptor leaves the set by itself, unless somebody else holds a copy.
    pub fn forget(&self, fd: impl AsFd) {
        let _ = self.epoll.delete(fd);
    }

    /// The tokens of what is ready; none when the time is over or a signal came.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Vec<u64>> {
        let mut events = [EpollEvent::empty(); 64];
        let timeout = match limit {
            None => EpollTimeout::NONE,
            // Rounded up, so that a deadline has passed when the wait for it ends.
            Some(limit) => EpollTimeout::try_from(limit.as_nanos().div_ceil(1_000_000).min(3_600_000) as i32)
                .unwrap_or(EpollTimeout::NONE),
        };
        match self.epoll.wait(&mut events, timeout) {
            Ok(count) => Ok(events[..count].iter().map(EpollEvent::data).collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
