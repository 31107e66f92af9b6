//! HTTP behind one pollable descriptor.
//!
//! Two epoll sets: the connections' own, edge-triggered and never re-armed, and the one a waiting thread sleeps on, which
//! holds the shared listeners (EPOLLEXCLUSIVE), the signals' wake-up pipe, the link to the arbiter and, nested in it, the
//! connections' set. Event loops wait on the connections' set alone ([`Engine::fileno`]).

mod accept;
mod conn;
mod options;
mod poll;
mod sentinel;
mod serve;
mod table;
mod window;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use rgunicorn_wire::scoreboard::{Scoreboard, State};

pub use conn::{Conn, OUT_LIMIT, Read};
pub use sentinel::InFlight;

use crate::access_log::AccessLog;
use crate::link::{Link, LinkInner};
use crate::log_writer::LogWriter;
use crate::wsgi::{AccessWatch, Gateway, ListenerInfo, Pulse, Rules, ServerLines, Setup};
use options::{Listener, Options};
use poll::Sets;
use table::Table;

/// The engine of one worker process.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct Engine {
    shared: Arc<Shared>,
    /// What the sentinel gets when it starts.
    watch: Mutex<Option<Watch>>,
    /// Descriptors that an app's child must not keep, besides those that change.
    private: Vec<RawFd>,
    _scoreboard: OwnedFd,
}

struct Watch {
    arbiter: OwnedFd,
    stacks: OwnedFd,
    stacks_signal: i32,
}

/// What all threads of the engine share. No Python in it.
pub struct Shared {
    options: Options,
    listeners: Vec<Listener>,
    sets: Sets,
    table: Table,
    pulse: Pulse,
    wake: RawFd,
    link: Arc<LinkInner>,
    retire: AtomicBool,
    /// The arbiter was told that this worker is silent, and will abort it: no other request must be in hand then.
    condemned: Arc<AtomicBool>,
    /// The app forked: a child may hold copies of the connections' sockets.
    forked: AtomicBool,
    /// Bytes of requests' bodies that are kept until all of them is there.
    bodies: AtomicUsize,
    /// The socket of the request in hand, or -1.
    current: AtomicI32,
    /// The serving thread, for the sentinel.
    thread: Arc<AtomicI32>,
}

