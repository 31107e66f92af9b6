//! The environ of PEP 3333: one template a listener, copied and filled for each request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use rgunicorn_http::{Head, Name, Version, percent_decode_into};
use rustc_hash::FxBuildHasher;

use super::ffi::{append_latin1, get, latin1, set};
use super::{ListenerInfo, PeerObjects, Rules};
use crate::engine::Conn;

/// Places for names of request fields that are not well known, kept with their environ key. Clients invent names: each
/// has one place only, where it drives out the one before it, and none is interned (what is interned stays for ever).
const KEPT_NAMES: usize = 256;
/// Longer names are not kept.
const KEPT_LENGTH: usize = 64;

/// A name with its key.
type Kept = (Box<[u8]>, Py<PyString>);

/// The keys, made once.
pub struct Keys {
    request_method: Py<PyString>,
    query_string: Py<PyString>,
    raw_uri: Py<PyString>,
    server_protocol: Py<PyString>,
    path_info: Py<PyString>,
    script_name: Py<PyString>,
    remote_addr: Py<PyString>,
    remote_port: Py<PyString>,
    server_name: Py<PyString>,
    server_port: Py<PyString>,
    /// `wsgi.url_scheme`
    pub url_scheme: Py<PyString>,
    /// `wsgi.input`
    pub input: Py<PyString>,
    /// `wsgi.early_hints`
    pub early_hints: Py<PyString>,
    /// `gunicorn.socket`
    pub socket: Py<PyString>,
    http11: Py<PyString>,
    http10: Py<PyString>,
    https: Py<PyString>,
    http: Py<PyString>,
    empty: Py<PyString>,
    root: Py<PyString>,
    methods: Vec<(&'static [u8], Py<PyString>)>,
    /// By [`Name`].
    known: Vec<Option<Py<PyString>>>,
    others: Vec<Option<Kept>>,
    /// Bytes of the last request's path that were its script name.
    pub script_name_length: usize,
}

/// What of a request the environ is made from.
pub struct RequestParts<'r> {
    /// The head; its spans refer to `bytes`.
    pub head: &'r Head,
    /// The head's bytes.
    pub bytes: &'r [u8],
    /// Path and query within the target.
    pub path: &'r [u8],
    /// What follows the `?`.
    pub query: &'r [u8],
    /// The whole target.
    pub target: &'r [u8],
    /// The method.
    pub method: &'r [u8],
    /// Whether the peer may set the scheme and the script name.
    pub trusted: bool,
}

impl<'r> RequestParts<'r> {
    /// Of the request whose head the connection's decoder has read last.
    pub fn of(conn: &'r Conn, bytes: &'r [u8]) -> Self {
        let head = conn.decoder.head();
        RequestParts {
            head,
            bytes,
            path: head.text(head.path, bytes),
            query: head.text(head.query, bytes),
            target: head.text(head.target, bytes),
            method: head.text(head.method, bytes),
            trusted: conn.trusted,
        }
    }
}

/// Why a request has no environ.
#[derive(Debug)]
pub enum Refused {
    /// Contradictory scheme fields: 400.
    Scheme,
    /// The path does not begin with the script name: 500.
    ScriptName,
    /// Python failed.
    Python(PyErr),
}

impl From<PyErr> for Refused {
    fn from(error: PyErr) -> Self {
        Refused::Python(error)
    }
}

