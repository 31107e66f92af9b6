//! A writer with a thread of its own.
//!
//! tracing-appender drops a line whose write failed and its guard gives up after about a second; this one retries, keeps
//! what it has until [`Writer::flush`]'s deadline, counts what it had to drop and says so in the log itself.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

/// Bytes kept while the target does not take them; what comes after is dropped and counted.
const CAPACITY: usize = 8 * 1024 * 1024;
/// Writes to a pipe longer than this are not atomic, and lines of several processes would tear.
const PIPE_ATOMIC: usize = 4096;

/// What happened to lines so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Lines dropped because the target did not keep up.
    pub dropped: u64,
}

/// Writes whole lines to one target, in order. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
}

#[derive(Debug)]
struct State {
    target: Arc<OwnedFd>,
    pending: Vec<u8>,
    writing: bool,
    parked: bool,
    started: bool,
    closed: bool,
    dropped: u64,
    dropped_unreported: u64,
}

impl Writer {
    /// A writer to an open descriptor (`O_APPEND` file, pipe or terminal). The descriptor's flags are left alone: it may
    /// be shared with other programs.
    pub fn new(target: OwnedFd) -> Self {
        let state = State {
            target: Arc::new(target),
            pending: Vec::new(),
            writing: false,
            parked: false,
            started: false,
            closed: false,
            dropped: 0,
            dropped_unreported: 0,
        };
        Writer { shared: Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), done: Condvar::new() }) }
    }

    /// Takes over whole lines (each ends in `\n`); never waits for the target.
    pub fn push(&self, lines: &[u8]) {
        let mut state = self.shared.lock();
        if state.closed {
            return;
        }
        if state.pending.len() + lines.len() > CAPACITY {
            let count = lines.iter().filter(|&&b| b == b'\n').count() as u64;
            state.dropped += count;
            state.dropped_unreported += count;
            return;
        }
        state.pending.extend_from_slice(lines);
        if !state.started {
            state.started = true;
            let shared = Arc::clone(&self.shared);
            // The thread must not take signals that belong to the program's own handlers.
            let mut old = SigSet::empty();
            let masked = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut old)).is_ok();
            let spawned = std::thread::Builder::new().name("rgunicorn-log".into()).spawn(move || shared.run());
            if masked {
                let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&old), None);
            }
            if spawned.is_err() {
                // No thread to be had: write here rather than lose the line.
                state.started = false;
                let bytes = std::mem::take(&mut state.pending);
                let target = Arc::clone(&state.target);
                drop(state);
                write_lines(&target, &bytes);
            }
        } else if state.parked {
            state.parked = false;
            self.shared.work.notify_one();
        }
    }

    /// Writes to another descriptor from the next line on (a reopened file).
    pub fn reopen(&self, target: OwnedFd) {
        self.shared.lock().target = Arc::new(target);
    }

    /// Waits until all lines are written, at most `limit`; false if some are left.
    pub fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.shared.lock();
        while state.started && (!state.pending.is_empty() || state.writing || state.dropped_unreported > 0) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if state.parked {
                state.parked = false;
                self.shared.work.notify_one();
            }
            state = self.shared.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// In a child that the application forked: its copy has no thread and must write nothing of its parent's.
    pub fn disable(&self) {
        // The parent's thread may have held the lock at the fork: then it stays locked here, and nobody may wait for it.
        if let Ok(mut state) = self.shared.state.try_lock() {
            state.closed = true;
            state.pending = Vec::new();
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> WriterStats {
        WriterStats { dropped: self.shared.lock().dropped }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut buffer = Vec::new();
        loop {
            let mut state = self.lock();
            state.writing = false;
            while state.pending.is_empty() && state.dropped_unreported == 0 {
                self.done.notify_all();
                state.parked = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.parked = false;
            state.writing = true;
            std::mem::swap(&mut buffer, &mut state.pending);
            let lost = std::mem::take(&mut state.dropped_unreported);
            let target = Arc::clone(&state.target);
            drop(state);
            write_lines(&target, &buffer);
            buffer.clear();
            if lost > 0 {
                write_lines(
                    &target,
                    format!("[rgunicorn] {lost} log lines dropped: the log's reader is too slow\n").as_bytes(),
                );
            }
        }
    }
}

/// Writes everything; on a pipe never more than [`PIPE_ATOMIC`] bytes at once, cut between lines where they fit.
fn write_lines(target: &OwnedFd, bytes: &[u8]) {
    let pipe = is_pipe(target);
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = if pipe { whole_lines(rest, PIPE_ATOMIC) } else { rest.len() };
        match nix::unistd::write(target, &rest[..end]) {
            Ok(0) => return,
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            // Somebody set O_NONBLOCK on a descriptor we share.
            Err(Errno::EAGAIN) => {
                let mut waits = [PollFd::new(target.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut waits, PollTimeout::from(1000u16));
            }
            Err(Errno::ENOSPC | Errno::EDQUOT) => std::thread::sleep(Duration::from_millis(200)),
            // EPIPE, EIO, EBADF: nobody reads it any more.
            Err(_) => return,
        }
    }
}

fn is_pipe(target: &OwnedFd) -> bool {
    nix::sys::stat::fstat(target).is_ok_and(|stat| {
        (stat.st_mode & nix::sys::stat::SFlag::S_IFMT.bits()) == nix::sys::stat::SFlag::S_IFIFO.bits()
    })
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
    use std::io::Read;

    #[test]
    fn nothing_is_lost_and_the_order_is_kept() {
        let (reader, sender) = nix::unistd::pipe().unwrap();
        let writer = Writer::new(sender);
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            std::fs::File::from(reader).read_to_string(&mut text).unwrap();
            text
        });
        for i in 0..20_000 {
            writer.push(format!("line {i}\n").as_bytes());
        }
        assert!(writer.flush(Duration::from_secs(20)));
        let (other, _keep) = nix::unistd::pipe().unwrap();
        writer.reopen(other); // closes the pipe's writing end
        let text = reading.join().unwrap();
        let expected: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
        assert!(text == expected);
    }

    #[test]
    fn a_target_that_nobody_reads_does_not_stop_the_caller() {
        let (reader, sender) = nix::unistd::pipe().unwrap();
        let writer = Writer::new(sender);
        let line = [b'x'; 1023].iter().copied().chain([b'\n']).collect::<Vec<u8>>();
        for _ in 0..20_000 {
            writer.push(&line);
        }
        assert!(!writer.flush(Duration::from_millis(10)));
        assert!(writer.stats().dropped > 0);
        drop(reader);
    }

    #[test]
    fn pipe_writes_end_at_lines() {
        assert_eq!(whole_lines(b"ab\ncd\nef", 7), 6);
        assert_eq!(whole_lines(b"abcdefgh", 4), 4);
        assert_eq!(whole_lines(b"ab\n", 4), 3);
    }
}
