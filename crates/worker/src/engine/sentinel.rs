//! The sentinel: a thread that never takes the GIL.
//!
//! It beats the worker's heart and ends the process when the arbiter is gone. While requests run it looks around every
//! millisecond: a leader that is stuck is replaced, and when all threads are, connections that have something to say go to
//! workers that have time, and what clients have to take goes on being sent. What takes too long is `silence`'s. It reads
//! the arbiter's orders too: new log files must not wait for a request to end, nor idle connections of a worker that leaves.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::conn::{Conn, Phase, Then};
use super::seat::Seat;
use super::serve::TICK_NS;
use super::shared::Shared;
use super::silence::Silence;
use crate::sys::{borrow, now};

/// Seconds that a worker lives on without its arbiter.
const ORPHAN_LIMIT: Duration = Duration::from_secs(2);
/// A tick that came so much too late (ns) means that the whole process stood still.
const OVERSLEPT: u64 = 1_000_000_000;
/// Without a request for so long (ns) it sleeps.
const SLEEP_AFTER: u64 = 50_000_000;
/// A leader that has computed for so long (ns) is replaced all the same: Python's own switch interval.
const BURN_LIMIT: u64 = 5_000_000;

/// Starts the thread. Signals are blocked in it: they are the main thread's.
pub fn start(shared: Arc<Shared>, arbiter: OwnedFd) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("rgunicorn-sentinel".into()).stack_size(128 * 1024);
    let silence = Silence::new(&shared);
    let mut sentinel = Sentinel { shared, silence, burn: Burn::default(), idled: None };
    crate::sys::without_signals(|| thread.spawn(move || sentinel.watch(&arbiter))).map(|_| ())
}

struct Sentinel {
    shared: Arc<Shared>,
    silence: Silence,
    burn: Burn,
    /// What the leader was found at that has no request in hand and does not wait.
    idled: Option<Idled>,
}

/// A leader between requests: its thread and last request, and since when.
struct Idled {
    of: (u32, u64),
    since: u64,
}

/// What is known of the leader's use of the CPU in its request.
#[derive(Default)]
struct Burn {
    /// The request: its thread and when it began.
    of: (i32, u64),
    /// When the thread was last looked at, and what it had used by then.
    seen: u64,
    used: u64,
}

impl Sentinel {
    fn watch(&mut self, arbiter: &OwnedFd) {
        let shared = Arc::clone(&self.shared);
        let bell = &shared.vitals.bell;
        let long = self.silence.tick_ms();
        let (mut looked, mut busy_at, mut asleep) = (now(), now(), false);
        loop {
            let limit = if asleep { long } else { 1 };
            let watched = [arbiter.as_fd(), bell.fd(), borrow(shared.link.raw_fd())];
            let mut waits = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            // A link that has come to its end would be readable for ever.
            let _ = poll(&mut waits[..if shared.link.ended() { 2 } else { 3 }], PollTimeout::from(limit));
            let woken = waits.map(|wait| wait.revents().is_some_and(|events| !events.is_empty()));
            if woken[0] {
                // The arbiter is gone: nobody reaps, replaces or stops this worker any more.
                std::thread::sleep(ORPHAN_LIMIT);
                crate::sys::exit_now(1);
            }
            let rung = woken[1];
            if woken[2] && shared.link.retired() {
                // The main thread may be stuck; then what it cannot do is done here.
                shared.retire();
            }
            let now = now();
            shared.vitals.slot.beat(now);
            if now.saturating_sub(looked) > u64::from(limit) * 1_000_000 + OVERSLEPT {
                // Everything stood still (a paused container or machine): nobody could make progress.
                self.silence.refresh(now);
            }
            looked = now;
            if self.busy() {
                busy_at = now;
            }
            shared.gate.pass(now, || {
                if busy_at == now {
                    self.relieve(now);
                } else {
                    self.idled = None;
                }
                self.silence.look(&shared, now);
            });
            if rung || asleep {
                bell.awake(rung);
            }
            asleep = now.saturating_sub(busy_at) > SLEEP_AFTER;
            if asleep {
                // What begins from now on rings; what has begun before is seen.
                bell.sleep();
                asleep = !self.busy();
            }
        }
    }

