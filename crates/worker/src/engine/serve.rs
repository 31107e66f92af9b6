//! The loop of a serving thread: wait, take what is ready, run it.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pyo3::prelude::*;
use rgunicorn_http::{Error as HttpError, Event};
use rgunicorn_wire::WorkerSays;

use super::Shared;
use super::conn::{BODIES_LIMIT, BODY_LIMIT, Conn, Garbage, PendingHead, Phase, Read, Then};
use super::poll::Wake;
use super::window::{READ_SIZE, Window};
use crate::sys::now;
use crate::wakeup::WakeupFd;
use crate::wsgi::{After, Gateway, Request};

/// How long a client may take for a request's head, from its first byte or the connection's beginning on, and for each
/// piece of a buffered body.
pub const HEAD_LIMIT_NS: u64 = 30_000_000_000;
/// How long a finished response may take to a client that takes no byte.
const WRITE_LIMIT_NS: u64 = 60_000_000_000;
/// How long a connection lingers after an error answer.
const LINGER_NS: u64 = 2_000_000_000;
/// How long idle connections linger when the whole server stops.
const LAST_IDLE_NS: u64 = 2_000_000_000;
/// How long a worker that was called silent waits for the arbiter to end it.
const ABORT_NS: u64 = 5_000_000_000;
/// A waiting thread looks around at least this often (ms).
const IDLE_WAIT_MS: u16 = 1000;
/// How often it tries to accept unasked, whatever else wakes it: a worker that went busy or died may have swallowed the
/// wake-up.
const LOOK_NS: u64 = 1_000_000_000;
/// How long one connection may go on with pipelined requests while others are ready.
const TURN_NS: u64 = 2_000_000;

/// One thread's serving.
pub struct Serving {
    pub(super) shared: Arc<Shared>,
    gateway: Gateway,
    /// The Python side of the worker.
    bridge: Py<PyAny>,
    /// What stands for `signal.set_wakeup_fd`, and the descriptor that it is to have.
    wakeup: (Py<WakeupFd>, RawFd),
    buffer: Vec<u8>,
    recycle_asked: bool,
    /// Nothing is accepted before: there are no descriptors.
    pub(super) accept_after: u64,
    pub(super) accept_failing: bool,
    /// When to try to accept unasked.
    look_at: u64,
    last_sweep: u64,
    retire_until: Option<u64>,
}

/// What a connection needs next.
enum Step {
    /// It waits.
    Park,
    /// It has more to do, after the others.
    Yield,
    /// It is over.
    Close,
    /// Its answer is out; it lingers.
    Linger,
    /// A request is complete as far as it is buffered.
    Run(Ready),
}

/// A request in the buffer.
struct Ready {
    head: Head,
    complete: bool,
}

/// Where a head's bytes are.
enum Head {
    InBuffer { start: usize, end: usize },
    Copied(Vec<u8>),
}

impl Serving {
    /// For this thread.
    pub fn new(shared: Arc<Shared>, gateway: Gateway, bridge: Py<PyAny>, wakeup: (Py<WakeupFd>, RawFd)) -> Self {
        Serving {
            shared,
            gateway,
            bridge,
            wakeup,
            buffer: vec![0; READ_SIZE],
            recycle_asked: false,
            accept_after: 0,
            accept_failing: false,
            look_at: 0,
            last_sweep: now(),
            retire_until: None,
        }
    }

    /// Serves until the worker leaves. An error is an exception that a signal handler raised.
    pub fn run(mut self) -> PyResult<()> {
        let result = self.serve();
        self.shared.sets.stop_listening(&self.shared.listeners);
        let left = self.shared.table.drain();
        // Python objects of connections, and the gateway's, must go while attached.
        Python::attach(|_| drop((left, self)));
        result
    }

