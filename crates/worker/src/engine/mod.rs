//! HTTP behind one pollable descriptor.
//!
//! Two epoll sets: the connections' own, edge-triggered and never re-armed, and the one a waiting thread sleeps on, which
//! holds the shared listeners (EPOLLEXCLUSIVE), the signals' wake-up pipe, the link to the arbiter and, nested in it, the
//! connections' set. Event loops wait on the connections' set alone ([`Engine::fileno`]).

mod conn;
mod options;
mod poll;
mod sentinel;
mod serve;
mod table;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::MsgFlags;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rgunicorn_logs::Writer;
use rgunicorn_wire::WorkerSays;
use rgunicorn_wire::scoreboard::{Scoreboard, Slot, State};

pub use conn::{Conn, OUT_LIMIT, Read};
pub use sentinel::InFlight;

use crate::access_log::AccessLog;
use crate::link::Link;
use crate::wsgi::{Gateway, ListenerInfo, Pulse, Rules, ServerLines, Setup};
use options::{Listener, Options};
use poll::Sets;
use table::Table;

/// The engine of one worker process.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct Engine {
    shared: Arc<Shared>,
    /// Keeps the link's descriptor open for as long as the engine sends on it.
    _link: Py<Link>,
    scoreboard: OwnedFd,
    arbiter: Mutex<Option<OwnedFd>>,
}

/// What all threads of the engine share. No Python in it.
pub struct Shared {
    options: Options,
    listeners: Vec<Listener>,
    sets: Sets,
    table: Table,
    pulse: Pulse,
    wake: RawFd,
    link: RawFd,
    retire: AtomicBool,
    quit: AtomicBool,
    /// The app forked: a child may hold copies of the connections' sockets.
    forked: AtomicBool,
    /// This process is such a child.
    child: AtomicBool,
    requests: AtomicU64,
    access: Mutex<Option<Writer>>,
}

