//! Who leads.
//!
//! One thread, the leader, waits for events; it runs the requests that it finds itself, one after the other, so that short
//! ones cost what they cost with one thread. When it is stuck in one, the sentinel promotes a parked follower. All of it is
//! one word, so that the leader's way costs two stores: who leads, and whether it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::seat::Seat;

const WAITING: u64 = 1;

/// See the module's head.
#[derive(Debug)]
pub struct Crew {
    /// The leader's seat, shifted, and whether it waits.
    leader: AtomicU64,
    /// Threads that serve, by number.
    pub seats: Vec<Arc<Seat>>,
    ended: AtomicBool,
}

impl Crew {
    /// So many threads; the first one leads.
    pub fn new(threads: u32) -> Self {
        Crew {
            leader: AtomicU64::new(0),
            seats: (0..threads).map(|number| Arc::new(Seat::new(number))).collect(),
            ended: AtomicBool::new(false),
        }
    }

    /// Whether this thread leads.
    pub fn leads(&self, seat: &Seat) -> bool {
        self.leader.load(Ordering::Acquire) >> 1 == u64::from(seat.number)
    }

    /// The leader's seat, unless it waits for events.
    pub fn busy_leader(&self) -> Option<&Seat> {
        let word = self.leader.load(Ordering::Acquire);
        (word & WAITING == 0).then(|| &**self.seats.get((word >> 1) as usize).unwrap_or(&self.seats[0]))
    }

    /// The leader begins to wait. False: it leads no more.
    pub fn wait(&self, seat: &Seat) -> bool {
        let me = u64::from(seat.number) << 1;
        self.leader.compare_exchange(me, me | WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// It has something to do. Nobody takes the lead from a leader that waits.
    pub fn work(&self, seat: &Seat) {
        self.leader.store(u64::from(seat.number) << 1, Ordering::Release);
    }

    /// Takes the lead from a leader that does not wait; true also if it is this thread's.
    pub fn take_lead(&self, seat: &Seat) -> bool {
        let me = u64::from(seat.number) << 1;
        let word = self.leader.load(Ordering::Acquire);
        if word >> 1 == u64::from(seat.number) {
            return true;
        }
        word & WAITING == 0 && self.leader.compare_exchange(word, me, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Sleeps until this thread leads, or there is nothing to lead any more: false.
    pub fn park(&self, seat: &Seat) -> bool {
        seat.set_parked(true);
        while !self.leads(seat) && !self.ended() {
            std::thread::park();
        }
        seat.set_parked(false);
        !self.ended()
    }

    /// Makes a thread that sleeps the leader in place of this one, which is stuck. False: nobody sleeps, or it does not
    /// lead any more. It may be robbed of the lead before it has woken, by a thread that needs no waking; then it sleeps on.
    pub fn promote(&self, stuck: &Seat) -> bool {
        let Some(next) = self.seats.iter().find(|seat| seat.parked() && seat.number != stuck.number) else {
            return false;
        };
        let (from, to) = (u64::from(stuck.number) << 1, u64::from(next.number) << 1);
        let promoted = self.leader.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if promoted {
            next.wake();
        }
        promoted
    }

    /// Whether a thread sleeps.
    pub fn has_parked(&self) -> bool {
        self.seats.iter().any(|seat| seat.parked())
    }

    /// There is nothing left to serve.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.seats.iter().for_each(|seat| seat.wake());
    }

    /// Whether there is nothing left to serve.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}
