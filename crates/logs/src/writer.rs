//! A writer with a thread of its own.
//!
//! tracing-appender drops a line whose write failed and its guard gives up after about a second; this one retries, keeps
//! what it has until [`Writer::flush`]'s deadline, counts what it had to drop and says so in the log itself.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use crate::target::{Outcome, Target};

/// Bytes kept while the target does not take them; what comes after is dropped and counted.
const CAPACITY: usize = 8 * 1024 * 1024;

/// Bytes of room kept while nothing is to be written.
const KEPT: usize = 64 * 1024;

/// What happened to lines so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Lines dropped because the target did not keep up, or because nobody reads it any more.
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
    target: Arc<Target>,
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
            target: Arc::new(Target::new(target)),
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
            let count = count_lines(lines);
            state.dropped += count;
            state.dropped_unreported += count;
        } else {
            state.pending.extend_from_slice(lines);
        }
        if !state.started {
            self.start(state);
        } else if state.parked {
            state.parked = false;
            self.shared.work.notify_one();
        }
    }

    /// Writes to another descriptor from the next line on (a reopened file), also if the thread is stuck with the old one:
    /// what that one has not taken goes to the new one.
    pub fn reopen(&self, target: OwnedFd) {
        self.shared.lock().target = Arc::new(Target::new(target));
    }

    /// Waits until all lines are written, at most `limit`; false if some are left.
    pub fn flush(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        let mut state = self.shared.lock();
        while state.started && (!state.pending.is_empty() || state.writing || state.dropped_unreported > 0) {
            let left = limit.saturating_sub(begun.elapsed());
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

    fn start(&self, mut state: MutexGuard<'_, State>) {
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
            drop(state);
            self.shared.write(&bytes);
        }
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
            drop(state);
            self.write(&buffer);
            buffer.clear();
            // What a burst needed is given back.
            buffer.shrink_to(KEPT);
            if lost > 0 {
                let line = format!("[rgunicorn] {lost} log lines dropped: the log's reader is too slow\n");
                self.write(line.as_bytes());
            }
        }
    }

    /// Writes everything to what is the target by now.
    fn write(&self, bytes: &[u8]) {
        let mut at = 0;
        let mut target = Arc::clone(&self.lock().target);
        while at < bytes.len() {
            let (written, outcome) = target.write(&bytes[at..]);
            at += written;
            let now = Arc::clone(&self.lock().target);
            if !Arc::ptr_eq(&now, &target) {
                // The new one gets the line that the old one has a part of as a whole.
                at = bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                target = now;
            } else if outcome == Outcome::Gone {
                self.lock().dropped += count_lines(&bytes[at..]);
                return;
            }
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests;
