//! The sentinel: a thread that never takes the GIL.
//!
//! It beats the worker's heart, notices a request that makes no progress (has every thread's Python stack written down,
//! answers its client 504 where no head was sent, and tells the arbiter), and ends the process when the arbiter is gone.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use rgunicorn_wire::WorkerSays;
use rgunicorn_wire::scoreboard::{Slot, State};

use crate::link::LinkInner;
use crate::sys::now;

/// Seconds that a worker lives on without its arbiter.
const ORPHAN_LIMIT: Duration = Duration::from_secs(2);
/// How long the stacks may take to be written before the arbiter is told without them.
const STACKS_LIMIT: Duration = Duration::from_millis(200);
/// No byte came for so long: the stacks are whole.
const STACKS_QUIET: Duration = Duration::from_millis(10);

/// A tick that came so much too late (ns) means that the whole process stood still.
const OVERSLEPT: u64 = 1_000_000_000;

/// The response that a thread is about to send, as far as the sentinel may interfere with it.
///
/// Whoever moves it away from "no head" decides what the client gets. The lock is held for as long as the descriptor is
/// surely open, so the sentinel cannot write into another connection that got the same number.
#[derive(Debug, Default)]
pub struct InFlight {
    inner: Mutex<InFlightInner>,
}

#[derive(Debug, Default)]
struct InFlightInner {
    turn: u64,
    fd: Option<RawFd>,
    timed_out: bool,
}

impl InFlight {
    /// A request begins on this socket.
    pub fn begin(&self, fd: RawFd) {
        let mut inner = self.lock();
        *inner = InFlightInner { turn: inner.turn + 1, fd: Some(fd), timed_out: false };
    }

    /// Which request this is: counts up.
    pub fn turn(&self) -> u64 {
        self.lock().turn
    }

    /// Its head is about to be sent, or it ended without one. False: a 504 was sent in its place.
    pub fn claim(&self) -> bool {
        let mut inner = self.lock();
        inner.fd = None;
        !inner.timed_out
    }

    /// Whether the sentinel has answered.
    pub fn timed_out(&self) -> bool {
        self.lock().timed_out
    }

    /// To the request of this turn, never to one that has followed it.
    fn answer_504(&self, turn: u64) {
        let mut inner = self.lock();
        if inner.turn == turn
            && let Some(fd) = inner.fd.take()
        {
            inner.timed_out = true;
            let page =
                rgunicorn_http::error_response(504, "Gateway Timeout", "The application did not answer in time.");
            let _ = send(fd, &page, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
            let _ = shutdown(fd, Shutdown::Write);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InFlightInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the sentinel needs to know.
pub struct Sentinel {
    /// The worker's slot.
    pub slot: Slot<'static>,
    /// Tells the arbiter.
    pub link: Arc<LinkInner>,
    /// The arbiter.
    pub arbiter: OwnedFd,
    /// `timeout` in nanoseconds; 0: none.
    pub timeout: u64,
    /// The serving thread's response.
    pub in_flight: Arc<InFlight>,
    /// The serving thread waits for events, or for its client.
    pub waits: Arc<AtomicBool>,
    /// When the serving thread last did something.
    pub progress: Arc<AtomicU64>,
    /// The serving thread.
    pub thread: Arc<AtomicI32>,
    /// Set when the arbiter has been told: it will end this worker.
    pub condemned: Arc<AtomicBool>,
    /// Where faulthandler writes.
    pub stacks: OwnedFd,
    /// The signal that makes it write.
    pub stacks_signal: i32,
}

/// Starts the thread. Signals are blocked in it: they are the main thread's.
pub fn start(sentinel: Sentinel) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("rgunicorn-sentinel".into()).stack_size(128 * 1024);
    crate::sys::without_signals(|| thread.spawn(move || sentinel.watch())).map(|_| ())
}

impl Sentinel {
    fn watch(self) {
        let tick = self.tick_ms();
        let mut told = false;
        let mut looked = now();
        let mut awake_since = looked;
        loop {
            let mut waits = [PollFd::new(self.arbiter.as_fd(), PollFlags::POLLIN)];
            if matches!(poll(&mut waits, PollTimeout::from(tick)), Ok(n) if n > 0) {
                // The arbiter is gone: nobody reaps, replaces or stops this worker any more.
                std::thread::sleep(ORPHAN_LIMIT);
                crate::sys::exit_now(1);
            }
            let now = now();
            self.slot.beat(now);
            if now.saturating_sub(looked) > u64::from(tick) * 1_000_000 + OVERSLEPT {
                // Everything stood still (a paused container or machine): nobody could make progress.
                awake_since = now;
            }
            looked = now;
            let progress = self.progress.load(Ordering::Relaxed);
            let silent = now.saturating_sub(progress.max(awake_since));
            if self.timeout == 0 || self.waits() || silent < self.timeout {
                told = false;
            } else if !told {
                let turn = self.in_flight.turn();
                self.write_stacks();
                // That took a while, and what was silent may be over.
                if self.waits() || self.progress.load(Ordering::Relaxed) != progress || self.in_flight.turn() != turn {
                    continue;
                }
                told = true;
                self.condemned.store(true, Ordering::Relaxed);
                // The client first: the arbiter's ABRT may end the request before this thread runs again.
                self.in_flight.answer_504(turn);
                self.link.say(&WorkerSays::Silent { for_ms: silent / 1_000_000 });
            }
        }
    }

    fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed) || self.slot.state() == State::Booting
    }

    /// Has faulthandler write all threads' stacks, and waits until they are there: it needs no GIL, so they come at once
    /// unless the process is in trouble that stacks cannot show.
    fn write_stacks(&self) {
        let size = || nix::sys::stat::fstat(self.stacks.as_fd()).map_or(0, |stat| stat.st_size);
        let before = size();
        crate::sys::signal_thread(self.thread.load(Ordering::Relaxed), self.stacks_signal);
        let began = std::time::Instant::now();
        let (mut last, mut changed) = (before, began);
        while began.elapsed() < STACKS_LIMIT {
            std::thread::sleep(Duration::from_millis(1));
            let size = size();
            if size != last {
                (last, changed) = (size, std::time::Instant::now());
            } else if last != before && changed.elapsed() > STACKS_QUIET {
                return;
            }
        }
    }

    /// Often enough for the timeout, and at least once a second for the heartbeat.
    fn tick_ms(&self) -> u16 {
        match self.timeout {
            0 => 1000,
            nanos => (nanos / 4_000_000).clamp(50, 1000) as u16,
        }
    }
}
