//! WSGI: turns a parsed request into a call of the app, and what the app returns into a response.
//!
//! The GIL is taken once for a request that does not stream: to build the environ, call the app and take its result. It is
//! let go around everything that sends, reads or waits.

mod environ;
mod exchange;
mod ffi;
mod input;
mod objects;

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::{PyAssertionError, PyOSError, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList, PyString, PyTuple};
use rgunicorn_http::Version;

pub use environ::{Keys, RequestParts};
pub use exchange::{Exchange, Pulse, ServerLines};
pub use input::Input;
pub use objects::FileWrapper;

use crate::access_log::{AccessLog, Record};
use crate::engine::Conn;
use crate::sys::now;
use environ::Refused;
use exchange::Stage;
use objects::{EarlyHints, LazySocket, StartResponse, type_name};

/// Bodies up to this size are copied behind their head and sent after the GIL is let go; bigger ones are sent from Python's
/// memory while it is let go.
const COPIED_BODY: usize = 32 * 1024;

/// What the environ says of a listener.
#[derive(Debug)]
pub struct ListenerInfo {
    /// It is a unix socket.
    pub unix: bool,
}

/// How request fields from trusted peers are read.
#[derive(Debug, Default)]
pub struct Rules {
    /// `secure_scheme_headers`: field name, value that means https.
    pub secure: Vec<(Vec<u8>, Vec<u8>)>,
    /// `$SCRIPT_NAME`
    pub script_name: Vec<u8>,
}

impl Rules {
    /// Whether a trusted peer says that the original request was https.
    fn scheme(&self, parts: &RequestParts<'_>) -> Result<bool, Refused> {
        let mut scheme = None;
        for field in parts.head.fields.iter().filter(|_| parts.trusted) {
            let (name, value) = (parts.head.text(field.name, parts.bytes), parts.head.text(field.value, parts.bytes));
            if let Some(secure) = self.scheme_of(name, value) {
                if scheme.is_some_and(|earlier| earlier != secure) {
                    return Err(Refused::Scheme);
                }
                scheme = Some(secure);
            }
        }
        Ok(scheme.unwrap_or(false))
    }

    /// Whether a field says that the original request was https; `None`: it does not speak of it. Names in the setting
    /// are compared with the upper-cased field name, as Gunicorn does: one written `X-Forwarded-Proto` never matches.
    fn scheme_of(&self, name: &[u8], value: &[u8]) -> Option<bool> {
        self.secure
            .iter()
            .find(|(secure, _)| {
                secure.len() == name.len() && secure.iter().zip(name).all(|(s, n)| *s == n.to_ascii_uppercase())
            })
            .map(|(_, means_https)| means_https == value)
    }
}

/// Python objects that belong to a connection.
#[derive(Debug)]
pub struct PeerObjects {
    /// `REMOTE_ADDR`
    pub address: Py<PyString>,
    /// `REMOTE_PORT`
    pub port: Option<Py<PyString>>,
    socket: Option<Py<LazySocket>>,
}

impl PeerObjects {
    fn new(py: Python<'_>, conn: &Conn) -> Self {
        let address = conn.peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        PeerObjects {
            address: PyString::new(py, &address).unbind(),
            port: conn.peer.map(|peer| PyString::new(py, &peer.port().to_string()).unbind()),
            socket: None,
        }
    }

    /// For somebody attached to drop.
    pub fn into_objects(self) -> Vec<Py<PyAny>> {
        let mut all = vec![self.address.into_any()];
        all.extend(self.port.map(Py::into_any));
        all.extend(self.socket.map(Py::into_any));
        all
    }
}

/// A request's head with text of its own, for the slow paths: no lock may be held while Python objects are made of it.
#[derive(Debug, Default)]
struct Snapshot {
    method: Vec<u8>,
    target: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    /// Names in upper case, as Gunicorn has them.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    version: Version,
    peer: Option<SocketAddr>,
    served: u64,
    keep_alive: bool,
    trusted: bool,
}

