//! The main thread of a worker with several: it serves no requests. It waits for signals and the arbiter's orders, takes the
//! GIL once a second, so that the sentinel knows that it can be had, drops what connections leave behind, and interrupts
//! requests that take too long.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pyo3::prelude::*;

use super::shared::Shared;
use crate::sys::{borrow, now};
use crate::wakeup::WakeupFd;

/// How often it takes the GIL (ms).
const BEAT_MS: u16 = 1000;
/// How long it waits for the other threads to leave when there is nothing more to serve (ns).
const LEAVE_NS: u64 = 1_000_000_000;

/// Returns when the worker leaves. An error is an exception that a signal handler raised.
pub fn supervise(py: Python<'_>, shared: &Shared, bridge: &Bound<'_, PyAny>) -> PyResult<()> {
    let wakeup: Py<WakeupFd> = bridge.getattr("wakeup")?.extract()?;
    let wakeup_fd = bridge.getattr("wakeup_fd")?.extract()?;
    let mut leave_by = None;
    let mut linked = true;
    let result = loop {
        // What arrived since the last look, or arrives from now on, leaves a byte in the pipe.
        if let Err(error) = wakeup.get().set(py, wakeup_fd).and_then(|()| py.check_signals()) {
            break Err(error);
        }
        shared.alive.store(now(), Ordering::Relaxed);
        interrupt(py, shared, bridge);
        // Not the leader's work: while it waits for the GIL, nobody takes what comes.
        shared.drop_garbage();
        if shared.quits() {
            break Ok(());
        }
        if shared.crew.ended() {
            let by = *leave_by.get_or_insert(now() + LEAVE_NS);
            if shared.watch.serving.load(Ordering::SeqCst) == 0 || now() > by {
                break Ok(());
            }
        }
        let limit = if leave_by.is_some() { 10 } else { BEAT_MS };
        linked &= py.detach(|| wait(shared, limit, linked));
    };
    shared.crew.end();
    py.detach(|| shared.end());
    result
}

/// Waits for something to do. False: the link has said all that it can say.
fn wait(shared: &Shared, limit: u16, linked: bool) -> bool {
    let mut waits =
        vec![PollFd::new(borrow(shared.wake), PollFlags::POLLIN), PollFd::new(shared.main.fd(), PollFlags::POLLIN)];
    if linked {
        waits.push(PollFd::new(borrow(shared.link.raw_fd()), PollFlags::POLLIN));
    }
    let _ = poll(&mut waits, PollTimeout::from(limit));
    crate::sys::drain(shared.wake);
    shared.main.silence();
    if linked && shared.link.retired() {
        shared.retire();
        return false;
    }
    true
}

/// Raises an exception in threads whose request has taken too long, and says which it was.
fn interrupt(py: Python<'_>, shared: &Shared, bridge: &Bound<'_, PyAny>) {
    let overdue = std::mem::take(&mut *shared.overdue.lock().unwrap_or_else(PoisonError::into_inner));
    for (number, turn) in overdue {
        let seat = &shared.crew.seats[number];
        let request = shared.vitals.slot.in_flight(seat.number, now());
        let target = request.as_ref().map(|request| request.target.clone()).unwrap_or_default();
        let age = request.map_or(0.0, |request| now().saturating_sub(request.started) as f64 / 1e9);
        if let Some(ident) = seat.interrupt.aim(turn) {
            crate::sys::interrupt_python(py, ident, bridge);
        }
        let told = bridge.call_method1("request_timed_out", (target, age, number, shared.stacks.take()));
        if let Err(error) = told {
            error.write_unraisable(py, Some(bridge));
        }
    }
}
