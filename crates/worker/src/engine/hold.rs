//! Responses that are finished while others wait for their turn.
//!
//! Where requests of several connections are ready together, each response sent by itself wakes a client that takes the
//! processor's caches (or the processor) from the worker, request by request. Short ones are held instead, for about a
//! millisecond or until nothing else is ready, and then sent one after the other.
//!
//! A held response is its connection's, which is in nobody's hands but the hold's. The thread that leads lets it go; the
//! sentinel does when that thread is stuck, in a request or between two.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::conn::{Conn, Phase, Then};
use super::drive::WRITE_LIMIT_NS;
use super::serve::Serving;
use super::shared::Shared;

/// How long a response is held while others are made (ns).
pub const HOLD_NS: u64 = 1_000_000;
/// How long until the sentinel sends it (ns).
const OVERDUE_NS: u64 = 2 * HOLD_NS;
/// Longest response that is held, with its head.
pub const MAX_HELD: usize = 16 * 1024;
/// How many are held at once.
const MAX_COUNT: usize = 16;

/// Connections whose response is held.
#[allow(clippy::vec_box, reason = "connections stay where they are; only their boxes move")]
pub type Conns = Vec<Box<Conn>>;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Hold {
    /// When the first of them was finished (CLOCK_MONOTONIC ns); 0: there is none.
    since: AtomicU64,
    held: Mutex<Conns>,
}

impl Hold {
    /// Takes a connection whose response, finished now, is in its `held`.
    fn add(&self, conn: Box<Conn>, now: u64) {
        let mut held = self.lock();
        if held.is_empty() {
            self.since.store(now, Ordering::Relaxed);
        }
        held.push(conn);
    }

    /// Since when there is a response.
    pub fn since(&self) -> Option<u64> {
        Some(self.since.load(Ordering::Relaxed)).filter(|&since| since > 0)
    }

    /// Takes all out, for an empty vector.
    fn take(&self, into: &mut Conns) {
        let mut held = self.lock();
        self.since.store(0, Ordering::Relaxed);
        std::mem::swap(&mut *held, into);
    }

    /// The sockets, in a child that the app forked, where another thread may have held the lock at the fork.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.held.try_lock().map_or_else(|_| Vec::new(), |held| held.iter().map(|conn| conn.raw_fd()).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Conns> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serving {
    /// Holds a connection's response until [`Serving::let_go_held`].
    pub(super) fn hold(&mut self, mut conn: Box<Conn>, then: Then) {
        let now = self.gateway.ended;
        conn.phase = Phase::Writing { then };
        conn.deadline = now + WRITE_LIMIT_NS;
        self.shared.hold.add(conn, now);
        self.holding += 1;
    }

    /// Sends what is held, if it is time for that, as of the end of the last request.
    pub(super) fn look_at_held(&mut self) {
        let due = |since: u64| self.holding >= MAX_COUNT || self.gateway.ended.saturating_sub(since) >= HOLD_NS;
        if self.holding > 0 && self.shared.hold.since().is_none_or(due) {
            self.let_go_held();
        }
    }

    /// Sends what is held.
    pub(super) fn let_go_held(&mut self) {
        if self.holding == 0 {
            return;
        }
        self.holding = 0;
        let mut conns = std::mem::take(&mut self.released);
        self.shared.hold.take(&mut conns);
        for mut conn in conns.drain(..) {
            let Phase::Writing { then } = conn.phase else { continue };
            let sent = conn.send_held(then == Then::Close);
            self.gateway.keep_buffer(conn.take_held());
            match (sent, then) {
                (Ok(()), Then::Keep) if conn.out.is_empty() && !conn.hangup => {
                    conn.phase = Phase::Reading;
                    conn.deadline = self.gateway.ended + self.shared.options.keepalive;
                    if let Some(again) = self.park(conn) {
                        self.shared.table.push(again);
                    }
                }
                (Ok(()), Then::Close) if conn.out.is_empty() => self.shared.close(conn),
                // Not driven here: a request on it would keep the others waiting.
                (Ok(()), _) => self.shared.table.push(conn),
                (Err(_), _) => self.shared.close(conn),
            }
        }
        self.released = conns;
    }
}

impl Shared {
    /// The sentinel's part: sends what is held and should have been sent by now.
    pub fn send_overdue(&self, now: u64) {
        if self.hold.since().is_some_and(|since| now.saturating_sub(since) >= OVERDUE_NS) {
            self.send_all_held();
            // The leader may sleep: for what is to be done then.
            self.sets.nudge();
        }
    }

    /// Sends what is held, whoever would. What has to be done then is for those who serve.
    pub fn send_all_held(&self) {
        let mut conns = Vec::new();
        self.hold.take(&mut conns);
        for mut conn in conns {
            let then = if let Phase::Writing { then } = conn.phase { then } else { Then::Close };
            let sent = conn.send_held(then == Then::Close);
            drop(conn.take_held());
            match (sent, then) {
                (Ok(()), Then::Keep) if conn.out.is_empty() => {
                    conn.phase = Phase::Reading;
                    conn.deadline = crate::sys::now() + self.options.keepalive;
                    self.table.push(conn);
                }
                (Ok(()), _) if !conn.out.is_empty() => self.table.push(conn),
                _ => self.close(conn),
            }
        }
    }
}