impl Snapshot {
    fn of(conn: &Conn, bytes: &[u8]) -> Self {
        let parts = RequestParts::of(conn, bytes);
        let field =
            |name, value| (parts.head.text(name, bytes).to_ascii_uppercase(), parts.head.text(value, bytes).to_vec());
        Snapshot {
            method: parts.method.to_vec(),
            target: parts.target.to_vec(),
            path: parts.path.to_vec(),
            query: parts.query.to_vec(),
            fields: parts.head.fields.iter().map(|f| field(f.name, f.value)).collect(),
            version: parts.head.version,
            peer: conn.peer,
            served: conn.served,
            keep_alive: parts.head.keep_alive,
            trusted: parts.trusted,
        }
    }
}

/// What becomes of the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Another request may follow.
    Keep,
    /// Close it once all is sent.
    Close,
    /// Close it, but let the client see the answer first: it may still be sending.
    Linger,
    /// The app has the socket.
    Taken,
}

/// One request for the gateway.
pub struct Request<'r> {
    /// The bytes that the head's spans refer to.
    pub bytes: &'r [u8],
    /// The body so far.
    pub body: Vec<u8>,
    /// That is all of it.
    pub complete: bool,
    /// The connection may stay open as far as the server is concerned.
    pub keep_alive: bool,
}

/// Handlers and filters of `gunicorn.access`: the lines can be made here while both are what the server made them.
pub struct AccessWatch {
    handlers: Py<PyList>,
    filters: Py<PyList>,
    count: usize,
}

impl AccessWatch {
    /// As they are now.
    pub fn new(py: Python<'_>, handlers: Py<PyList>, filters: Py<PyList>) -> Self {
        let count = handlers.bind(py).len();
        AccessWatch { handlers, filters, count }
    }

    fn unchanged(&self, py: Python<'_>) -> bool {
        self.handlers.bind(py).len() == self.count && self.filters.bind(py).is_empty()
    }
}

/// The gateway of one serving thread.
pub struct Gateway {
    app: Py<PyAny>,
    bridge: Py<PyAny>,
    templates: Vec<Py<PyDict>>,
    listeners: Vec<ListenerInfo>,
    rules: Rules,
    keys: Keys,
    exchange: Arc<Exchange>,
    start_response: Py<StartResponse>,
    early_hints: Py<EarlyHints>,
    no_input: Py<Input>,
    sendfile: bool,
    access: Option<AccessLog>,
    watch: Option<AccessWatch>,
    /// The access log is Python's to write: a logger class, or somebody's filter or handler.
    python_access: bool,
    /// The config has a `pre_request` of its own.
    before: bool,
    /// The config has a `post_request` of its own.
    after: bool,
    served: u64,
    out: Vec<u8>,
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
    pub python_access: bool,
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
enum Called {
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
        Ok(Gateway {
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
            served: 0,
            out: Vec::new(),
        })
    }

