//! What takes too long.
//!
//! `timeout` ends a request only in a worker with one thread, when it makes no progress for so long. With several it watches
//! the worker: its main thread, which takes the GIL once a second. `request_timeout` is one request's own limit: its client
//! gets a 504, its stacks are written down, and the main thread interrupts it. A worker whose threads are all lost in such
//! requests is as good as silent. A request that waits for its client is never silent.

use rgunicorn_wire::WorkerSays;
use rgunicorn_wire::scoreboard::State;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::shared::Shared;

/// A request that was interrupted and goes on for so long (ns) is stuck where Python cannot reach it.
const LOST_NS: u64 = 5_000_000_000;

/// See the module's head.
pub struct Silence {
    timeout: u64,
    request_timeout: u64,
    /// Nothing could have happened before.
    awake_since: u64,
    /// The arbiter has been told.
    told: bool,
    /// It could not be told yet: the link is full.
    unsaid: Option<WorkerSays>,
    /// All threads are in requests that cannot be interrupted.
    lost: bool,
    /// For each seat, the request that has taken too long, and when that was found.
    overdue: Vec<Option<(u64, u64)>>,
}

impl Silence {
    pub fn new(shared: &Shared) -> Self {
        Silence {
            timeout: shared.options.timeout,
            request_timeout: shared.options.request_timeout,
            awake_since: crate::sys::now(),
            told: false,
            unsaid: None,
            lost: false,
            overdue: shared.crew.seats.iter().map(|_| None).collect(),
        }
    }

    /// Everything has a fresh period.
    pub fn refresh(&mut self, now: u64) {
        self.awake_since = now;
    }

    /// Often enough for the timeout, and at least once a second for the heartbeat.
    pub fn tick_ms(&self) -> u16 {
        match self.timeout {
            0 => 1000,
            nanos => (nanos / 4_000_000).clamp(50, 1000) as u16,
        }
    }

    /// Does what is due.
    pub fn look(&mut self, shared: &Shared, now: u64) {
        if shared.vitals.slot.state() == State::Booting {
            return;
        }
        if let Some(silent) = self.unsaid.take()
            && shared.condemned.load(Ordering::Relaxed)
        {
            self.tell(shared, silent);
        }
        self.look_at_requests(shared, now);
        if self.timeout == 0 {
            return;
        }
        let silent = now.saturating_sub(last_sign(shared).map_or(now, |last| last.max(self.awake_since)));
        if silent < self.timeout {
            self.told = false;
        } else if !self.told {
            self.end_worker(shared, silent, true);
        }
    }

    /// Requests over `request_timeout`.
    fn look_at_requests(&mut self, shared: &Shared, now: u64) {
        if self.request_timeout == 0 {
            return;
        }
        for (number, seat) in shared.crew.seats.iter().enumerate() {
            let Some(begun) = seat.begun() else { continue };
            let age = now.saturating_sub(begun.max(self.awake_since));
            if age < self.request_timeout {
                continue;
            }
            let turn = seat.in_flight.turn();
            match self.overdue[number] {
                Some((known, _)) if known == turn => continue,
                _ => self.overdue[number] = Some((turn, now)),
            }
            if !shared.options.threaded {
                // Whether it makes progress is of no account here.
                if !self.told && !self.end_worker(shared, age, false) {
                    self.overdue[number] = None;
                }
                continue;
            }
            shared.stacks.write(seat.thread());
            if seat.in_flight.answer_504(turn, true) {
                shared.overdue.lock().unwrap_or_else(PoisonError::into_inner).push((number, turn));
                shared.main.ring();
            }
        }
        let lost = |(number, seat): (usize, &std::sync::Arc<super::Seat>)| {
            self.overdue[number].is_some_and(|(turn, at)| {
                seat.begun().is_some() && seat.in_flight.turn() == turn && now.saturating_sub(at) > LOST_NS
            })
        };
        let all_lost = shared.options.threaded && shared.crew.seats.iter().enumerate().all(lost);
        // Said once, unless something moved while it was looked at.
        self.lost = all_lost && (self.lost || self.end_worker(shared, LOST_NS, true));
    }

    /// Tells the arbiter that this worker is silent, unless its request is over meanwhile, or, where `progress` counts, has
    /// made some: false.
    fn end_worker(&mut self, shared: &Shared, silent: u64, progress: bool) -> bool {
        let seat = &shared.crew.seats[0];
        let (sign, turn, begun) = (last_sign(shared), seat.in_flight.turn(), seat.begun());
        shared.stacks.write(seat.thread());
        // That took a while, and what was silent may be over.
        let moved = progress && last_sign(shared) != sign;
        if moved || seat.in_flight.turn() != turn || seat.begun() != begun {
            return false;
        }
        self.told = true;
        shared.condemned.store(true, Ordering::Relaxed);
        if !shared.options.threaded {
            // The client first: the arbiter's ABRT may end the request before this thread runs again.
            seat.in_flight.answer_504(turn, false);
        }
        self.tell(shared, WorkerSays::Silent { for_ms: silent / 1_000_000 });
        true
    }

    fn tell(&mut self, shared: &Shared, silent: WorkerSays) {
        if !shared.link.say(&silent) {
            self.unsaid = Some(silent);
        }
    }
}

/// When the worker last gave a sign of life, if it owes any.
fn last_sign(shared: &Shared) -> Option<u64> {
    if shared.options.threaded || shared.expects_notify.load(Ordering::Relaxed) {
        return Some(shared.alive.load(Ordering::Relaxed));
    }
    let seat = &shared.crew.seats[0];
    (seat.begun().is_some() && !seat.waits()).then(|| seat.last_progress())
}