    fn serve(&mut self) -> PyResult<()> {
        let mut wakes = Vec::with_capacity(16);
        self.shared.sets.listen(&self.shared.listeners);
        self.look_at_signals()?;
        loop {
            if self.shared.quits() || self.retired() {
                return Ok(());
            }
            self.await_abort()?;
            self.shared.set_waiting(true);
            let limit = if self.shared.table.ready() > 0 { 0 } else { self.wait_ms() };
            self.shared.sets.wait(limit, &mut wakes);
            self.shared.pulse.beat();
            self.shared.set_waiting(false);
            self.take(&wakes);
            // What is put back at the end waits for its next turn, behind what has come meanwhile.
            for _ in 0..self.shared.table.ready() {
                let Some(conn) = self.shared.table.next() else { break };
                self.drive(conn);
                if self.shared.quits() || self.shared.condemned.load(Ordering::Relaxed) {
                    break;
                }
            }
            let swept = self.sweep();
            // A signal leaves a byte in the pipe, or interrupts the wait, unless the app gave Python another descriptor. The
            // look now and then is for code that does so from C, unseen.
            if wakes.contains(&Wake::Signal) || self.wakeup.0.get().taken() || swept {
                self.look_at_signals()?;
            }
        }
    }

    /// After a request that was silent for too long and has ended all the same: the arbiter's ABRT is on its way, and must
    /// not hit another request.
    fn await_abort(&self) -> PyResult<()> {
        let until = now() + ABORT_NS;
        while self.shared.condemned.load(Ordering::Relaxed) && now() < until {
            self.shared.set_waiting(true);
            let mut waits = [PollFd::new(crate::sys::borrow(self.shared.wake), PollFlags::POLLIN)];
            let _ = poll(&mut waits, PollTimeout::from(100u8));
            drain_pipe(self.shared.wake);
            self.look_at_signals()?;
        }
        self.shared.condemned.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Runs Python's signal handlers.
    fn look_at_signals(&self) -> PyResult<()> {
        Python::attach(|py| {
            self.wakeup.0.get().set(py, self.wakeup.1)?;
            py.check_signals()
        })
    }

    fn look_at_max_requests(&mut self) {
        let limit = self.shared.options.max_requests;
        if limit > 0 && !self.recycle_asked && self.gateway.served() >= limit {
            self.recycle_asked = true;
            Python::attach(|py| {
                let _ = self.bridge.bind(py).call_method0("recycling");
            });
            self.shared.link.say(&WorkerSays::Recycle);
        }
    }

    /// Whether everything is finished after the order to leave. Idle connections linger for as long as a client may take
    /// to send a request on them (it is answered with `Connection: close`), so that none is closed under a request.
    fn retired(&mut self) -> bool {
        if self.shared.link.told() {
            self.shared.retire.store(true, Ordering::Relaxed);
        }
        if !self.shared.retire.load(Ordering::Relaxed) {
            return false;
        }
        let now = now();
        let until = match self.retire_until {
            Some(until) => until,
            None => {
                if self.shared.link.drains() {
                    self.drain_listeners();
                }
                self.shared.sets.stop_listening(&self.shared.listeners);
                let until = now + self.idle_time();
                self.retire_until = Some(until);
                until
            }
        };
        let idle = |conn: &Conn| conn.phase == Phase::Reading && !conn.begun;
        if now >= until {
            for conn in self.shared.table.expired(0, idle) {
                self.close(conn);
            }
        }
        self.shared.table.open() == 0
    }

    /// How long idle connections linger when the worker leaves: never so long that the rest of its time is not enough.
    fn idle_time(&self) -> u64 {
        let options = &self.shared.options;
        let last = if self.shared.link.drains() { LAST_IDLE_NS } else { HEAD_LIMIT_NS };
        options.keepalive.min(options.graceful_timeout / 2).min(last)
    }

    fn wait_ms(&self) -> u16 {
        let until = |then: u64| then.saturating_sub(now()).div_ceil(1_000_000);
        match self.retire_until {
            Some(then) => until(then).clamp(1, 50) as u16,
            None if self.accept_after > 0 => until(self.accept_after).clamp(1, IDLE_WAIT_MS.into()) as u16,
            None => IDLE_WAIT_MS,
        }
    }

    fn take(&mut self, wakes: &[Wake]) {
        for wake in wakes {
            match wake {
                Wake::Listener(index) => self.accept(*index),
                Wake::Connections => {
                    let table = &self.shared.table;
                    self.shared.sets.events(|token, hangup| {
                        table.event(token, hangup);
                    });
                }
                Wake::Signal => drain_pipe(self.shared.wake),
                Wake::Link => {
                    if self.shared.link.retired() {
                        self.shared.retire.store(true, Ordering::Relaxed);
                        self.shared.sets.forget_link(self.shared.link.raw_fd());
                    }
                }
            }
        }
        let now = now();
        if now >= self.look_at {
            self.look_at = now + LOOK_NS;
            for index in 0..self.shared.listeners.len() {
                self.accept(index);
            }
        }
    }

    pub(super) fn warn(&self, text: &str) {
        Python::attach(|py| {
            let _ = self.bridge.bind(py).call_method1("warn", (text,));
        });
    }

    /// Twice a second, then true: connections whose time is over. Always: listeners that were set aside.
    fn sweep(&mut self) -> bool {
        let now = now();
        let room = self.shared.table.open() < self.shared.options.worker_connections;
        if !self.shared.sets.listens_everywhere()
            && room
            && now >= self.accept_after
            && !self.shared.retire.load(Ordering::Relaxed)
        {
            self.accept_after = 0;
            self.shared.sets.listen(&self.shared.listeners);
        }
        if now - self.last_sweep < 500_000_000 {
            return false;
        }
        self.last_sweep = now;
        self.gateway.look_at_access_log();
        for mut conn in self.shared.table.expired(now, |_| false) {
            if conn.phase == Phase::Reading && conn.begun {
                let page =
                    rgunicorn_http::error_response(408, "Request Timeout", "The request took too long to arrive.");
                let _ = conn.send(&[&page]);
            }
            self.close(conn);
        }
        true
    }

    /// Does for a connection what can be done now, then lets it wait or closes it.
    fn drive(&mut self, mut conn: Box<Conn>) {
        loop {
            let step = match conn.phase {
                Phase::Reading => self.read_on(conn),
                Phase::Writing { then } => match self.write_on(&mut conn) {
                    Ok(true) => match then {
                        Then::Keep => {
                            conn.phase = Phase::Reading;
                            conn.deadline = now() + self.shared.options.keepalive;
                            continue;
                        }
                        Then::LetGo => return self.let_go(conn),
                        Then::Linger => Some((conn, Step::Linger)),
                        Then::Close => Some((conn, Step::Close)),
                    },
                    Err(_) => Some((conn, Step::Close)),
                    Ok(false) => Some((conn, Step::Park)),
                },
                // Read to the end also after a hang-up: a close with input unread is a reset.
                Phase::Lingering { .. } => {
                    let over = conn.linger();
                    Some((conn, if over { Step::Close } else { Step::Park }))
                }
            };
            let Some((held, step)) = step else { return };
            match step {
                Step::Park => match self.park(held) {
                    None => return,
                    Some(again) => conn = again,
                },
                Step::Yield => return self.shared.table.push(held),
                Step::Linger => {
                    conn = held;
                    conn.finish_sending();
                    conn.phase = Phase::Lingering { dropped: 0 };
                    conn.deadline = now() + LINGER_NS;
                }
                Step::Close | Step::Run(_) => return self.close(held),
            }
        }
    }

    /// Reads and serves requests until the connection has to wait. `None`: it is no longer the engine's.
    fn read_on(&mut self, mut conn: Box<Conn>) -> Option<(Box<Conn>, Step)> {
        let mut window = Window::take(&mut conn, &mut self.buffer);
        let turn_ends = now() + TURN_NS;
        let step = loop {
            match self.next_request(&mut conn, &mut window) {
                Step::Run(ready) => match self.serve_one(conn, &mut window, ready) {
                    (back, After::Keep) => {
                        conn = back;
                        if !conn.out.is_empty() {
                            break self.after_sending(&mut conn, Then::Keep);
                        }
                        let now = now();
                        conn.deadline = now + self.shared.options.keepalive;
                        // A short read means that the socket was empty: the next bytes make an event of their own.
                        if window.is_empty() && !conn.hangup && !conn.more {
                            break Step::Park;
                        }
                        if now >= turn_ends || self.shared.quits() || self.shared.condemned.load(Ordering::Relaxed) {
                            break Step::Yield;
                        }
                    }
                    (back, After::Linger) => {
                        conn = back;
                        break self.after_sending(&mut conn, Then::Linger);
                    }
                    (back, After::Close) => {
                        conn = back;
                        break self.after_sending(&mut conn, Then::Close);
                    }
                    (back, After::Taken) => {
                        conn = back;
                        if !conn.out.is_empty() {
                            break self.after_sending(&mut conn, Then::LetGo);
                        }
                        window.give_back(&mut None, &mut self.buffer);
                        self.let_go(conn);
                        return None;
                    }
                },
                other => break other,
            }
        };
        window.give_back(&mut Some(&mut conn), &mut self.buffer);
        Some((conn, step))
    }

    fn write_on(&mut self, conn: &mut Conn) -> std::io::Result<bool> {
        let before = conn.out.taken;
        let done = conn.flush();
        if conn.out.taken != before {
            conn.deadline = now() + WRITE_LIMIT_NS;
        }
        let spent = conn.out.take_spent();
        if !spent.is_empty() {
            Python::attach(|_| drop(spent));
        }
        done
    }

    /// What is left of a response goes when the client takes it.
    fn after_sending(&self, conn: &mut Conn, then: Then) -> Step {
        if conn.out.is_empty() {
            return if then == Then::Linger { Step::Linger } else { Step::Close };
        }
        conn.phase = Phase::Writing { then };
        conn.deadline = now() + WRITE_LIMIT_NS;
        Step::Park
    }

    /// Parses what is there and reads more, until a request is complete (or large enough to be streamed).
    fn next_request(&self, conn: &mut Conn, window: &mut Window) -> Step {
        let mut head_at = (0, 0);
        let mut whole = false;
        loop {
            let event = match conn.decoder.advance(window.bytes()) {
                Ok((consumed, event)) => {
                    if let Event::Data(span) = event {
                        conn.body.extend_from_slice(span.of(window.bytes()));
                    }
                    if matches!(event, Event::Head) {
                        head_at = (window.start, window.start + consumed);
                        whole = true;
                    }
                    window.start += consumed;
                    event
                }
                Err(error) => return self.refuse(conn, &error),
            };
            match event {
                Event::Head => {
                    let head = conn.decoder.head();
                    if head.expect_continue && window.is_empty() {
                        // Whoever waits for this sends no body before it (RFC 9110 10.1.1).
                        if conn.send(&[b"HTTP/1.1 100 Continue\r\n\r\n"]).is_err() {
                            return Step::Close;
                        }
                    }
                }
                Event::Data(_) if conn.body.len() < BODY_LIMIT && self.has_room(conn) => {}
                Event::Data(_) | Event::End => {
                    let complete = matches!(event, Event::End);
                    let head = match conn.head.take() {
                        Some(pending) => Head::Copied(pending.bytes),
                        None => Head::InBuffer { start: head_at.0, end: head_at.1 },
                    };
                    return Step::Run(Ready { head, complete });
                }
                Event::NeedMore => {
                    if whole && conn.head.is_none() {
                        conn.head = Some(PendingHead { bytes: window.data[head_at.0..head_at.1].to_vec() });
                        // A body too long to be kept is read by the app.
                        if conn.decoder.remaining().is_some_and(|left| left > BODY_LIMIT as u64) {
                            let head = conn.head.take().map_or(Vec::new(), |pending| pending.bytes);
                            return Step::Run(Ready { head: Head::Copied(head), complete: false });
                        }
                    }
                    match conn.read(window.room()) {
                        Read::Bytes(count) => {
                            window.end += count;
                            self.shared.pulse.slot.count_bytes(count as u64, 0);
                        }
                        Read::Empty => {
                            // A head has its time as a whole; a body has it anew with each piece that comes.
                            let in_body = conn.head.is_some();
                            if in_body || !(conn.begun || window.is_empty()) {
                                conn.begun = true;
                                conn.deadline = now() + HEAD_LIMIT_NS;
                            }
                            return Step::Park;
                        }
                        Read::End => return Step::Close,
                    }
                }
            }
        }
    }

    /// Whether the worker may keep more of requests' bodies.
    fn has_room(&self, conn: &Conn) -> bool {
        let others = self.shared.bodies.load(Ordering::Relaxed) - conn.charged;
        others + conn.body.len() <= BODIES_LIMIT
    }

    /// Counts what a connection keeps of a body, as of now.
    fn charge(&self, conn: &mut Conn) {
        let bodies = &self.shared.bodies;
        if conn.body.len() != conn.charged {
            bodies.fetch_add(conn.body.len(), Ordering::Relaxed);
            bodies.fetch_sub(conn.charged, Ordering::Relaxed);
            conn.charged = conn.body.len();
        }
    }

    /// Answers a request that cannot be understood; nothing after it on the connection is looked at.
    fn refuse(&self, conn: &mut Conn, error: &HttpError) -> Step {
        let peer = conn.peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        self.warn(&format!("Invalid request from ip={peer}: {error}"));
        let page = rgunicorn_http::error_response(error.status(), error.reason(), &error.to_string());
        if conn.send(&[&page]).is_err() { Step::Close } else { self.after_sending(conn, Then::Linger) }
    }

    fn serve_one(&mut self, mut conn: Box<Conn>, window: &mut Window, ready: Ready) -> (Box<Conn>, After) {
        let body = std::mem::take(&mut conn.body);
        self.charge(&mut conn);
        conn.begun = false;
        if !ready.complete {
            // The rest of the body goes on from here.
            conn.input = window.bytes().to_vec();
            window.start = window.end;
        }
        let bytes: &[u8] = match &ready.head {
            Head::InBuffer { start, end } => &window.data[*start..*end],
            Head::Copied(bytes) => bytes,
        };
        let leaving = self.shared.retire.load(Ordering::Relaxed) || self.shared.link.closes();
        let keep_alive = self.shared.options.keepalive > 0 && !leaving;
        let more = ready.complete && !window.is_empty();
        let mut request = Request { bytes, body, complete: ready.complete, keep_alive };
        self.shared.current.store(conn.raw_fd(), Ordering::Relaxed);
        let (mut conn, mut after) = self.gateway.run(conn, &mut request);
        self.shared.current.store(-1, Ordering::Relaxed);
        self.look_at_max_requests();
        if after == After::Close && more {
            // It has sent more than this: a plain close would turn into a reset, which can destroy the answer.
            after = After::Linger;
        }
        if !ready.complete && after == After::Keep {
            // The app read the body to its end: what came after it belongs to the next request.
            let rest = std::mem::take(&mut conn.input);
            window.refill(rest);
        }
        (conn, after)
    }

    /// Lets a connection wait. Returns it if there is something to do at once.
    fn park(&mut self, mut conn: Box<Conn>) -> Option<Box<Conn>> {
        self.charge(&mut conn);
        if conn.token.is_none() {
            let token = self.shared.table.admit();
            conn.token = Some(token);
            let (fd, listener) = (conn.raw_fd(), conn.listener);
            let parked = self.shared.table.park(conn);
            // Registered after it has its place, so that the first event finds it. What is there already makes one.
            if self.shared.sets.add(fd, token).is_err() {
                for conn in self.shared.table.expired(0, |waiting| waiting.token == Some(token)) {
                    self.close(conn);
                }
            }
            self.shared.sets.requeue(&self.shared.listeners, listener);
            return parked;
        }
        self.shared.table.park(conn)
    }

    fn close(&mut self, mut conn: Box<Conn>) {
        conn.body = Vec::new();
        self.charge(&mut conn);
        let forked = self.shared.forked.load(Ordering::Relaxed);
        if let Some(token) = conn.token {
            if forked {
                self.shared.sets.remove(conn.raw_fd());
            }
            self.shared.table.forget(token);
        }
        if forked {
            conn.shut();
        }
        self.closed(conn.take_objects());
    }

    /// Forgets a connection that the app has taken: it has a descriptor of its own.
    fn let_go(&mut self, mut conn: Box<Conn>) {
        if let Some(token) = conn.token {
            self.shared.sets.remove(conn.raw_fd());
            self.shared.table.forget(token);
        }
        self.closed(conn.take_objects());
    }

    fn closed(&mut self, objects: Garbage) {
        let open = self.shared.table.closed();
        self.shared.pulse.slot.count_connection(0, open as u64);
        if !objects.is_empty() {
            Python::attach(|_| drop(objects));
        }
    }
}

fn drain_pipe(fd: std::os::fd::RawFd) {
    let mut waste = [0u8; 256];
    while matches!(nix::unistd::read(crate::sys::borrow(fd), &mut waste), Ok(count) if count == waste.len()) {}
}