    /// Serves one request. Called detached.
    pub fn run(&mut self, mut conn: Box<Conn>, request: &mut Request<'_>) -> (Box<Conn>, After) {
        let started = now();
        let pulse = self.exchange.pulse.clone();
        let head = conn.decoder.head();
        let (target, method) = (head.text(head.target, request.bytes), head.text(head.method, request.bytes));
        pulse.slot.begin(0, started, method, target);
        pulse.progress.store(started, std::sync::atomic::Ordering::Relaxed);
        pulse.in_flight.begin(conn.raw_fd());
        let (version, is_head) = (head.version, method == b"HEAD");
        let keep_alive = request.keep_alive && head.keep_alive;
        let turn = self.exchange.begin(version, is_head, keep_alive, !request.complete);
        self.served += 1;
        conn.served += 1;
        let mut called = Called::Failed;
        let mut slot = Some(conn);
        Python::attach(|py| called = self.attached(py, &mut slot, request, turn, started));
        let conn = slot.take().or_else(|| self.exchange.lock().conn.take());
        let Some(mut conn) = conn else {
            // Not reachable: the connection is in one of the two.
            crate::sys::exit_now(70);
        };
        let after = self.conclude(&mut conn, called);
        let ended = now();
        pulse.slot.end(0, ended);
        pulse.beat();
        if let (Some(access), false) = (&self.access, self.python_access) {
            self.log_access(access, &conn, request.bytes, ended - started);
        }
        (conn, after)
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
        let result = ffi::call2(self.app.bind(py), environ.as_any(), self.start_response.bind(py).as_any());
        let (body, sent) = match result {
            Ok(body) => {
                let sent = self.respond(py, &body);
                (Some(body), sent)
            }
            Err(error) => (None, Err(error)),
        };
        let mut called = self.judge(py, slot, request, sent);
        self.python_access |= self.access.is_some() && self.watch.as_ref().is_some_and(|watch| !watch.unchanged(py));
        let response = if self.python_access || self.after {
            if matches!(called, Called::Whole) {
                // The client need not wait for what hooks and loggers do.
                py.detach(|| self.send_whole());
                called = Called::Done;
            }
            self.finish_response(py, request, &environ, hooked, &called, started)
        } else {
            None
        };
        if let Some(body) = &body {
            self.close(py, body);
        }
        if let (true, Some((hooked, response))) = (self.after, &response) {
            let told = self.bridge.bind(py).call_method1("after_request", (hooked, &environ, response));
            self.note(py, told);
        }
        drop((body, response));
        self.renew(py, environ);
        if matches!(called, Called::Whole) && self.exchange.lock().dead {
            called = Called::Done;
        }
        called
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
            conn.objects = Some(PeerObjects::new(py, conn));
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

    /// Makes the request object that hooks and loggers get.
    fn make_request<'py>(
        &self,
        py: Python<'py>,
        shot: &Snapshot,
        secure: bool,
        input: &Bound<'py, Input>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let fields = PyList::empty(py);
        for (name, value) in &shot.fields {
            fields.append((ffi::latin1(py, name)?, ffi::latin1(py, value)?))?;
        }
        let peer = match shot.peer {
            Some(peer) => (peer.ip().to_string(), peer.port()).into_pyobject(py)?.into_any(),
            None => PyString::new(py, "").into_any(),
        };
        let arguments = (
            ffi::latin1(py, &shot.method)?,
            ffi::latin1(py, &shot.target)?,
            ffi::latin1(py, &shot.path)?,
            ffi::latin1(py, &shot.query)?,
            fields,
            shot.version.numbers(),
            peer,
            if secure { "https" } else { "http" },
            shot.served,
            input,
            shot.keep_alive,
            shot.trusted,
        );
        self.bridge.bind(py).call_method1("make_request", arguments)
    }

