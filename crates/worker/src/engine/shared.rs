//! What all threads of the engine share. No Python in it, but for garbage that waits for somebody attached.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::Python;
use rgunicorn_wire::scoreboard::{Slot, State};

use super::bell::{Bell, Chime};
use super::conn::{Conn, Garbage};
use super::crew::Crew;
use super::gate::Gate;
use super::hand_off::HandOff;
use super::hold::Hold;
use super::options::{Listener, Options};
use super::poll::Sets;
use super::stacks::Stacks;
use super::table::Table;
use crate::link::LinkInner;
use crate::sys::now;

/// With several threads, so many connections may leave Python objects behind before the main thread is woken for them.
const GARBAGE_LIMIT: usize = 256;

/// How often events are asked for at a time, while there are more.
const TAKEN_AT_ONCE: usize = 1000;

/// What exchanges need of the worker.
#[derive(Debug)]
pub struct Vitals {
    /// This worker's slot.
    pub slot: Slot<'static>,
    /// Wakes the sentinel.
    pub bell: Bell,
    /// The worker leaves now: nobody waits any more.
    pub quit: AtomicBool,
    /// This process is a child that the app forked.
    pub child: AtomicBool,
    /// Requests begun.
    pub served: AtomicU64,
    /// Bytes of a response that are kept for a slow client before the app's thread waits.
    pub response_buffer: usize,
    /// Most bytes of a request's body.
    pub limit_request_body: u64,
}

impl Vitals {
    /// At the worker's beginning.
    pub fn new(slot: Slot<'static>, bell: Bell, options: &Options) -> Arc<Self> {
        Arc::new(Vitals {
            slot,
            bell,
            quit: AtomicBool::new(false),
            child: AtomicBool::new(false),
            served: AtomicU64::new(0),
            response_buffer: options.response_buffer,
            limit_request_body: options.limit_request_body,
        })
    }
}

/// See the module's head.
pub struct Shared {
    pub options: Options,
    pub listeners: Vec<Listener>,
    pub sets: Sets,
    pub table: Table,
    pub hold: Hold,
    /// Closed while the app forks.
    pub gate: Gate,
    pub crew: Crew,
    pub vitals: Arc<Vitals>,
    pub wake: RawFd,
    pub link: Arc<LinkInner>,
    pub stacks: Stacks,
    pub hand_off: HandOff,
    retiring: AtomicBool,
    /// The arbiter was told that this worker is silent, and will abort it: no other request must be in hand then.
    pub condemned: AtomicBool,
    /// The app forked: a child may hold copies of the connections' sockets.
    pub forked: AtomicBool,
    /// The worker class has a loop of its own.
    pub expects_notify: AtomicBool,
    /// When the main thread was last seen to live (a loop of its own, or one that serves no requests).
    pub alive: AtomicU64,
    /// Access lines are Python's to write: a logger class, or somebody's filter or handler.
    pub python_access: Arc<AtomicBool>,
    /// Bytes of requests' bodies that are kept until all of them is there.
    pub bodies: AtomicUsize,
    /// Requests that have taken too long, for the main thread to interrupt: seat and turn.
    pub overdue: Mutex<Vec<(usize, u64)>>,
    /// What the leaders hand on to each other.
    pub watch: Watch,
    /// Wakes the main thread of several: a serving one has left, or a request has taken too long.
    pub main: Chime,
    garbage: Mutex<Vec<Garbage>>,
    has_garbage: AtomicBool,
}

