//! The loop of a serving thread: wait, take what is ready, run it.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use rgunicorn_wire::WorkerSays;

use super::conn::Phase;
use super::habits::{Appetite, FirstReads};
use super::hold::Conns;
use super::poll::Wake;
use super::seat::Seat;
use super::shared::Shared;
use super::window::READ_SIZE;
use crate::sys::now;
use crate::wakeup::WakeupFd;
use crate::wsgi::Gateway;

/// A waiting thread looks around at least this often (ms).
const IDLE_WAIT_MS: u16 = 1000;
/// How often it tries unasked to accept and to receive, whatever else wakes it: a worker that went busy or died may have
/// swallowed the wake-up.
const LOOK_NS: u64 = 1_000_000_000;
/// How often connections are looked through for those whose time is over.
pub const SWEEP_NS: u64 = 500_000_000;
/// How many connections are driven before the next one of another worker is taken: that one, and one of the own.
const RECEIVED_TURNS: usize = 2;
/// A request that took so long was stuck in something: its thread goes on while others lead. One whose requests are short
/// leaves them to the leader, so that they do not fight for the GIL.
pub const TICK_NS: u64 = 1_000_000;

/// One thread's serving.
pub struct Serving {
    pub(super) shared: Arc<Shared>,
    pub(super) seat: Arc<Seat>,
    pub(super) gateway: Gateway,
    /// The Python side of the worker.
    pub(super) bridge: Py<PyAny>,
    /// What stands for `signal.set_wakeup_fd`, and the descriptor that it is to have.
    wakeup: (Py<WakeupFd>, RawFd),
    pub(super) buffer: Vec<u8>,
    wakes: Vec<Wake>,
    pub(super) first_reads: FirstReads,
    pub(super) appetite: Appetite,
    /// CLOCK_MONOTONIC, as last read.
    pub(super) clock: u64,
    /// Others are ready: see `hold`.
    pub(super) may_hold: bool,
    /// How many responses this thread has given to be held.
    pub(super) holding: usize,
    /// Memory for those that it lets go.
    pub(super) released: Conns,
}

impl Serving {
    /// For this thread.
    pub fn new(
        shared: Arc<Shared>,
        seat: Arc<Seat>,
        gateway: Gateway,
        bridge: Py<PyAny>,
        wakeup: (Py<WakeupFd>, RawFd),
    ) -> Self {
        let (buffer, wakes) = (vec![0; READ_SIZE], Vec::with_capacity(16));
        let (first_reads, appetite, may_hold, holding, released) = Default::default();
        let clock = now();
        Serving {
            shared,
            seat,
            gateway,
            bridge,
            wakeup,
            buffer,
            wakes,
            first_reads,
            appetite,
            clock,
            may_hold,
            holding,
            released,
        }
    }

    /// Serves until the worker leaves. An error is an exception that a signal handler raised.
    pub fn run(mut self) -> PyResult<()> {
        let result = if self.shared.options.threaded { self.serve_with_others() } else { self.serve_alone() };
        // Python objects of the gateway must go while attached.
        Python::attach(|_| drop(self));
        result
    }

    fn serve_alone(&mut self) -> PyResult<()> {
        let result = self.look_at_signals().and_then(|()| self.lead());
        self.shared.end();
        result
    }

    fn serve_with_others(&mut self) -> PyResult<()> {
        let shared = Arc::clone(&self.shared);
        let seat = Arc::clone(&self.seat);
        let _seated = Seated::new(&shared, &seat);
        loop {
            // Whoever was stuck may take the lead from somebody who is busy; others would only fight with him for the GIL.
            if self.was_stuck() && shared.crew.take_lead(&seat) || shared.crew.park(&seat) {
                self.lead()?;
            }
            if shared.crew.ended() || shared.quits() {
                return Ok(());
            }
            while self.was_stuck()
                && !shared.crew.leads(&seat)
                && let Some(conn) = shared.table.next()
            {
                self.drive(conn);
            }
            if shared.table.ready() > 0 {
                // Left by this thread, which sleeps now; the leader may do so already.
                shared.sets.nudge();
            }
        }
    }

    /// Whether this thread's last request took so long that another one leads now.
    fn was_stuck(&self) -> bool {
        self.gateway.took > TICK_NS && !self.shared.quits()
    }

    /// Waits for events and runs what is ready, for as long as this thread leads.
    fn lead(&mut self) -> PyResult<()> {
        let shared = Arc::clone(&self.shared);
        if !shared.watch.begun.swap(true, Ordering::Relaxed) {
            shared.sets.listen(&shared.listeners);
        }
        loop {
            if shared.quits() || self.retired() {
                shared.crew.end();
                return Ok(());
            }
            if shared.condemned.load(Ordering::Relaxed) {
                self.await_abort()?;
            }
            if !shared.options.threaded {
                shared.drop_garbage();
            }
            self.resume_listening();
            if !shared.crew.wait(&self.seat) {
                return Ok(());
            }
            // Whoever makes something ready from now on sees that this thread sleeps, and wakes it.
            let limit = if shared.table.ready() > 0 { 0 } else { self.wait_ms() };
            self.gateway.took = 0;
            shared.set_waiting(true);
            shared.sets.wait(limit, &mut self.wakes, |token, happened| {
                shared.table.event(token, happened);
            });
            shared.set_waiting(false);
            shared.crew.work(&self.seat);
            let received = self.take();
            // What is put back at the end waits for its next turn, behind what has come meanwhile. Those that wait for any
            // worker are taken one by one, in turn with this worker's own.
            let turns = if received { RECEIVED_TURNS } else { usize::MAX };
            self.run_ready(shared.table.ready().min(turns));
            if !shared.crew.leads(&self.seat) {
                return Ok(());
            }
            let swept = self.sweep();
            // A signal leaves a byte in the pipe, or interrupts the wait, unless the app gave Python another descriptor. The
            // look now and then is for code that does so from C, unseen.
            if !shared.options.threaded && (self.wakes.contains(&Wake::Signal) || self.wakeup.0.get().taken() || swept)
            {
                self.look_at_signals()?;
            }
        }
    }