#[pymethods]
impl Engine {
    /// Made in the worker, after it has given up its privileges and before the app is loaded.
    ///
    /// `options`: see [`Options::read`]; `listeners`: descriptor and whether it is a unix socket; `scoreboard`, `slot`,
    /// `age`: this worker's place; `link`; `arbiter`: its pidfd; `wake`: reading end of the signals' wake-up pipe;
    /// `stacks`, `stacks_signal`: where faulthandler writes, and what makes it; `hand_off`: where connections are received
    /// from other workers, and sent to them. Takes over scoreboard, arbiter and stacks.
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
        let words = crate::sys::map_scoreboard(&scoreboard)?;
        let slot = Scoreboard::new(words, options.threads)
            .slot(slot)
            .ok_or_else(|| PyOSError::new_err(format!("the scoreboard has no slot {slot}")))?;
        slot.claim(age, std::process::id(), crate::sys::now());
        let pulse = Pulse {
            slot,
            progress: Arc::new(AtomicU64::new(crate::sys::now())),
            waits: Arc::new(AtomicBool::new(true)),
            in_flight: Arc::default(),
            quit: Arc::default(),
            child: Arc::default(),
        };
        let listeners: Vec<Listener> = listeners.into_iter().map(|(fd, unix)| Listener { fd, unix }).collect();
        let link = link.get().share();
        let sets = Sets::new(link.raw_fd(), wake, listeners.len())?;
        let mut private = vec![scoreboard.as_raw_fd(), link.raw_fd(), wake, arbiter, stacks, hand_off.0, hand_off.1];
        private.extend(listeners.iter().map(|listener| listener.fd));
        private.extend(sets.descriptors());
        Ok(Engine {
            shared: Arc::new(Shared {
                options,
                listeners,
                sets,
                table: Table::default(),
                pulse,
                wake,
                link,
                retire: AtomicBool::new(false),
                condemned: Arc::default(),
                forked: AtomicBool::new(false),
                bodies: AtomicUsize::new(0),
                current: AtomicI32::new(-1),
                thread: Arc::new(AtomicI32::new(crate::sys::thread_id())),
            }),
            watch: Mutex::new(Some(Watch {
                arbiter: crate::sys::own(arbiter),
                stacks: crate::sys::own(stacks),
                stacks_signal,
            })),
            private,
            _scoreboard: scoreboard,
        })
    }

    /// Starts the sentinel.
    fn start(&self) -> PyResult<()> {
        let Some(watch) = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let shared = &self.shared;
        sentinel::start(sentinel::Sentinel {
            slot: shared.pulse.slot,
            link: Arc::clone(&shared.link),
            arbiter: watch.arbiter,
            timeout: shared.options.timeout,
            in_flight: Arc::clone(&shared.pulse.in_flight),
            waits: Arc::clone(&shared.pulse.waits),
            progress: Arc::clone(&shared.pulse.progress),
            thread: Arc::clone(&shared.thread),
            condemned: Arc::clone(&shared.condemned),
            stacks: watch.stacks,
            stacks_signal: watch.stacks_signal,
        })?;
        Ok(())
    }

    /// Serves with this one thread until the worker retires or is told to quit (the sync worker).
    ///
    /// `bridge`: the Python side of a worker; `templates`: an environ for each listener; `lines`: the head lines that are
    /// the server's (`Server: …`); `access`: where access lines go and their format, if they can be made without Python;
    /// `watch`: handlers and filters of `gunicorn.access`, which must stay as they are for that; `python_access`: lines are
    /// Python's from the start; `before`, `after`: the config has request hooks of its own.
    #[allow(clippy::too_many_arguments)]
    fn serve(
        &self,
        py: Python<'_>,
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
        let access = access.and_then(|(writer, format)| AccessLog::compile(&format, writer.get().writer()));
        let gateway = Gateway::new(
            py,
            Setup {
                app,
                bridge: bridge.clone_ref(py),
                templates,
                listeners: shared.listeners.iter().map(|listener| ListenerInfo { unix: listener.unix }).collect(),
                rules: Rules { secure: shared.options.secure.clone(), script_name: shared.options.script_name.clone() },
                sendfile: shared.options.sendfile,
                python_access: python_access || (watch.is_some() && access.is_none()),
                access,
                watch: watch.map(|(handlers, filters)| AccessWatch::new(py, handlers, filters)),
                before,
                after,
                lines: Arc::new(ServerLines::new(lines)),
                pulse: shared.pulse.clone(),
            },
        )?;
        let wakeup = (bridge.getattr(py, "wakeup")?.extract(py)?, bridge.getattr(py, "wakeup_fd")?.extract(py)?);
        shared.thread.store(crate::sys::thread_id(), Ordering::Relaxed);
        let shared = Arc::clone(shared);
        py.detach(move || serve::Serving::new(shared, gateway, bridge, wakeup).run())
    }

    /// Whether a line of this format can be made without Python.
    #[staticmethod]
    fn formats_access_line(format: &str) -> bool {
        AccessLog::formats(format)
    }

    /// The worker class has a loop of its own: silence is what it does not break by `notify()`.
    fn expect_notify(&self) {
        self.shared.pulse.beat();
        self.shared.thread.store(crate::sys::thread_id(), Ordering::Relaxed);
        self.shared.set_waiting(false);
    }

    /// Finish what is being served and leave.
    fn retire(&self) {
        self.shared.retire.store(true, Ordering::Relaxed);
    }

    /// Leave now.
    fn quit(&self) {
        self.shared.retire.store(true, Ordering::Relaxed);
        self.shared.pulse.quit.store(true, Ordering::Relaxed);
    }

    /// Requests begun.
    #[getter]
    fn requests(&self) -> u64 {
        self.shared.pulse.slot.requests()
    }

    /// Something moved: the request in hand is not silent (`worker.notify()`).
    fn notify(&self) {
        self.shared.pulse.beat();
    }

    /// Monotonic seconds of the last sign of life, for `worker.tmp.last_update()`.
    fn last_update(&self) -> f64 {
        self.shared.pulse.progress.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// The connections' poll set: readable when one of them has an event.
    fn fileno(&self) -> RawFd {
        self.shared.sets.connections_fd()
    }

    /// Before the app forks: a child may now hold copies of the connections.
    fn before_fork(&self) {
        self.shared.forked.store(true, Ordering::Relaxed);
    }

    /// In a child that the app forked: lets go of what belongs to the worker, so that no client waits for the child's end,
    /// and makes sure that nothing of the worker's is served there.
    fn after_fork_in_child(&self) {
        let shared = &self.shared;
        if shared.pulse.child.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut descriptors = shared.table.descriptors();
        descriptors.extend(&self.private);
        let current = shared.current.load(Ordering::Relaxed);
        if current >= 0 {
            descriptors.push(current);
        }
        crate::sys::disarm_inherited(&descriptors);
    }
}

impl Shared {
    /// Whether the worker has to leave now.
    fn quits(&self) -> bool {
        self.pulse.quit.load(Ordering::Relaxed)
    }

    /// What the worker is doing, for the scoreboard and the sentinel.
    fn set_waiting(&self, waiting: bool) {
        self.pulse.waits.store(waiting, Ordering::Relaxed);
        let slot = &self.pulse.slot;
        if self.retire.load(Ordering::Relaxed) {
            slot.set_state(State::Retiring);
        } else {
            slot.set_state(if waiting { State::Idle } else { State::Busy });
        }
    }
}
