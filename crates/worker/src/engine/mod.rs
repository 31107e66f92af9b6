//! HTTP behind one poll set.
//!
//! The set holds connections, edge-triggered and never re-armed, the shared listeners and the hand-off (EPOLLEXCLUSIVE), the
//! signals' wake-up pipe and the link to the arbiter.
//!
//! A connection is in one thread's hands, in the table, in the hold, or on its way to another worker. `crew` says who waits,
//! `serve` is a thread's loop, `drive` what it does for a connection, `sentinel` what happens when all are stuck.

mod accept;
mod bell;
mod conn;
mod crew;
mod drive;
mod gate;
mod habits;
mod hand_off;
mod hold;
mod leave;
mod options;
mod poll;
mod seat;
mod sentinel;
mod serve;
mod shared;
mod silence;
mod stacks;
mod supervise;
mod table;
mod window;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use rgunicorn_wire::scoreboard::{Scoreboard, State};

pub use conn::{Conn, Read};
pub use hold::MAX_HELD;
pub use seat::Seat;
pub use shared::Vitals;

use crate::access_log::AccessLog;
use crate::link::Link;
use crate::log_writer::LogWriter;
use crate::wsgi::{AccessWatch, Gateway, ListenerInfo, Pulse, Rules, ServerLines, Setup};
use bell::{Bell, Chime};
use crew::Crew;
use options::{Listener, Options};
use poll::{Fds, Sets};
use shared::Shared;
use stacks::Stacks;

/// The engine of one worker process.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct Engine {
    shared: Arc<Shared>,
    /// What the sentinel gets when it starts.
    arbiter: Mutex<Option<OwnedFd>>,
    /// Descriptors that an app's child must not keep, besides those that change.
    private: Vec<RawFd>,
    _scoreboard: OwnedFd,
}