    /// Runs so many that are ready, for as long as this thread leads and may go on. What is held is sent at the end.
    fn run_ready(&mut self, turns: usize) {
        let shared = Arc::clone(&self.shared);
        for left in (0..turns).rev() {
            let Some(conn) = shared.table.next() else { break };
            self.may_hold = left > 0;
            self.drive(conn);
            self.look_at_held();
            if shared.quits() || shared.condemned.load(Ordering::Relaxed) || !shared.crew.leads(&self.seat) {
                break;
            }
        }
        self.may_hold = false;
        self.let_go_held();
    }

    /// Runs Python's signal handlers.
    pub(super) fn look_at_signals(&self) -> PyResult<()> {
        Python::attach(|py| {
            self.wakeup.0.get().set(py, self.wakeup.1)?;
            py.check_signals()
        })
    }

    pub(super) fn look_at_max_requests(&self) {
        let shared = &self.shared;
        let limit = shared.options.max_requests;
        if limit > 0
            && shared.vitals.served.load(Ordering::Relaxed) >= limit
            && !shared.watch.recycle_asked.swap(true, Ordering::Relaxed)
        {
            if !shared.link.say(&WorkerSays::Recycle) {
                // The link is full. The next request tries again.
                return shared.watch.recycle_asked.store(false, Ordering::Relaxed);
            }
            Python::attach(|py| {
                let _ = self.bridge.bind(py).call_method0("recycling");
            });
        }
    }

    fn wait_ms(&self) -> u16 {
        let watch = &self.shared.watch;
        let until = |then: u64| then.saturating_sub(now()).div_ceil(1_000_000);
        let (leaves, accepts) =
            (watch.retire_until.load(Ordering::Relaxed), watch.accept_after.load(Ordering::Relaxed));
        if leaves > 0 {
            until(leaves).clamp(1, 50) as u16
        } else if accepts > 0 {
            until(accepts).clamp(1, IDLE_WAIT_MS.into()) as u16
        } else {
            IDLE_WAIT_MS
        }
    }

    /// Takes what has come. True: a connection of another worker is among it.
    fn take(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut received = false;
        for at in 0..self.wakes.len() {
            match self.wakes[at] {
                Wake::Listener(index) => self.accept(index),
                Wake::Signal => crate::sys::drain(shared.wake),
                Wake::Link => {
                    if shared.link.retired() {
                        shared.sets.forget_link(shared.link.raw_fd());
                        shared.retire();
                    }
                }
                Wake::HandOff => received |= shared.receive(),
                Wake::Nudge => shared.sets.nudged(),
            }
        }
        let now = now();
        self.clock = now;
        if now >= shared.watch.look_at.load(Ordering::Relaxed) {
            shared.watch.look_at.store(now + LOOK_NS, Ordering::Relaxed);
            received |= shared.receive();
            for index in 0..shared.listeners.len() {
                self.accept(index);
            }
        }
        received
    }

    pub(super) fn warn(&self, text: &str) {
        Python::attach(|py| {
            let _ = self.bridge.bind(py).call_method1("warn", (text,));
        });
    }

    /// Listens again at what was set aside. Whoever leads does so before it waits: a leader that was woken for it may have
    /// lost the lead.
    fn resume_listening(&self) {
        let shared = &self.shared;
        if !shared.sets.listens_everywhere() && !shared.retires() {
            let room = shared.table.open() < shared.options.worker_connections;
            if room && now() >= shared.watch.accept_after.load(Ordering::Relaxed) {
                shared.watch.accept_after.store(0, Ordering::Relaxed);
                shared.sets.listen(&shared.listeners);
            }
        }
    }

    /// Twice a second, then true: connections whose time is over.
    fn sweep(&mut self) -> bool {
        let shared = &self.shared;
        if !shared.sweep() {
            return false;
        }
        shared.balance();
        self.gateway.look_at_access_log();
        true
    }
}

impl Shared {
    /// Twice a second, then true: closes connections whose time is over.
    pub fn sweep(&self) -> bool {
        let now = now();
        if now < self.watch.swept.load(Ordering::Relaxed) + SWEEP_NS {
            return false;
        }
        self.watch.swept.store(now, Ordering::Relaxed);
        for mut conn in self.table.expired(now, |_| false) {
            if conn.phase == Phase::Reading && conn.begun {
                let page =
                    rgunicorn_http::error_response(408, "Request Timeout", "The request took too long to arrive.");
                let _ = conn.send(&[&page]);
            }
            self.close(conn);
        }
        true
    }

    /// Everything is over: what is left of connections goes.
    pub fn end(&self) {
        self.sets.stop_listening(&self.listeners);
        self.send_all_held();
        let left = self.table.drain();
        // Python objects of connections must go while attached.
        Python::attach(|_| drop(left));
        self.drop_garbage();
    }
}

/// A thread that leaves its loop, however it does, leads no more.
struct Seated<'s>(&'s Shared, &'s Seat);

impl<'s> Seated<'s> {
    fn new(shared: &'s Shared, seat: &'s Seat) -> Self {
        shared.watch.serving.fetch_add(1, Ordering::SeqCst);
        Seated(shared, seat)
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        let Seated(shared, seat) = self;
        shared.crew.promote(seat);
        shared.watch.serving.fetch_sub(1, Ordering::SeqCst);
        shared.main.ring();
    }
}
