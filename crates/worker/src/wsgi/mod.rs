//! WSGI: turns a parsed request into a call of the app, and what the app returns into a response.
//!
//! The GIL is taken once for a request that does not stream: to build the environ, call the app and take its result. It is
//! let go around everything that sends, reads or waits.

mod body;
mod environ;
mod exchange;
mod ffi;
mod gateway;
mod hooks;
mod input;
mod lines;
mod objects;
mod pulse;
mod respond;

use pyo3::prelude::*;
use pyo3::types::PyString;

pub use environ::RequestParts;
pub use gateway::{Gateway, Setup};
pub use hooks::AccessWatch;
pub use input::Input;
pub use lines::ServerLines;
pub use objects::FileWrapper;
pub use pulse::Pulse;

use crate::engine::Conn;
use environ::Refused;
use objects::LazySocket;

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
    /// What a PROXY header said, by environ key.
    pub proxy: Vec<(&'static str, Py<PyString>)>,
    socket: Option<Py<LazySocket>>,
}

impl PeerObjects {
    fn new(py: Python<'_>, conn: &Conn, address: Py<PyString>) -> Self {
        let text = |text: &str| PyString::new(py, text).unbind();
        let mut proxy = Vec::new();
        if let Some(header) = &conn.proxy {
            proxy.push(("PROXY_PROTOCOL", text(header.protocol.as_str())));
            if let Some(ends) = header.endpoints {
                proxy.push(("PROXY_ADDR", text(&ends.destination.ip().to_string())));
                proxy.push(("PROXY_PORT", text(&ends.destination.port().to_string())));
            }
        }
        PeerObjects { address, port: conn.client().map(|client| text(&client.port().to_string())), proxy, socket: None }
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

/// What is wrong with a body above `limit_request_body`.
pub fn too_large(limit: u64) -> String {
    format!("Request body is too large (limit is {limit} bytes)")
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
    /// It has waited too long for a thread.
    pub stale: bool,
    /// A short response may be held for the connection, to be sent with others.
    pub hold: bool,
}