/// What is done now and then, by whoever leads. Times are CLOCK_MONOTONIC ns.
#[derive(Debug, Default)]
pub struct Watch {
    /// Nothing is accepted before: there are no descriptors.
    pub accept_after: AtomicU64,
    /// That has been said.
    pub accept_failing: AtomicBool,
    /// Somebody has begun to serve.
    pub begun: AtomicBool,
    /// Threads that serve.
    pub serving: AtomicU32,
    /// When to try to accept unasked.
    pub look_at: AtomicU64,
    /// When connections were last looked through for those whose time is over.
    pub swept: AtomicU64,
    /// When idle connections have to go, once the worker leaves; 0: it does not.
    pub retire_until: AtomicU64,
    /// What waited in the listeners' queues has been taken, since nobody else will.
    pub drained: AtomicBool,
    /// A replacement has been asked for.
    pub recycle_asked: AtomicBool,
}

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "its one caller makes these")]
    pub fn new(
        options: Options,
        listeners: Vec<Listener>,
        sets: Sets,
        crew: Crew,
        vitals: Arc<Vitals>,
        wake: RawFd,
        link: Arc<LinkInner>,
        stacks: Stacks,
        hand_off: HandOff,
        main: Chime,
    ) -> Self {
        Shared {
            options,
            listeners,
            sets,
            table: Table::default(),
            hold: Hold::default(),
            gate: Gate::default(),
            crew,
            vitals,
            wake,
            link,
            stacks,
            hand_off,
            retiring: AtomicBool::new(false),
            condemned: AtomicBool::new(false),
            forked: AtomicBool::new(false),
            expects_notify: AtomicBool::new(false),
            alive: AtomicU64::new(now()),
            python_access: Arc::default(),
            bodies: AtomicUsize::new(0),
            overdue: Mutex::default(),
            watch: Watch::default(),
            main,
            garbage: Mutex::default(),
            has_garbage: AtomicBool::new(false),
        }
    }

    /// Whether the worker has to leave now.
    pub fn quits(&self) -> bool {
        self.vitals.quit.load(Ordering::Relaxed)
    }

    /// The worker is to finish and leave.
    pub fn retire(&self) {
        if !self.retiring.swap(true, Ordering::Relaxed) {
            self.sets.nudge();
        }
    }

    /// Whether it was told to.
    pub fn retires(&self) -> bool {
        self.retiring.load(Ordering::Relaxed)
    }

    /// Something moved, wherever it was.
    pub fn sign_of_life(&self) {
        let now = now();
        self.alive.store(now, Ordering::Relaxed);
        for seat in &self.crew.seats {
            seat.progress(now);
        }
    }

    /// What the worker is doing, for the scoreboard.
    pub fn set_waiting(&self, waiting: bool) {
        self.vitals.slot.set_state(match waiting {
            _ if self.retires() => State::Retiring,
            true => State::Idle,
            false => State::Busy,
        });
    }

    /// Takes the connections' events that are there.
    pub fn take_events(&self) {
        let take = || {
            self.sets.events(|token, happened| {
                self.table.event(token, happened);
            })
        };
        // Bounded, since what is not taken is there again.
        for _ in 0..TAKEN_AT_ONCE {
            if !take() {
                break;
            }
        }
    }

    /// Counts what a connection keeps of a body, as of now.
    pub fn charge(&self, conn: &mut Conn) {
        if conn.body.len() != conn.charged {
            self.bodies.fetch_add(conn.body.len(), Ordering::Relaxed);
            self.bodies.fetch_sub(conn.charged, Ordering::Relaxed);
            conn.charged = conn.body.len();
        }
    }

    /// Closes a connection.
    pub fn close(&self, mut conn: Box<Conn>) {
        let forked = self.forked.load(Ordering::Relaxed);
        if let Some(token) = conn.token {
            // Somebody else has the socket: it would stay in the set.
            if forked || conn.taken {
                self.sets.remove(conn.raw_fd());
            }
            self.table.forget(token);
        }
        if forked {
            conn.shut();
        }
        self.closed(&mut conn);
    }

    /// Forgets a connection of which somebody else has a descriptor: the app, or another worker.
    pub fn let_go(&self, mut conn: Box<Conn>) {
        if let Some(token) = conn.token {
            self.sets.remove(conn.raw_fd());
            self.table.forget(token);
        }
        self.closed(&mut conn);
    }

    fn closed(&self, conn: &mut Conn) {
        conn.body = Vec::new();
        self.charge(conn);
        let open = self.table.closed();
        self.vitals.slot.count_connection(0, open as u64);
        self.discard(conn.take_objects());
        if self.options.threaded && open + 1 == self.options.worker_connections {
            // The leader may sleep, and listen to nothing.
            self.sets.nudge();
        }
    }

    /// Takes no more connections when there are as many as there may be; it is for the leader to go on when there are not.
    pub fn pause_if_full(&self) -> bool {
        let full = || self.table.open() >= self.options.worker_connections;
        if !full() {
            return false;
        }
        self.sets.stop_listening(&self.listeners);
        if self.options.threaded && !full() {
            // One was closed meanwhile; who did that saw everybody listen.
            self.sets.nudge();
        }
        true
    }

    /// Keeps Python objects until somebody is attached.
    pub fn discard(&self, garbage: Garbage) {
        if !garbage.is_empty() {
            let big = garbage.is_big();
            let mut kept = self.garbage.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(garbage);
            let many = kept.len().is_multiple_of(GARBAGE_LIMIT);
            drop(kept);
            self.has_garbage.store(true, Ordering::Release);
            if self.options.threaded && (big || many) {
                // The main thread drops it, which looks once a second unasked.
                self.main.ring();
            }
        }
    }

    /// Drops what was kept.
    pub fn drop_garbage(&self) {
        if self.has_garbage.load(Ordering::Relaxed) && self.has_garbage.swap(false, Ordering::Acquire) {
            let garbage = std::mem::take(&mut *self.garbage.lock().unwrap_or_else(PoisonError::into_inner));
            Python::attach(|_| drop(garbage));
        }
    }
}
