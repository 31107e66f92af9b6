//! The gateway: one request from its parsed head to what becomes of its connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyOSError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::environ::{Keys, Refused, RequestParts};
use super::exchange::{Exchange, Stage};
use super::hooks::{AccessWatch, Snapshot};
use super::lines::ServerLines;
use super::objects::{EarlyHints, LazySocket, StartResponse};
use super::pulse::Pulse;
use super::{After, FileWrapper, Input, ListenerInfo, PeerObjects, Request, Rules, ffi};
use crate::access_log::{AccessLog, Changed, EnvKey, Record};
use crate::engine::{Conn, MAX_HELD};
use crate::sys::now;

/// How many held responses' memory is kept for the next ones.
const MAX_BUFFERS: usize = 64;
/// For clients whose request has waited too long.
const RETRY_AFTER: &[u8] = b"Retry-After: 1\r\n";

/// The gateway of one serving thread.
pub struct Gateway {
    pub(super) app: Py<PyAny>,
    pub(super) bridge: Py<PyAny>,
    pub(super) templates: Vec<Py<PyDict>>,
    pub(super) listeners: Vec<ListenerInfo>,
    pub(super) rules: Rules,
    pub(super) keys: Keys,
    pub(super) exchange: Arc<Exchange>,
    pub(super) start_response: Py<StartResponse>,
    pub(super) early_hints: Py<EarlyHints>,
    pub(super) no_input: Py<Input>,
    pub(super) sendfile: bool,
    pub(super) access: Option<AccessLog>,
    pub(super) watch: Option<AccessWatch>,
    /// The access log is Python's to write: a logger class, or somebody's filter or handler.
    pub(super) python_access: Arc<AtomicBool>,
    /// The config has a `pre_request` of its own.
    pub(super) before: bool,
    /// The config has a `post_request` of its own.
    pub(super) after: bool,
    /// How long the last request took (ns).
    pub took: u64,
    /// When it ended (CLOCK_MONOTONIC ns).
    pub ended: u64,
    /// The last client's address, and its text.
    last_address: Option<(Option<IpAddr>, Py<PyString>)>,
    /// Memory for responses that are held.
    buffers: Vec<Vec<u8>>,
    pub(super) out: Vec<u8>,
    /// What of the environ goes into access lines, with what was there before the app was called.
    logged: Vec<(EnvKey, Py<PyString>, Option<Py<PyAny>>)>,
    changed: Changed,
}

/// What a gateway is made from.
pub struct Setup {
    /// The application.
    pub app: Py<PyAny>,
    /// The Python side of the worker.
    pub bridge: Py<PyAny>,
    /// An environ to copy, for each listener.
    pub templates: Vec<Py<PyDict>>,
    /// What kind each listener is.
    pub listeners: Vec<ListenerInfo>,
    /// Scheme and script name.
    pub rules: Rules,
    /// sendfile(2) may be used.
    pub sendfile: bool,
    /// The access log, when its line can be made here.
    pub access: Option<AccessLog>,
    /// What must stay as it is for that.
    pub watch: Option<AccessWatch>,
    /// See [`Gateway`].
    pub python_access: Arc<AtomicBool>,
    /// See [`Gateway`].
    pub before: bool,
    /// See [`Gateway`].
    pub after: bool,
    /// `Server` header.
    pub lines: Arc<ServerLines>,
    /// Heart and sentinel.
    pub pulse: Pulse,
}

/// How the call of the app ended, as far as it has to be said after the GIL is let go.
pub enum Called {
    /// Everything is sent or kept.
    Done,
    /// `out` holds the whole response.
    Whole,
    /// It raised, or broke a rule; the error is logged.
    Failed,
    /// It ended the response on purpose, without one (StopIteration).
    Quiet,
}