    /// Makes the response object that hooks and loggers get, and has the access log written where that is Python's.
    fn finish_response<'py>(
        &self,
        py: Python<'py>,
        request: &Request<'_>,
        environ: &Bound<'py, PyDict>,
        hooked: Option<Bound<'py, PyAny>>,
        called: &Called,
        started: u64,
    ) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let elapsed_us = (now() - started) / 1000;
        let (shot, status, fields, sent, sent_head) = {
            let mut state = self.exchange.lock();
            if matches!(called, Called::Failed) && state.stage != Stage::Sent {
                state.fail(self.exchange.pulse.in_flight.timed_out());
            }
            let shot = state.conn.as_ref().map(|conn| Snapshot::of(conn, request.bytes));
            let length = state.app.content_length.map(|length| format!("Content-Length: {length}\r\n"));
            let fields = [&state.app.fields[..], length.unwrap_or_default().as_bytes()].concat();
            (shot, state.app.status.clone(), fields, state.sent, state.stage == Stage::Sent)
        };
        let made = (|| {
            let hooked = match hooked {
                Some(hooked) => hooked,
                None => {
                    let secure = match ffi::get(environ, &self.keys.url_scheme) {
                        Some(scheme) => scheme.eq("https")?,
                        None => false,
                    };
                    let input = self.no_input.bind(py);
                    self.make_request(py, &shot.unwrap_or_default(), secure, input)?
                }
            };
            let (status, fields) = (ffi::latin1(py, &status)?, ffi::latin1(py, &fields)?);
            let arguments = (&hooked, environ, status, fields, sent, sent_head, elapsed_us, self.python_access);
            let response = self.bridge.bind(py).call_method1("finish_response", arguments)?;
            PyResult::Ok((hooked, response))
        })();
        self.note(py, made)
    }

    /// What hooks raise is logged by the Python side; this is for what goes wrong even there.
    fn note<T>(&self, py: Python<'_>, result: PyResult<T>) -> Option<T> {
        result.map_err(|error| error.write_unraisable(py, Some(self.bridge.bind(py).as_any()))).ok()
    }

    fn send_whole(&self) {
        let mut state = self.exchange.lock();
        let failed = state.conn.as_mut().is_none_or(|conn| conn.send(&[&self.out]).is_err());
        state.dead |= failed;
    }

    /// Now and then: whether somebody has changed the access log in a way that lines made here would not show.
    pub fn look_at_access_log(&mut self) {
        if self.access.is_none() || self.python_access || self.watch.is_none() {
            return;
        }
        Python::attach(|py| {
            let plain = self.bridge.bind(py).call_method0("access_is_plain").and_then(|plain| plain.is_truthy());
            self.python_access = !self.note(py, plain).unwrap_or(true);
        });
    }

    /// Sends what the app returned.
    fn respond(&mut self, py: Python<'_>, body: &Bound<'_, PyAny>) -> PyResult<Called> {
        if let Ok(list) = body.cast_exact::<PyList>() {
            if list.len() == 1 {
                return self.respond_single(py, &list.get_item(0)?);
            }
        } else if let Ok(tuple) = body.cast_exact::<PyTuple>() {
            if tuple.len() == 1 {
                return self.respond_single(py, &tuple.get_item(0)?);
            }
        } else if let Ok(file) = body.cast_exact::<FileWrapper>()
            && self.sendfile
            && self.respond_file(py, file.get())?
        {
            return Ok(Called::Done);
        }
        for item in PyIterator::from_object(body)? {
            let item = item?;
            let bytes = as_bytes(&item)?;
            self.started()?;
            py.detach(|| self.exchange.write(bytes));
            if self.exchange.lock().dead {
                return Ok(Called::Done);
            }
        }
        self.started()?;
        py.detach(|| self.exchange.finish());
        Ok(Called::Done)
    }

    /// A body of one piece: its length is known, head and body go in one system call.
    fn respond_single(&mut self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<Called> {
        let bytes = as_bytes(item)?;
        self.started()?;
        let mut state = self.exchange.lock();
        if state.stage == Stage::Sent {
            drop(state);
            py.detach(|| {
                self.exchange.write(bytes);
                self.exchange.finish();
            });
            return Ok(Called::Done);
        }
        self.out.clear();
        if !self.exchange.whole_head(&mut state, &mut self.out, bytes.len() as u64) {
            return Ok(Called::Done);
        }
        let bytes = state.clip(bytes);
        if bytes.len() <= COPIED_BODY {
            self.out.extend_from_slice(bytes);
            return Ok(Called::Whole);
        }
        drop(state);
        let (out, exchange) = (&self.out, &self.exchange);
        py.detach(|| {
            let mut state = exchange.lock();
            let failed = state.conn.as_mut().is_none_or(|conn| conn.send(&[out, bytes]).is_err());
            state.dead |= failed;
        });
        Ok(Called::Done)
    }

    /// sendfile(2) for a wrapped file. False: it is none that the kernel can send, and its blocks are to be read.
    fn respond_file(&self, py: Python<'_>, file: &FileWrapper) -> PyResult<bool> {
        let Some((fd, offset)) = plain_file(file.filelike.bind(py))? else { return Ok(false) };
        let Ok(stat) = nix::sys::stat::fstat(crate::sys::borrow(fd)) else { return Ok(false) };
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Ok(false);
        }
        let left = u64::try_from(stat.st_size.saturating_sub(offset)).unwrap_or(0);
        self.started()?;
        // A copy of the descriptor: the app's file is closed as soon as close() has been called.
        let copy = crate::sys::borrow(fd).try_clone_to_owned()?;
        py.detach(|| {
            self.exchange.write_file(copy, offset, left);
            self.exchange.finish();
        });
        Ok(true)
    }

    fn started(&self) -> PyResult<()> {
        match self.exchange.lock().stage {
            Stage::Unset => Err(PyAssertionError::new_err("the app returned a body but never called start_response()")),
            _ => Ok(()),
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
        let told = self.bridge.bind(py).call_method1("request_failed", (method, target, with_traceback(py, error)));
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

    /// Answers with an error page of the server's own.
    fn refuse(&mut self, slot: &mut Option<Box<Conn>>, status: u16, reason: &str, message: &str) -> Called {
        if let Some(conn) = slot.as_mut()
            && self.exchange.pulse.in_flight.claim()
        {
            let page = rgunicorn_http::error_response(status, reason, message);
            let _ = conn.send(&[&page]);
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

    /// Sends what is left to send and decides what becomes of the connection.
    fn conclude(&mut self, conn: &mut Conn, called: Called) -> After {
        let mut state = self.exchange.lock();
        let state = &mut *state;
        match called {
            Called::Whole => state.dead |= conn.send(&[&self.out]).is_err(),
            Called::Done => {}
            Called::Quiet => state.keep_alive = false,
            Called::Failed => {
                self.exchange.pulse.slot.count_error();
                state.keep_alive = false;
                // After the head there is nothing better to do than to break off: a client sees that the response is not whole.
                if state.stage != Stage::Sent {
                    let answer = self.exchange.pulse.in_flight.claim();
                    state.fail(!answer);
                    state.stage = Stage::Sent;
                    if answer {
                        let page = match &state.bad_body {
                            Some(error) => {
                                rgunicorn_http::error_response(error.status(), error.reason(), &error.to_string())
                            }
                            None => rgunicorn_http::error_response(500, "Internal Server Error", ""),
                        };
                        let _ = conn.send(&[&page]);
                    }
                }
            }
        }
        let timed_out = !self.exchange.pulse.in_flight.claim();
        if state.short() && !state.dead && matches!(called, Called::Done | Called::Whole) && !state.is_head {
            state.keep_alive = false;
        }
        if conn.taken {
            After::Taken
        } else if state.keep_alive && !state.dead && !timed_out {
            After::Keep
        } else if state.body_open || timed_out {
            After::Linger
        } else {
            After::Close
        }
    }

    fn log_access(&self, access: &AccessLog, conn: &Conn, bytes: &[u8], took: u64) {
        let state = self.exchange.lock();
        let head = conn.decoder.head();
        access.write(&Record {
            head,
            bytes,
            peer: conn.peer,
            status: &state.app.status,
            fields: &state.app.fields,
            content_length: state.app.content_length,
            script_name: self.keys.script_name_length,
            sent: state.sent,
            took,
        });
    }

    /// Requests begun.
    pub fn served(&self) -> u64 {
        self.served
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

fn as_bytes<'b>(item: &'b Bound<'_, PyAny>) -> PyResult<&'b [u8]> {
    match item.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes()),
        Err(_) => Err(PyTypeError::new_err(format!("the app's body must consist of bytes, not {}", type_name(item)))),
    }
}

/// Descriptor and position of a file that the kernel can send: only Python's own FileIO and BufferedReader, since the
/// `fileno()` of others (a GzipFile's is the compressed file) need not mean what `read()` gives.
fn plain_file(file: &Bound<'_, PyAny>) -> PyResult<Option<(RawFd, i64)>> {
    let io = file.py().import("_io")?;
    let kind = file.get_type();
    let plain = |name: &str| io.getattr(name).map(|known| kind.is(&known));
    let raw = if plain("FileIO")? {
        file.clone()
    } else if plain("BufferedReader")? || plain("BufferedRandom")? {
        let raw = file.getattr("raw")?;
        if !raw.get_type().is(&io.getattr("FileIO")?) {
            return Ok(None);
        }
        raw
    } else {
        return wrapped_tempfile(file);
    };
    let (Ok(fd), Ok(offset)) = (raw.call_method0("fileno"), file.call_method0("tell")) else { return Ok(None) };
    Ok(Some((fd.extract()?, offset.extract()?)))
}

/// `tempfile.NamedTemporaryFile` wraps a plain file in an object of its own.
fn wrapped_tempfile(file: &Bound<'_, PyAny>) -> PyResult<Option<(RawFd, i64)>> {
    if file.get_type().name()? != "_TemporaryFileWrapper" {
        return Ok(None);
    }
    match file.getattr_opt("file")? {
        Some(inner) if inner.get_type().name()? != "_TemporaryFileWrapper" => plain_file(&inner),
        _ => Ok(None),
    }
}