impl Keys {
    /// Interned, so that dict look-ups compare pointers.
    pub fn new(py: Python<'_>) -> Self {
        let key = |name: &str| PyString::intern(py, name).unbind();
        let methods: [&'static str; 7] = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"];
        Keys {
            request_method: key("REQUEST_METHOD"),
            query_string: key("QUERY_STRING"),
            raw_uri: key("RAW_URI"),
            server_protocol: key("SERVER_PROTOCOL"),
            path_info: key("PATH_INFO"),
            script_name: key("SCRIPT_NAME"),
            remote_addr: key("REMOTE_ADDR"),
            remote_port: key("REMOTE_PORT"),
            server_name: key("SERVER_NAME"),
            server_port: key("SERVER_PORT"),
            url_scheme: key("wsgi.url_scheme"),
            input: key("wsgi.input"),
            early_hints: key("wsgi.early_hints"),
            socket: key("gunicorn.socket"),
            http11: key("HTTP/1.1"),
            http10: key("HTTP/1.0"),
            https: key("https"),
            http: key("http"),
            empty: key(""),
            root: key("/"),
            methods: methods.iter().map(|method| (method.as_bytes(), key(method))).collect(),
            known: known_keys(py),
            others: std::iter::repeat_with(|| None).take(KEPT_NAMES).collect(),
            script_name_length: 0,
        }
    }

    /// The environ key of a request field.
    fn field(&mut self, py: Python<'_>, known: Name, name: &[u8]) -> Py<PyString> {
        if let Some(key) = self.known.get(known as usize).and_then(Option::as_ref) {
            return key.clone_ref(py);
        }
        let make = || PyString::new(py, &environ_name(name)).unbind();
        if name.len() > KEPT_LENGTH {
            return make();
        }
        let place = &mut self.others[FxBuildHasher.hash_one(name) as usize % KEPT_NAMES];
        match place {
            Some((kept, key)) if **kept == *name => key.clone_ref(py),
            _ => place.insert((name.into(), make())).1.clone_ref(py),
        }
    }

    /// Fills the environ of one request. `wsgi.input`, `wsgi.early_hints` and `gunicorn.socket` are the caller's.
    pub fn fill(
        &mut self,
        environ: &Bound<'_, PyDict>,
        parts: &RequestParts<'_>,
        rules: &Rules,
        listener: &ListenerInfo,
        peer: &PeerObjects,
    ) -> Result<(), Refused> {
        let py = environ.py();
        let mut script_name: Cow<'_, [u8]> = Cow::Borrowed(&rules.script_name);
        let mut scheme = None;
        let mut host: &[u8] = b"";
        let mut repeated = Vec::new();
        for field in &parts.head.fields {
            let (name, value) = (parts.head.text(field.name, parts.bytes), parts.head.text(field.value, parts.bytes));
            let key = self.field(py, field.known, name);
            if get(environ, &key).is_none() {
                set(environ, &key, latin1(py, value)?.as_any())?;
            } else {
                repeated.push((name, value));
            }
            if parts.trusted {
                if let Some(secure) = rules.scheme_of(name, value) {
                    if scheme.is_some_and(|earlier| earlier != secure) {
                        return Err(Refused::Scheme);
                    }
                    scheme = Some(secure);
                } else if name.eq_ignore_ascii_case(b"script_name") {
                    script_name = Cow::Borrowed(value);
                }
            }
            if listener.unix && name.eq_ignore_ascii_case(b"host") {
                host = value;
            }
        }
        if !repeated.is_empty() {
            join(environ, &repeated)?;
        }
        let secure = scheme.unwrap_or(false);
        if secure {
            set(environ, &self.url_scheme, self.https.bind(py).as_any())?;
        } else if scheme.is_some() {
            set(environ, &self.url_scheme, self.http.bind(py).as_any())?;
        }
        self.set_request(environ, parts)?;
        let mut path = parts.path;
        self.script_name_length = script_name.len();
        if !script_name.is_empty() {
            path = path.strip_prefix(&*script_name).ok_or(Refused::ScriptName)?;
            set(environ, &self.script_name, latin1(py, &script_name)?.as_any())?;
        }
        self.set_path(environ, path)?;
        set(environ, &self.remote_addr, peer.address.bind(py).as_any())?;
        if let Some(port) = &peer.port {
            set(environ, &self.remote_port, port.bind(py).as_any())?;
        }
        for (key, value) in &peer.proxy {
            environ.set_item(key, value)?;
        }
        if listener.unix {
            self.set_server_from_host(environ, host, secure)?;
        }
        Ok(())
    }

    fn set_request(&self, environ: &Bound<'_, PyDict>, parts: &RequestParts<'_>) -> PyResult<()> {
        let py = environ.py();
        match self.methods.iter().find(|(name, _)| *name == parts.method) {
            Some((_, known)) => set(environ, &self.request_method, known.bind(py).as_any())?,
            None => set(environ, &self.request_method, latin1(py, parts.method)?.as_any())?,
        }
        let protocol = match parts.head.version {
            Version::Http11 => self.http11.bind(py).clone(),
            Version::Http10 => self.http10.bind(py).clone(),
            Version::Other(major, minor) => PyString::new(py, &format!("HTTP/{major}.{minor}")),
        };
        set(environ, &self.server_protocol, protocol.as_any())?;
        if parts.query.is_empty() {
            set(environ, &self.query_string, self.empty.bind(py).as_any())?;
        } else {
            set(environ, &self.query_string, latin1(py, parts.query)?.as_any())?;
        }
        if parts.target == b"/" {
            set(environ, &self.raw_uri, self.root.bind(py).as_any())
        } else {
            set(environ, &self.raw_uri, latin1(py, parts.target)?.as_any())
        }
    }

    fn set_path(&self, environ: &Bound<'_, PyDict>, path: &[u8]) -> PyResult<()> {
        let py = environ.py();
        if path == b"/" {
            return set(environ, &self.path_info, self.root.bind(py).as_any());
        }
        if !path.contains(&b'%') {
            return set(environ, &self.path_info, latin1(py, path)?.as_any());
        }
        let mut decoded = Vec::with_capacity(path.len());
        percent_decode_into(path, &mut decoded);
        set(environ, &self.path_info, latin1(py, &decoded)?.as_any())
    }

    /// On a unix socket the server has no address of its own: the client's `Host` says how it is called.
    fn set_server_from_host(&self, environ: &Bound<'_, PyDict>, host: &[u8], secure: bool) -> PyResult<()> {
        let py = environ.py();
        if host.is_empty() {
            set(environ, &self.server_name, self.empty.bind(py).as_any())?;
            return set(environ, &self.server_port, self.empty.bind(py).as_any());
        }
        let split = memchr::memrchr(b':', host).filter(|&at| !host[at..].contains(&b']'));
        let (name, port) = match split {
            Some(at) => (&host[..at], &host[at + 1..]),
            None => (host, if secure { &b"443"[..] } else { b"80" }),
        };
        set(environ, &self.server_name, latin1(py, name)?.as_any())?;
        set(environ, &self.server_port, latin1(py, port)?.as_any())
    }
}

/// Fields that came again: their values follow the first one's, after commas (RFC 3875, 4.1.18).
fn join(environ: &Bound<'_, PyDict>, repeated: &[(&[u8], &[u8])]) -> PyResult<()> {
    let mut joined: HashMap<String, Vec<u8>, FxBuildHasher> = HashMap::default();
    for (name, value) in repeated {
        let key = environ_name(name);
        let text = match joined.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut text = Vec::new();
                if let Some(first) = environ.get_item(entry.key())? {
                    append_latin1(first.cast::<PyString>()?, &mut text)?;
                }
                entry.insert(text)
            }
        };
        text.push(b',');
        text.extend_from_slice(value);
    }
    for (key, text) in joined {
        environ.set_item(key, latin1(environ.py(), &text)?)?;
    }
    Ok(())
}

/// `Content-Type` is `CONTENT_TYPE`, `X-Y` is `HTTP_X_Y` (RFC 3875, 4.1.18). Only two names lose the `HTTP_`, and not their
/// twins with an underscore, which are another field.
fn environ_name(name: &[u8]) -> String {
    if name.eq_ignore_ascii_case(b"content-type") {
        return "CONTENT_TYPE".into();
    }
    if name.eq_ignore_ascii_case(b"content-length") {
        return "CONTENT_LENGTH".into();
    }
    let upper = name.iter().map(|&b| if b == b'-' { '_' } else { b.to_ascii_uppercase() as char });
    "HTTP_".chars().chain(upper).collect()
}

fn known_keys(py: Python<'_>) -> Vec<Option<Py<PyString>>> {
    let mut keys = Vec::new();
    for name in Name::all() {
        let at = name as usize;
        if keys.len() <= at {
            keys.resize_with(at + 1, || None);
        }
        if !name.as_str().is_empty() {
            keys[at] = Some(PyString::intern(py, &environ_name(name.as_str().as_bytes())).unbind());
        }
    }
    keys
}
