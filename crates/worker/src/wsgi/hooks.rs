//! What request hooks and Python loggers get: the slow paths of a request.

use std::net::SocketAddr;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use rgunicorn_http::Version;
use rgunicorn_http::proxy::Header;

use super::environ::RequestParts;
use super::exchange::Stage;
use super::gateway::{Called, Gateway};
use super::{Input, Request, ffi};
use crate::engine::Conn;
use crate::sys::now;

/// A request's head with text of its own, for the slow paths: no lock may be held while Python objects are made of it.
#[derive(Debug, Default)]
pub struct Snapshot {
    method: Vec<u8>,
    target: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    /// Names in upper case, as Gunicorn has them.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    version: Version,
    peer: Option<SocketAddr>,
    proxy: Option<Header>,
    served: u64,
    keep_alive: bool,
    trusted: bool,
}

impl Snapshot {
    pub fn of(conn: &Conn, bytes: &[u8]) -> Self {
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
            peer: conn.client(),
            proxy: conn.proxy.clone(),
            served: conn.served,
            keep_alive: parts.head.keep_alive,
            trusted: parts.trusted,
        }
    }
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

    pub fn unchanged(&self, py: Python<'_>) -> bool {
        self.handlers.bind(py).len() == self.count && self.filters.bind(py).is_empty()
    }
}

impl Gateway {
    /// Makes the request object that hooks and loggers get.
    pub(super) fn make_request<'py>(
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
        // As Gunicorn has it: kind, then addresses and ports of client and proxy, or nothing where it says none.
        let proxy = shot.proxy.as_ref().map(|header| {
            let ends = header
                .endpoints
                .map(|ends| [ends.source, ends.destination].map(|end| (end.ip().to_string(), end.port())));
            (header.protocol.as_str(), ends)
        });
        let arguments = (
            ffi::latin1(py, &shot.method)?,
            ffi::latin1(py, &shot.target)?,
            ffi::latin1(py, &shot.path)?,
            ffi::latin1(py, &shot.query)?,
            fields,
            shot.version.numbers(),
            (peer, proxy),
            if secure { "https" } else { "http" },
            shot.served,
            input,
            shot.keep_alive,
            shot.trusted,
        );
        self.bridge.bind(py).call_method1("make_request", arguments)
    }

    /// Makes the response object that hooks and loggers get, and has the access log written where that is Python's.
    pub(super) fn finish_response<'py>(
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
            let timed_out = self.exchange.pulse.seat.in_flight.timed_out();
            if timed_out || (matches!(called, Called::Failed) && state.stage != Stage::Sent) {
                state.fail(timed_out);
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
            let arguments = (&hooked, environ, status, fields, sent, sent_head, elapsed_us, self.is_python_access());
            let response = self.bridge.bind(py).call_method1("finish_response", arguments)?;
            PyResult::Ok((hooked, response))
        })();
        self.note(py, made)
    }

    /// What hooks raise is logged by the Python side; this is for what goes wrong even there.
    pub(super) fn note<T>(&self, py: Python<'_>, result: PyResult<T>) -> Option<T> {
        result.map_err(|error| error.write_unraisable(py, Some(self.bridge.bind(py).as_any()))).ok()
    }

    pub(super) fn send_whole(&self) {
        let mut state = self.exchange.lock();
        let failed = state.conn.as_mut().is_none_or(|conn| conn.send(&[&self.out]).is_err());
        state.dead |= failed;
    }

    /// Now and then: whether somebody has changed the access log in a way that lines made here would not show.
    pub fn look_at_access_log(&mut self) {
        if self.access.is_none() || self.is_python_access() || self.watch.is_none() {
            return;
        }
        Python::attach(|py| {
            let plain = self.bridge.bind(py).call_method0("access_is_plain").and_then(|plain| plain.is_truthy());
            let plain = self.note(py, plain).unwrap_or(true);
            self.python_access.store(!plain, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