#[pymethods]
impl Engine {
    /// Made in the worker, after it has given up its privileges and before the app is loaded.
    ///
    /// `options`: see [`Options::read`]; `listeners`: descriptor and whether it is a unix socket; `scoreboard`, `slot`,
    /// `age`: this worker's place; `link`; `arbiter`: its pidfd; `wake`: reading end of the signals' wake-up pipe.
    #[new]
    #[pyo3(signature = (options, listeners, scoreboard, slot, age, link, arbiter, wake))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        options: &Bound<'_, PyDict>,
        listeners: Vec<(RawFd, bool)>,
        scoreboard: RawFd,
        slot: u32,
        age: u64,
        link: Py<Link>,
        arbiter: RawFd,
        wake: RawFd,
    ) -> PyResult<Self> {
        let options = Options::read(options)?;
        let scoreboard = crate::sys::own(scoreboard);
        let words = crate::sys::map_scoreboard(&scoreboard)?;
        let slot = Scoreboard::new(words, 1)
            .slot(slot)
            .ok_or_else(|| PyOSError::new_err(format!("the scoreboard has no slot {slot}")))?;
        slot.claim(age, std::process::id(), crate::sys::now());
        let pulse = Pulse {
            slot,
            progress: Arc::new(AtomicU64::new(crate::sys::now())),
            waits: Arc::new(AtomicBool::new(true)),
            in_flight: Arc::default(),
        };
        let listeners: Vec<Listener> = listeners.into_iter().map(|(fd, unix)| Listener { fd, unix }).collect();
        let link_fd = link.get().fileno();
        let sets = Sets::new(&listeners, link_fd, wake)?;
        Ok(Engine {
            shared: Arc::new(Shared {
                options,
                listeners,
                sets,
                table: Table::default(),
                pulse,
                wake,
                link: link_fd,
                retire: AtomicBool::new(false),
                quit: AtomicBool::new(false),
                forked: AtomicBool::new(false),
                child: AtomicBool::new(false),
                requests: AtomicU64::new(0),
                access: Mutex::new(None),
            }),
            _link: link,
            scoreboard,
            arbiter: Mutex::new(Some(crate::sys::own(arbiter))),
        })
    }

    /// Starts the sentinel.
    fn start(&self) -> PyResult<()> {
        let Some(arbiter) = self.arbiter.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let link = self.shared.link;
        let say = move |message: &WorkerSays| {
            let bytes = rgunicorn_wire::encode(message);
            let _ = nix::sys::socket::send(link, &bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        };
        sentinel::start(sentinel::Sentinel {
            slot: shared.pulse.slot,
            say: Box::new(say),
            arbiter,
            timeout: shared.options.timeout,
            in_flight: Arc::clone(&shared.pulse.in_flight),
            waits: Arc::clone(&shared.pulse.waits),
            progress: Arc::clone(&shared.pulse.progress),
        })?;
        Ok(())
    }

    /// Serves with this one thread until the worker retires or is told to quit (the sync worker).
    ///
    /// `templates`: an environ for each listener; `access`: descriptor, format, and `gunicorn.access`'s handlers and
    /// filters as they are meant to be, or None; `before`, `after`: the config has request hooks of its own.
    #[pyo3(signature = (worker, app, templates, access, before, after))]
    fn serve(
        &self,
        py: Python<'_>,
        worker: Py<PyAny>,
        app: Py<PyAny>,
        templates: Vec<Py<PyDict>>,
        access: Option<(RawFd, String)>,
        before: bool,
        after: bool,
    ) -> PyResult<()> {
        let shared = &self.shared;
        let access = match access {
            Some((fd, format)) => {
                let writer = Writer::new(crate::sys::borrow(fd).try_clone_to_owned()?);
                *shared.access.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer.clone());
                AccessLog::compile(&format, writer)
            }
            None => None,
        };
        let gateway = Gateway::new(
            py,
            Setup {
                app,
                worker: worker.clone_ref(py),
                templates,
                listeners: shared.listeners.iter().map(|listener| ListenerInfo { unix: listener.unix }).collect(),
                rules: Rules { secure: shared.options.secure.clone(), script_name: shared.options.script_name.clone() },
                sendfile: shared.options.sendfile,
                access,
                before,
                after,
                lines: Arc::new(ServerLines::new(shared.options.server.as_bytes())),
                pulse: shared.pulse.clone(),
            },
        )?;
        let shared = Arc::clone(&self.shared);
        py.detach(move || serve::Serving::new(shared, gateway, worker).run())
    }

    /// Whether `access` in [`Engine::serve`] can be such a format.
    #[staticmethod]
    fn formats_access_line(format: &str) -> PyResult<bool> {
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
        Ok(AccessLog::compile(format, Writer::new(null.into())).is_some())
    }

    /// Finish what is being served and leave.
    fn retire(&self) {
        self.shared.retire.store(true, Ordering::Relaxed);
    }

    /// Leave now.
    fn quit(&self) {
        self.shared.retire.store(true, Ordering::Relaxed);
        self.shared.quit.store(true, Ordering::Relaxed);
    }

    /// Whether it may go on serving.
    #[getter]
    fn alive(&self) -> bool {
        !self.shared.retire.load(Ordering::Relaxed)
    }

    /// Requests begun.
    #[getter]
    fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
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

    /// Writes out what is left of the access log, for at most so many seconds.
    fn flush(&self, py: Python<'_>, seconds: f64) -> bool {
        let writer = self.shared.access.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        py.detach(|| writer.is_none_or(|writer| writer.flush(limit)))
    }

    /// Before the app forks: a child may now hold copies of the connections.
    fn before_fork(&self) {
        self.shared.forked.store(true, Ordering::Relaxed);
    }

    /// In a child that the app forked: closes what belongs to the worker, so that no client waits for the child's end,
    /// and makes sure that nothing of the worker's is written or served there.
    fn after_fork_in_child(&self) {
        let shared = &self.shared;
        if shared.child.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Ok(access) = shared.access.try_lock()
            && let Some(writer) = &*access
        {
            writer.disable();
        }
        let mut descriptors = shared.table.descriptors();
        descriptors.extend(shared.listeners.iter().map(|listener| listener.fd));
        descriptors.extend([shared.wake, shared.link, self.scoreboard.as_raw_fd()]);
        descriptors.extend(shared.sets.descriptors());
        for fd in descriptors {
            crate::sys::close_inherited(fd);
        }
        if let Some(fd) = shared.pulse.in_flight.take_in_child() {
            crate::sys::close_inherited(fd);
        }
    }
}

impl Shared {
    /// What the worker is doing, for the scoreboard and the sentinel.
    fn set_waiting(&self, waiting: bool) {
        self.pulse.waits.store(waiting, Ordering::Relaxed);
        let slot: &Slot<'static> = &self.pulse.slot;
        if self.retire.load(Ordering::Relaxed) {
            slot.set_state(State::Retiring);
        } else {
            slot.set_state(if waiting { State::Idle } else { State::Busy });
        }
    }
}
