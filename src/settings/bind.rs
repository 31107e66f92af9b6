//! Addresses that the server listens on.

use std::fmt;
use std::path::PathBuf;

use rgunicorn_wire::PyValue;

use super::python_int::python_int;
use super::python_text::repr_str;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A TCP port.
    Tcp {
        /// Host name or address in lower case, an IPv6 address without brackets. Empty: every interface.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
    /// A socket that was inherited.
    Fd(i32),
}

impl Bind {
    /// Reads an address as Gunicorn does: `HOST`, `HOST:PORT`, `:PORT`, `[IPV6]`, `[IPV6]:PORT`, `tcp://...`,
    /// `unix:PATH`, `unix://PATH`, `fd://N`; nothing at all is `0.0.0.0`.
    ///
    /// # Errors
    /// Which part is wrong.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Bind::Unix(path.strip_prefix("//").unwrap_or(path).into()));
        }
        if let Some(number) = text.strip_prefix("fd://") {
            let fd = python_int(number, 10).and_then(|fd| i32::try_from(fd).ok()).filter(|fd| *fd >= 0);
            return fd.map(Bind::Fd).ok_or_else(|| format!("{} is not a valid file descriptor", repr_str(number)));
        }
        let text = text.strip_prefix("tcp://").unwrap_or(text);
        let (host, port) = split(text);
        let port = match port {
            None => default_port,
            Some(port) => {
                let number = python_int(port, 10).and_then(|port| u16::try_from(port).ok());
                number.ok_or_else(|| format!("{} is not a valid port number", repr_str(port)))?
            }
        };
        Ok(Bind::Tcp { host: host.to_lowercase(), port })
    }

    /// Gunicorn's `cfg.address` entry: `[host, port]`, a path, or a descriptor.
    pub fn wire(&self) -> PyValue {
        match self {
            Bind::Tcp { host, port } => PyValue::List(vec![PyValue::Str(host.clone()), PyValue::Int(i64::from(*port))]),
            Bind::Unix(path) => PyValue::Str(path.to_string_lossy().into_owned()),
            Bind::Fd(fd) => PyValue::Int(i64::from(*fd)),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Bind::Tcp { host, port } => write!(f, "{host}:{port}"),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
            Bind::Fd(fd) => write!(f, "fd://{fd}"),
        }
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    if text.contains('[') && text.contains(']') {
        let host = text.split(']').next().unwrap_or_default();
        let host = host.get(1..).unwrap_or_default();
        return (host, text.split("]:").nth(1));
    }
    if text.is_empty() {
        return ("0.0.0.0", None);
    }
    // Only the first two parts count, as in Gunicorn: an IPv6 address needs its brackets.
    let mut parts = text.split(':');
    (parts.next().unwrap_or_default(), parts.next())
}
