//! Where lines go, and how a descriptor of each kind wants to be written to.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};

/// Longer writes to a pipe or socket are not atomic, and lines of several processes would tear.
const ATOMIC: usize = 4096;
/// How long to wait for a target before looking whether it still is the target.
const WAIT_MS: u16 = 200;

/// An open descriptor and its kind.
#[derive(Debug)]
pub(crate) struct Target {
    fd: OwnedFd,
    /// A file: every write is one piece (given `O_APPEND`), and there is no reader to wait for.
    is_file: bool,
}

/// What is to be done after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Write the rest.
    Again,
    /// Nobody will ever read what is written here.
    Gone,
}

impl Target {
    pub(crate) fn new(fd: OwnedFd) -> Target {
        let is_file = fstat(&fd).is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits());
        Target { fd, is_file }
    }

    /// Writes once, and waits a little if the target takes nothing now. How many bytes it took.
    pub(crate) fn write(&self, bytes: &[u8]) -> (usize, Outcome) {
        // A full pipe would hold a write for as long as its reader sleeps, and us with it.
        if !self.is_file && !self.is_ready() {
            return (0, Outcome::Again);
        }
        let end = if self.is_file { bytes.len() } else { whole_lines(bytes, ATOMIC) };
        match nix::unistd::write(&self.fd, &bytes[..end]) {
            Ok(0) => (0, Outcome::Gone),
            Ok(written) => (written, Outcome::Again),
            // Somebody set O_NONBLOCK on a descriptor we share: it was full after all.
            Err(Errno::EINTR | Errno::EAGAIN) => (0, Outcome::Again),
            // Space may come back, and lines are kept until then.
            Err(Errno::ENOSPC | Errno::EDQUOT) => {
                std::thread::sleep(Duration::from_millis(WAIT_MS.into()));
                (0, Outcome::Again)
            }
            // EPIPE, EIO, EBADF: nobody reads it any more.
            Err(_) => (0, Outcome::Gone),
        }
    }

    fn is_ready(&self) -> bool {
        let mut waits = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
        // An error of poll is the write's to find.
        !matches!(poll(&mut waits, PollTimeout::from(WAIT_MS)), Ok(0))
    }
}

/// The length of the longest run of whole lines within `limit`; a single longer line is cut at the limit.
fn whole_lines(bytes: &[u8], limit: usize) -> usize {
    if bytes.len() <= limit {
        return bytes.len();
    }
    bytes[..limit].iter().rposition(|&b| b == b'\n').map_or(limit, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_end_at_lines() {
        assert_eq!(whole_lines(b"ab\ncd\nef", 7), 6);
        assert_eq!(whole_lines(b"abcdefgh", 4), 4);
        assert_eq!(whole_lines(b"ab\n", 4), 3);
        assert_eq!(whole_lines(b"abc\nd", 4), 4);
    }
}