#[pymethods]
impl Engine {
    /// Made in the worker, after it has given up its privileges and before the app is loaded.
    ///
    /// `options`: see [`Options::read`]; `listeners`: descriptor and whether it is a unix socket; `scoreboard`, `slot`,
    /// `age`: this worker's place; `link`; `arbiter`: its pidfd; `wake`: reading end of the signals' wake-up pipe;
    /// `stacks`, `stacks_signal`: where faulthandler writes, and what makes it; `hand_off`: where connections are received
    /// from other workers, and sent to them. Takes over scoreboard, arbiter, stacks and hand-off.
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        options: &Bound<'_, PyDict>,
        listeners: Vec<(RawFd, bool)>,
        scoreboard: RawFd,
        slot: u32,
        age: u64,
        link: &Bound<'_, Link>,
        arbiter: RawFd,
        wake: RawFd,
        stacks: RawFd,
        stacks_signal: i32,
        hand_off: (RawFd, RawFd),
    ) -> PyResult<Self> {
        let options = Options::read(options)?;
        let scoreboard = crate::sys::own(scoreboard);
        let board = Scoreboard::new(crate::sys::map_scoreboard(&scoreboard)?, options.threads);
        let place = board.slot(slot).ok_or_else(|| PyOSError::new_err(format!("the scoreboard has no slot {slot}")))?;
        place.claim(age, std::process::id(), crate::sys::now());
        let listeners: Vec<Listener> =
            listeners.into_iter().map(|(fd, unix)| Listener { fd, unix, inode: crate::sys::inode(fd) }).collect();
        let link = link.get().share();
        let (receive, send) = (crate::sys::own(hand_off.0), crate::sys::own(hand_off.1));
        let fds = Fds { link: link.raw_fd(), wake, receive: receive.as_raw_fd() };
        let sets = Sets::new(&fds, listeners.len(), options.threaded)?;
        let (bell, main) = (Bell::new()?, Chime::new()?);
        let mut private = vec![scoreboard.as_raw_fd(), link.raw_fd(), wake, arbiter, stacks];
        private.extend([receive.as_raw_fd(), send.as_raw_fd(), bell.raw_fd(), main.fd().as_raw_fd()]);
        private.extend(listeners.iter().map(|listener| listener.fd));
        private.extend(sets.descriptors());
        let vitals = Vitals::new(place, bell, &options);
        let crew = Crew::new(options.serving());
        crew.seats[0].take();
        let stacks = Stacks::new(crate::sys::own(stacks), stacks_signal);
        let hand_off = hand_off::HandOff::new(receive, send, board, slot);
        Ok(Engine {
            shared: Arc::new(Shared::new(options, listeners, sets, crew, vitals, wake, link, stacks, hand_off, main)),
            arbiter: Mutex::new(Some(crate::sys::own(arbiter))),
            private,
            _scoreboard: scoreboard,
        })
    }

    /// Starts the sentinel.
    fn start(&self) -> PyResult<()> {
        let Some(arbiter) = self.arbiter.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        sentinel::start(Arc::clone(&self.shared), arbiter)?;
        Ok(())
    }

    /// Serves with the calling thread until the worker retires or is told to quit: alone (the sync worker), or as one of
    /// several, which has this number.
    ///
    /// `bridge`: the Python side of a worker; `templates`: an environ for each listener; `lines`: the head lines that are
    /// the server's (`Server: …`); `access`: where access lines go and their format, if they can be made without Python;
    /// `watch`: handlers and filters of `gunicorn.access`, which must stay as they are for that; `python_access`: lines are
    /// Python's from the start; `before`, `after`: the config has request hooks of its own.
    #[allow(clippy::too_many_arguments)]
    fn serve(
        &self,
        py: Python<'_>,
        number: usize,
        bridge: Py<PyAny>,
        app: Py<PyAny>,
        templates: Vec<Py<PyDict>>,
        lines: Vec<u8>,
        access: Option<(Py<LogWriter>, String)>,
        watch: Option<(Py<PyList>, Py<PyList>)>,
        python_access: bool,
        before: bool,
        after: bool,
    ) -> PyResult<()> {
        let shared = &self.shared;
        let seat = shared.crew.seats.get(number).ok_or_else(|| PyOSError::new_err("there is no such thread"))?;
        let access = access.and_then(|(writer, format)| AccessLog::compile(&format, writer.get().writer()));
        shared.python_access.fetch_or(python_access || (watch.is_some() && access.is_none()), Ordering::Relaxed);
        let gateway = Gateway::new(
            py,
            Setup {
                app,
                bridge: bridge.clone_ref(py),
                templates,
                listeners: shared.listeners.iter().map(|listener| ListenerInfo { unix: listener.unix }).collect(),
                rules: Rules { secure: shared.options.secure.clone(), script_name: shared.options.script_name.clone() },
                sendfile: shared.options.sendfile,
                python_access: Arc::clone(&shared.python_access),
                access,
                watch: watch.map(|(handlers, filters)| AccessWatch::new(py, handlers, filters)),
                before,
                after,
                lines: Arc::new(ServerLines::new(lines)),
                pulse: Pulse { seat: Arc::clone(seat), vitals: Arc::clone(&shared.vitals) },
            },
        )?;
        let wakeup = (bridge.getattr(py, "wakeup")?.extract(py)?, bridge.getattr(py, "wakeup_fd")?.extract(py)?);
        seat.interrupt.set_ident(py.import("_thread")?.call_method0("get_ident")?.extract()?);
        seat.take();
        let (shared, seat) = (Arc::clone(shared), Arc::clone(seat));
        py.detach(move || serve::Serving::new(shared, seat, gateway, bridge, wakeup).run())
    }

    /// With several threads: what the main thread does meanwhile, which serves no requests. It runs signal handlers, says by
    /// taking the GIL that it can be had, and interrupts requests that take too long.
    fn supervise(&self, py: Python<'_>, bridge: Py<PyAny>) -> PyResult<()> {
        supervise::supervise(py, &self.shared, bridge.bind(py))
    }

    /// Whether a line of this format can be made without Python.
    #[staticmethod]
    fn formats_access_line(format: &str) -> bool {
        AccessLog::formats(format)
    }

    /// The worker class has a loop of its own: silence is what it does not break by `notify()`.
    fn expect_notify(&self) {
        let shared = &self.shared;
        shared.sign_of_life();
        shared.crew.seats[0].take();
        shared.expects_notify.store(true, Ordering::Relaxed);
        shared.vitals.slot.set_state(State::Busy);
        shared.vitals.bell.ring();
    }

    /// Finish what is being served and leave.
    fn retire(&self) {
        self.shared.retire();
    }

    /// Leave now.
    fn quit(&self) {
        self.shared.vitals.quit.store(true, Ordering::Relaxed);
        self.shared.retire();
    }

    /// Requests begun.
    #[getter]
    fn requests(&self) -> u64 {
        self.shared.vitals.served.load(Ordering::Relaxed)
    }

    /// Something moved: the request in hand is not silent (`worker.notify()`).
    fn notify(&self) {
        self.shared.sign_of_life();
    }

    /// Monotonic seconds of the last sign of life, for `worker.tmp.last_update()`.
    fn last_update(&self) -> f64 {
        let seats = self.shared.crew.seats.iter().map(|seat| seat.last_progress());
        seats.chain([self.shared.alive.load(Ordering::Relaxed)]).max().unwrap_or(0) as f64 / 1e9
    }

    /// Before the app forks: a child may now hold copies of the connections, and of locks. The sentinel stands back.
    fn before_fork(&self) {
        let shared = &self.shared;
        if shared.vitals.child.load(Ordering::Relaxed) {
            return;
        }
        shared.forked.store(true, Ordering::Relaxed);
        shared.gate.close(crate::sys::now());
        shared.send_all_held();
        shared.sets.nudge();
    }

    /// The fork is over, in the worker.
    fn after_fork_in_parent(&self) {
        if !self.shared.vitals.child.load(Ordering::Relaxed) {
            self.shared.gate.open();
        }
    }

    /// In a child that the app forked: lets go of what belongs to the worker, so that no client waits for the child's end,
    /// and makes sure that nothing of the worker's is served there.
    fn after_fork_in_child(&self) {
        let shared = &self.shared;
        if shared.vitals.child.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut descriptors = shared.table.descriptors();
        descriptors.extend(shared.hold.descriptors());
        descriptors.extend(&self.private);
        descriptors.extend(shared.crew.seats.iter().map(|seat| seat.socket()).filter(|&socket| socket >= 0));
        crate::sys::disarm_inherited(&descriptors);
    }
}
