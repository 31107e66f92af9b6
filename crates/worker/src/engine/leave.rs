//! How a worker leaves: it finishes what has begun, passes idle connections on or lets them linger, then it is done.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pyo3::prelude::*;

use super::conn::{Conn, Phase};
use super::serve::Serving;
use crate::sys::now;

/// How long idle connections linger when a worker leaves, whatever `keepalive` says.
const IDLE_NS: u64 = 30_000_000_000;
/// How long they do when the whole server stops.
const LAST_IDLE_NS: u64 = 2_000_000_000;
/// How long a worker that was called silent waits for the arbiter to end it.
const ABORT_NS: u64 = 5_000_000_000;

impl Serving {
    /// Whether everything is finished after the order to leave. Idle connections go to other workers where there are any,
    /// or linger for as long as a client may take to send a request on them (it is answered with `Connection: close`), so
    /// that none is closed under a request.
    pub(super) fn retired(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        if shared.link.told() {
            shared.retire();
        }
        if !shared.retires() {
            return false;
        }
        let now = now();
        let mut until = shared.watch.retire_until.load(Ordering::Relaxed);
        if until == 0 {
            until = now + self.idle_time();
            shared.watch.retire_until.store(until, Ordering::Relaxed);
            shared.sets.stop_listening(&shared.listeners);
        }
        if shared.link.drains() && !shared.watch.drained.swap(true, Ordering::Relaxed) {
            // It may have been told to leave before, with more time.
            until = until.min(now + self.idle_time());
            shared.watch.retire_until.store(until, Ordering::Relaxed);
            self.drain_listeners();
        }
        if !shared.has_heirs() {
            // Nobody stays who would take what waits there. A worker that has not read its order yet may still add to it;
            // that one comes here too before it leaves.
            shared.receive_all();
        }
        shared.pass_idle();
        if now >= until {
            // Who has sent a request by now is not idle.
            shared.take_events();
            for conn in shared.table.expired(0, |conn: &Conn| conn.phase == Phase::Reading && !conn.begun) {
                shared.close(conn);
            }
        }
        if shared.table.open() > 0 {
            return false;
        }
        // The last look, with the last word of who stays: whoever else would have taken what waits may be gone.
        shared.link.retired();
        if !shared.has_heirs() {
            shared.receive_all();
        }
        shared.table.open() == 0
    }

    /// Never so long that the rest of the worker's time is not enough.
    fn idle_time(&self) -> u64 {
        let options = &self.shared.options;
        let last = if self.shared.link.drains() { LAST_IDLE_NS } else { IDLE_NS };
        options.keepalive.min(options.graceful_timeout / 2).min(last)
    }

    /// After a request that was silent for too long and has ended all the same: the arbiter's ABRT is on its way, and must
    /// not hit another request.
    pub(super) fn await_abort(&self) -> PyResult<()> {
        let until = now() + ABORT_NS;
        while self.shared.condemned.load(Ordering::Relaxed) && !self.shared.quits() && now() < until {
            self.shared.set_waiting(false);
            if self.shared.options.threaded {
                std::thread::sleep(std::time::Duration::from_millis(50));
                continue;
            }
            let mut waits = [PollFd::new(crate::sys::borrow(self.shared.wake), PollFlags::POLLIN)];
            let _ = poll(&mut waits, PollTimeout::from(100u8));
            crate::sys::drain(self.shared.wake);
            self.look_at_signals()?;
        }
        self.shared.condemned.store(false, Ordering::Relaxed);
        Ok(())
    }
}