impl Gateway {
    /// For one thread.
    pub fn new(py: Python<'_>, setup: Setup) -> PyResult<Self> {
        let exchange = Arc::new(Exchange::new(setup.pulse, setup.lines));
        let start_response = Py::new(py, StartResponse::new(py, &exchange)?)?;
        let early_hints = Py::new(py, EarlyHints::new(&exchange))?;
        let started = now();
        let logged = setup.access.as_ref().map(AccessLog::wants).unwrap_or_default();
        let intern = |key: EnvKey| (key, PyString::intern(py, EnvKey::NAMES[key as usize]).unbind(), None);
        Ok(Gateway {
            logged: logged.into_iter().map(intern).collect(),
            changed: Changed::default(),
            app: setup.app,
            bridge: setup.bridge,
            templates: setup.templates,
            listeners: setup.listeners,
            rules: setup.rules,
            keys: Keys::new(py),
            exchange,
            start_response,
            early_hints,
            no_input: Py::new(py, Input::new(Vec::new(), None))?,
            sendfile: setup.sendfile,
            access: setup.access,
            watch: setup.watch,
            python_access: setup.python_access,
            before: setup.before,
            after: setup.after,
            took: 0,
            ended: started,
            last_address: None,
            buffers: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Serves one request. Called detached.
    pub fn run(&mut self, mut conn: Box<Conn>, request: &mut Request<'_>) -> (Box<Conn>, After) {
        let started = now();
        // The exchange in hand at the end may be another one: see `renew`. They share their pulse.
        let begun = Arc::clone(&self.exchange);
        let pulse = &begun.pulse;
        let head = conn.decoder.head();
        let (target, method) = (head.text(head.target, request.bytes), head.text(head.method, request.bytes));
        let in_hand = pulse.begin(started, conn.raw_fd(), method, target);
        self.changed = Changed::default();
        let (version, is_head) = (head.version, method == b"HEAD");
        let keep_alive = request.keep_alive && head.keep_alive;
        let turn = self.exchange.begin(version, is_head, keep_alive, !request.complete);
        conn.served += 1;
        let mut called = Called::Failed;
        let mut slot = Some(conn);
        let interrupt = &pulse.seat.interrupt;
        Python::attach(|py| {
            interrupt.enter(pulse.seat.in_flight.turn());
            called = self.attached(py, &mut slot, request, turn, started);
            interrupt.leave(py);
        });
        let conn = slot.take().or_else(|| self.exchange.lock().conn.take());
        let Some(mut conn) = conn else {
            // Not reachable: the connection is in one of the two.
            crate::sys::exit_now(70);
        };
        let after = self.conclude(&mut conn, called, request.hold);
        let ended = in_hand.end();
        self.ended = ended;
        self.took = ended - started;
        if let (Some(access), false) = (&self.access, self.is_python_access()) {
            self.log_access(access, &conn, request.bytes, ended - started);
        }
        (conn, after)
    }

    /// Takes back the memory of a response that was held.
    pub fn keep_buffer(&mut self, memory: Vec<u8>) {
        if memory.capacity() > 0 && memory.capacity() <= 2 * MAX_HELD && self.buffers.len() < MAX_BUFFERS {
            self.buffers.push(memory);
        }
    }

    /// Whether access lines are Python's to write.
    pub(super) fn is_python_access(&self) -> bool {
        self.python_access.load(Ordering::Relaxed)
    }

    /// The part that needs the GIL.
    fn attached(
        &mut self,
        py: Python<'_>,
        slot: &mut Option<Box<Conn>>,
        request: &mut Request<'_>,
        turn: u64,
        started: u64,
    ) -> Called {
        if request.stale {
            return self.refuse(slot, 503, "Service Unavailable", "No worker had time for the request");
        }
        let (environ, hooked) = match self.prepare(py, slot, request, turn) {
            Ok(prepared) => prepared,
            Err(Refused::Scheme) => return self.refuse(slot, 400, "Bad Request", "Contradictory scheme headers"),
            Err(Refused::ScriptName) => {
                let message = "The request's path does not begin with SCRIPT_NAME";
                return self.refuse(slot, 500, "Internal Server Error", message);
            }
            Err(Refused::Python(error)) => {
                self.log_failure(py, slot, request, &error);
                return Called::Failed;
            }
        };
        self.note_environ(&environ);
        let result = ffi::call2(self.app.bind(py), environ.as_any(), self.start_response.bind(py).as_any());
        self.exchange.pulse.leave_if_child();
        let (body, sent) = match result {
            Ok(body) => {
                let sent = self.respond(py, &body);
                self.exchange.pulse.leave_if_child();
                (Some(body), sent)
            }
            Err(error) => (None, Err(error)),
        };
        let mut called = self.judge(py, slot, request, sent);
        if self.access.is_some() && self.watch.as_ref().is_some_and(|watch| !watch.unchanged(py)) {
            self.python_access.store(true, Ordering::Relaxed);
        }
        let response = if self.is_python_access() || self.after {
            if matches!(called, Called::Whole) {
                // The client need not wait for what hooks and loggers do.
                py.detach(|| self.send_whole());
                called = Called::Done;
            }
            self.finish_response(py, request, &environ, hooked, &called, started)
        } else {
            None
        };
        self.note_changes(&environ, self.before);
        if let Some(body) = &body {
            self.close(py, body);
        }
        if let (true, Some((hooked, response))) = (self.after, &response) {
            let told = self.bridge.bind(py).call_method1("after_request", (hooked, &environ, response));
            self.note(py, told);
        }
        drop((body, response));
        self.exchange.pulse.leave_if_child();
        self.renew(py, environ);
        self.drop_objects();
        if matches!(called, Called::Whole) && self.exchange.lock().dead {
            called = Called::Done;
        }
        called
    }

    /// Before the app is called. References are held, so that nothing new can be where something old was.
    fn note_environ(&mut self, environ: &Bound<'_, PyDict>) {
        if !self.is_python_access() {
            for (_, key, value) in &mut self.logged {
                *value = ffi::get(environ, key).map(Bound::unbind);
            }
        }
    }

    /// Afterwards: the access line shows what middleware has put in (a proxy's client, a rewritten path). `all`: a hook had
    /// the request before the app.
    fn note_changes(&mut self, environ: &Bound<'_, PyDict>, all: bool) {
        if self.is_python_access() {
            return;
        }
        let text =
            |value: Bound<'_, PyAny>| value.str().map_or_else(|_| "?".to_owned(), |s| s.to_string_lossy().into());
        for (key, name, before) in &mut self.logged {
            let now = ffi::get(environ, name);
            let before = before.take();
            let same = !all && before.as_ref().map(Py::as_ptr) == now.as_ref().map(Bound::as_ptr);
            self.changed[*key as usize] = (!same).then(|| now.map(text));
        }
    }

    /// Builds the environ and hands the connection to the exchange.
    fn prepare<'py>(
        &mut self,
        py: Python<'py>,
        slot: &mut Option<Box<Conn>>,
        request: &mut Request<'_>,
        turn: u64,
    ) -> Result<(Bound<'py, PyDict>, Option<Bound<'py, PyAny>>), Refused> {
        let Some(conn) = slot.as_mut() else { return Err(Refused::ScriptName) };
        if conn.objects.is_none() {
            let address = self.address(py, conn.client().map(|client| client.ip()));
            conn.objects = Some(PeerObjects::new(py, conn, address));
        }
        let (listener, serial) = (conn.listener, conn.serial);
        let input = if request.body.is_empty() && request.complete {
            self.no_input.bind(py).clone()
        } else {
            let stream = (!request.complete).then(|| (Arc::clone(&self.exchange), turn));
            Bound::new(py, Input::new(std::mem::take(&mut request.body), stream))?
        };
        let environ = self.templates[listener].bind(py).copy()?;
        let parts = RequestParts::of(conn, request.bytes);
        let mut hooked = None;
        if self.before {
            let secure = self.rules.scheme(&parts)?;
            let made = self.make_request(py, &Snapshot::of(conn, request.bytes), secure, &input)?;
            self.bridge.bind(py).call_method1("before_request", (&made, &environ, listener))?;
            hooked = Some(made);
        } else if let Some(objects) = &conn.objects {
            self.keys.fill(&environ, &parts, &self.rules, &self.listeners[listener], objects)?;
        }
        ffi::set(&environ, &self.keys.input, input.as_any())?;
        ffi::set(&environ, &self.keys.early_hints, self.early_hints.bind(py).as_any())?;
        if let Some(objects) = conn.objects.as_mut() {
            let socket = match objects.socket.take().filter(|socket| socket.get().is_of(&self.exchange)) {
                Some(socket) => socket,
                None => Py::new(py, LazySocket::new(&self.exchange, serial))?,
            };
            ffi::set(&environ, &self.keys.socket, socket.bind(py).as_any())?;
            objects.socket = Some(socket);
        }
        if let Some(conn) = slot.take() {
            self.exchange.give(conn);
        }
        Ok((environ, hooked))
    }

    /// `REMOTE_ADDR`. Behind a proxy it is the same for all.
    fn address(&mut self, py: Python<'_>, address: Option<IpAddr>) -> Py<PyString> {
        match &self.last_address {
            Some((last, text)) if *last == address => text.clone_ref(py),
            _ => {
                let text = address.map(|address| address.to_string()).unwrap_or_default();
                let text = PyString::new(py, &text).unbind();
                self.last_address = Some((address, text.clone_ref(py)));
                text
            }
        }
    }

    /// Logs what went wrong. Any exception of the app is this request's failure, never the server's.
    fn judge(&self, py: Python<'_>, slot: &Option<Box<Conn>>, request: &Request<'_>, sent: PyResult<Called>) -> Called {
        match sent {
            Ok(called) => called,
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => Called::Quiet,
            Err(error) => {
                self.log_failure(py, slot, request, &error);
                Called::Failed
            }
        }
    }

    fn log_failure(&self, py: Python<'_>, slot: &Option<Box<Conn>>, request: &Request<'_>, error: &PyErr) {
        if error.is_instance_of::<PyOSError>(py)
            && let Some(line) = self.exchange.lock().bad_body_line()
        {
            // The client's fault, not the app's: one line, as for any other invalid request.
            let told = self.bridge.bind(py).call_method1("warn", (line,));
            self.note(py, told);
            return;
        }
        let gone = self.exchange.lock().gone;
        let text = {
            let state = self.exchange.lock();
            let conn = slot.as_ref().or(state.conn.as_ref());
            conn.map(|conn| {
                let head = conn.decoder.head();
                let latin = |bytes: &[u8]| bytes.iter().map(|&b| b as char).collect::<String>();
                (latin(head.text(head.method, request.bytes)), latin(head.text(head.target, request.bytes)))
            })
        };
        let (method, target) = text.unwrap_or_default();
        let told =
            self.bridge.bind(py).call_method1("request_failed", (method, target, with_traceback(py, error), gone));
        self.note(py, told);
    }

    fn close(&self, py: Python<'_>, body: &Bound<'_, PyAny>) {
        if body.cast_exact::<PyList>().is_ok() || body.cast_exact::<PyTuple>().is_ok() {
            return;
        }
        let closed = match body.cast_exact::<FileWrapper>() {
            Ok(file) => file.get().close(py),
            Err(_) => match body.getattr_opt("close") {
                Ok(Some(close)) => close.call0().map(|_| ()),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = closed {
            let told = self.bridge.bind(py).call_method1("close_failed", (with_traceback(py, &error),));
            self.note(py, told);
        }
    }

    /// Whoever kept something of this request must not reach the next one through it.
    fn renew(&mut self, py: Python<'_>, environ: Bound<'_, PyDict>) {
        drop(environ);
        let kept = ffi::references(self.start_response.bind(py).as_any()) > 1
            || self.start_response.get().write_is_kept(py)
            || ffi::references(self.early_hints.bind(py).as_any()) > 1;
        if !kept {
            return;
        }
        let (pulse, lines) = (self.exchange.pulse.clone(), Arc::clone(&self.exchange.lines));
        let fresh = Arc::new(Exchange::new(pulse, lines));
        if let (Ok(start), Ok(early)) =
            (StartResponse::new(py, &fresh).and_then(|s| Py::new(py, s)), Py::new(py, EarlyHints::new(&fresh)))
        {
            // The response in hand is still the old exchange's: its state moves over, and the old one is over.
            std::mem::swap(&mut *fresh.lock(), &mut *self.exchange.lock());
            self.exchange = fresh;
            self.start_response = start;
            self.early_hints = early;
        }
    }

    /// A connection that will be closed needs its objects no more; later somebody would have to attach for them.
    fn drop_objects(&self) {
        let mut state = self.exchange.lock();
        let ends = !state.keep_alive;
        let objects = state.conn.as_mut().filter(|_| ends).and_then(|conn| conn.objects.take());
        // Not under the lock: that can run Python code.
        drop(state);
        drop(objects);
    }

    /// Answers with an error page of the server's own.
    fn refuse(&mut self, slot: &mut Option<Box<Conn>>, status: u16, reason: &str, message: &str) -> Called {
        if let Some(conn) = slot.as_mut()
            && self.exchange.pulse.seat.in_flight.claim()
        {
            let page = rgunicorn_http::error_response(status, reason, message);
            let (line, rest) = page.split_at(memchr::memchr(b'\n', &page).map_or(0, |end| end + 1));
            let again = if status == 503 { RETRY_AFTER } else { b"" };
            let _ = conn.send(&[line, again, rest]);
        }
        let mut state = self.exchange.lock();
        state.stage = Stage::Sent;
        state.keep_alive = false;
        state.dead = true;
        state.app.reset();
        state.app.status.extend_from_slice(format!("{status} {reason}").as_bytes());
        state.app.code = status;
        Called::Quiet
    }

    /// Sends what is left to send, or has it held, and decides what becomes of the connection.
    fn conclude(&mut self, conn: &mut Conn, called: Called, hold: bool) -> After {
        let exchange = Arc::clone(&self.exchange);
        let mut state = exchange.lock();
        let state = &mut *state;
        let kept = exchange.pulse.seat.in_flight.take_kept(&mut self.out);
        if let Some(kept) = kept.filter(|kept| kept.begun()) {
            // The sentinel has sent some of it, or tried to.
            state.gone |= kept.failed;
            state.dead |= kept.failed || conn.send(&[&self.out[kept.sent..]]).is_err();
        } else if kept.is_some() || matches!(called, Called::Whole) {
            let goes_on = matches!(called, Called::Whole | Called::Done) && !state.dead;
            self.send_out(conn, goes_on && hold, goes_on && state.keep_alive).unwrap_or_else(|_| state.dead = true);
        }
        match called {
            Called::Whole | Called::Done => {}
            Called::Quiet => state.keep_alive = false,
            Called::Failed => {
                self.exchange.pulse.vitals.slot.count_error();
                state.keep_alive = false;
                // After the head there is nothing better to do than to break off: a client sees that the response is not whole.
                if state.stage != Stage::Sent {
                    let answer = self.exchange.pulse.seat.in_flight.claim();
                    state.fail(!answer);
                    state.stage = Stage::Sent;
                    if answer {
                        let page = match &state.bad_body {
                            Some(bad) => {
                                let (status, reason) = bad.status();
                                rgunicorn_http::error_response(status, reason, &bad.to_string())
                            }
                            None => rgunicorn_http::error_response(500, "Internal Server Error", ""),
                        };
                        let _ = conn.send(&[&page]);
                    }
                }
            }
        }
        let timed_out = !self.exchange.pulse.seat.in_flight.claim();
        if timed_out {
            state.fail(true);
        }
        if state.short() && !state.dead && matches!(called, Called::Done | Called::Whole) && !state.is_head {
            state.keep_alive = false;
        }
        if conn.taken {
            After::Taken
        } else if state.keep_alive && !state.dead && !timed_out {
            After::Keep
        } else if state.body_open || state.bad_body.is_some() || timed_out {
            After::Linger
        } else {
            After::Close
        }
    }

    /// Sends the whole response in `out`, or has it held.
    fn send_out(&mut self, conn: &mut Conn, hold: bool, keep_alive: bool) -> std::io::Result<()> {
        if hold && self.out.len() <= MAX_HELD && conn.out.is_empty() && !conn.taken {
            let memory = self.buffers.pop().unwrap_or_default();
            conn.hold(std::mem::replace(&mut self.out, memory));
            return Ok(());
        }
        if keep_alive { conn.send(&[&self.out]) } else { conn.send_last(&[&self.out]) }
    }

    fn log_access(&self, access: &AccessLog, conn: &Conn, bytes: &[u8], took: u64) {
        let state = self.exchange.lock();
        if state.app.status.is_empty() {
            return; // ended without a response, by an app that has taken the socket
        }
        let head = conn.decoder.head();
        access.write(&Record {
            head,
            bytes,
            peer: conn.client(),
            status: &state.app.status,
            fields: &state.app.fields,
            content_length: state.app.content_length,
            script_name: self.keys.script_name_length,
            sent: state.sent,
            took,
            changed: &self.changed,
        });
    }
}

/// The exception, with its traceback in place: before 3.12 that is kept apart until somebody catches it in Python.
fn with_traceback<'py>(py: Python<'py>, error: &PyErr) -> Bound<'py, PyAny> {
    let value = error.value(py).clone().into_any();
    if let Some(traceback) = error.traceback(py) {
        let _ = value.setattr("__traceback__", traceback);
    }
    value
}