    fn busy(&self) -> bool {
        self.shared.hold.since().is_some() || self.shared.crew.seats.iter().any(|seat| seat.begun().is_some())
    }

    /// Has done what the threads that are stuck in requests cannot do.
    fn relieve(&mut self, now: u64) {
        let shared = Arc::clone(&self.shared);
        let stuck = |seat: &Seat| seat.begun().is_some_and(|begun| now.saturating_sub(begun) >= TICK_NS);
        shared.crew.seats.iter().filter(|seat| stuck(seat)).for_each(|seat| seat.in_flight.send_kept());
        shared.send_overdue(now);
        let mut all_stuck = shared.crew.seats.iter().all(|seat| stuck(seat));
        if let Some(leader) = shared.crew.busy_leader().filter(|leader| stuck(leader))
            && shared.crew.has_parked()
        {
            if !leader.interrupt.entered() || self.burns(leader, now) {
                // Another thread of this worker would only wait for the GIL; another worker would not.
                all_stuck = true;
            } else {
                shared.crew.promote(leader);
            }
        }
        all_stuck |= self.hangs(now);
        if all_stuck || shared.condemned.load(Ordering::Relaxed) {
            shared.take_events();
            shared.write_on();
            shared.pass_ready();
            if shared.retires() {
                shared.pass_idle();
            }
            shared.sweep();
            if shared.table.ready() > 0 && shared.crew.busy_leader().is_none() {
                // The leader has come back meanwhile, found nothing and sleeps.
                shared.sets.nudge();
            }
        }
    }

    /// Whether the leader has been between requests for long, where something but the client's bytes is waited for.
    fn hangs(&mut self, now: u64) -> bool {
        let idle = self.shared.crew.busy_leader().filter(|leader| leader.begun().is_none());
        let Some(of) = idle.map(|leader| (leader.number, leader.in_flight.turn())) else {
            self.idled = None;
            return false;
        };
        let since = self.idled.as_ref().filter(|idled| idled.of == of).map_or(now, |idled| idled.since);
        self.idled = Some(Idled { of, since });
        now.saturating_sub(since) > 2 * TICK_NS
    }

    /// Whether the leader has computed since its request began, and not for long yet. Not before it has been seen twice.
    fn burns(&mut self, leader: &Seat, now: u64) -> bool {
        let Some(begun) = leader.begun() else { return true };
        let used = crate::sys::thread_cpu(leader.thread()).unwrap_or(0);
        let last = std::mem::replace(&mut self.burn, Burn { of: (leader.thread(), begun), seen: now, used });
        if last.of != (leader.thread(), begun) {
            return now.saturating_sub(begun) < 2 * TICK_NS;
        }
        let (used, passed) = (used.saturating_sub(last.used), now.saturating_sub(last.seen));
        used > passed / 2 && now.saturating_sub(begun) < BURN_LIMIT
    }
}

impl Shared {
    /// Sends on what clients have room for, of responses that are finished.
    fn write_on(&self) {
        let writes = |conn: &Conn| matches!(conn.phase, Phase::Writing { then: Then::Keep | Then::Close });
        let mut again = Vec::new();
        // As many as are ready now: what is put back may be ready again at once.
        for _ in 0..self.table.ready() {
            let Some(mut conn) = self.table.next_that(writes) else { break };
            let Phase::Writing { then } = conn.phase else { break };
            let before = conn.out.taken;
            let done = conn.flush();
            if conn.out.taken != before {
                conn.deadline = now() + super::drive::WRITE_LIMIT_NS;
            }
            self.discard(conn.take_spent());
            match done {
                Ok(false) => {
                    // Not into the list yet: it would be the next one again.
                    again.extend(self.table.park(conn));
                }
                Ok(true) if then == Then::Keep => {
                    conn.phase = Phase::Reading;
                    conn.deadline = now() + self.options.keepalive;
                    // There may be another request: for whoever has time first.
                    self.table.push(conn);
                }
                Ok(true) | Err(_) => self.close(conn),
            }
        }
        again.into_iter().for_each(|conn| self.table.push(conn));
    }
}
