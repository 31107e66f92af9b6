//! How a thread lives while it has a request, as the sentinel and the scoreboard see it, and how long it waits for a client.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::engine::{Seat, Vitals};
use crate::sys::now;

/// How long a client may take without a byte moving, while a thread waits for it; and how long it may be slow.
const CLIENT_STALL_NS: u64 = 60_000_000_000;
/// Bytes a second that a client has to reach on average, once a thread has waited for it that long.
const CLIENT_RATE: u64 = 256;
/// A waiting threadcomes back this often (ms), so that its caller can run signal handlers.
const WAIT_MS: u16 = 1000;

/// What a thread shares with its exchanges: how it lives, and how its worker does.
#[derive(Debug, Clone)]
pub struct Pulse {
    /// The thread.
    pub seat: Arc<Seat>,
    /// The worker.
    pub vitals: Arc<Vitals>,
}

/// A request that has begun. It is over when this is dropped, also by a panic: the seat of a thread that is gone must not
/// look like one that is stuck.
#[derive(Debug)]
pub struct InHand<'p>(&'p Pulse);

impl InHand<'_> {
    /// It is over. Returns when that was.
    pub fn end(self) -> u64 {
        let ended = self.over();
        std::mem::forget(self);
        ended
    }

    fn over(&self) -> u64 {
        let InHand(pulse) = self;
        let ended = now();
        pulse.seat.progress(ended);
        pulse.seat.end();
        pulse.vitals.slot.end(pulse.seat.number, ended);
        ended
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.over();
    }
}

impl Pulse {
    /// A request begins.
    pub fn begin(&self, now: u64, socket: RawFd, method: &[u8], target: &[u8]) -> InHand<'_> {
        self.vitals.slot.begin(self.seat.number, now, method, target);
        self.vitals.served.fetch_add(1, Ordering::Relaxed);
        self.seat.begin(now, socket);
        self.vitals.bell.ring();
        InHand(self)
    }

    /// A child that the app forked came back out of the app's code: the request, its log line and what it counts are its
    /// parent's.
    pub fn leave_if_child(&self) {
        if self.vitals.child.load(Ordering::Relaxed) {
            crate::sys::exit_now(0);
        }
    }

    /// Whether the worker has to leave now.
    pub fn quits(&self) -> bool {
        self.vitals.quit.load(Ordering::Relaxed)
    }

    /// Something moved.
    pub fn beat(&self) {
        self.seat.progress(now());
    }

    /// Waits for the client, a second at most or until a signal comes; returns the nanoseconds. The descriptor's
    /// connection may be over by then, and another one have its number: then this wakes too early, or late by a second.
    pub fn wait_for_client(&self, fd: RawFd, flags: PollFlags) -> u64 {
        let began = now();
        self.seat.set_waits(true);
        self.vitals.slot.touch(self.seat.number, began, true);
        let _ = poll(&mut [PollFd::new(crate::sys::borrow(fd), flags)], PollTimeout::from(WAIT_MS));
        let ended = now();
        self.seat.progress(ended);
        self.seat.set_waits(false);
        self.vitals.slot.touch(self.seat.number, ended, false);
        ended - began
    }
}

/// The patience that a client has left with a thread that waits for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// Nanoseconds waited in all.
    waited: u64,
    /// Of those, since a byte moved.
    stalled: u64,
    /// Bytes that moved.
    bytes: u64,
}

impl Patience {
    /// Bytes have moved.
    pub fn moved(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.stalled = 0;
    }

    /// After a wait of so many nanoseconds: whether it is at its end.
    pub fn spent(&mut self, waited: u64) -> bool {
        self.waited += waited;
        self.stalled += waited;
        let slow = self.bytes < self.waited / 1_000_000_000 * CLIENT_RATE;
        self.stalled > CLIENT_STALL_NS || self.waited > CLIENT_STALL_NS && slow
    }
}
