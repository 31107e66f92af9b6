//! What the engine is told about settings and listeners.

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use ipnet::IpNet;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rgunicorn_http::{HeaderMap, Options as HttpOptions};

/// One listener.
#[derive(Debug)]
pub struct Listener {
    /// The listening socket; owned by the worker's Python side for the process's life.
    pub fd: RawFd,
    /// It is a unix socket.
    pub unix: bool,
}

/// `forwarded_allow_ips`
#[derive(Debug, Default)]
pub struct Trust {
    everybody: bool,
    networks: Vec<IpNet>,
}

impl Trust {
    fn parse(items: &[String]) -> PyResult<Self> {
        let mut trust = Trust::default();
        for item in items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()) {
            if item == "*" {
                trust.everybody = true;
            } else if let Ok(network) = item.parse::<IpNet>() {
                trust.networks.push(network);
            } else if let Ok(address) = item.parse::<IpAddr>() {
                trust.networks.push(address.into());
            } else {
                return Err(PyValueError::new_err(format!("forwarded_allow_ips: {item:?} is no address or network")));
            }
        }
        Ok(trust)
    }

    /// Whether this peer may speak for others. A peer without an address (unix socket) always may.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            None => true,
            Some(_) if self.everybody => true,
            Some(address) => self.networks.iter().any(|network| network.contains(&address)),
        }
    }
}

/// The settings that the engine acts on.
#[derive(Debug)]
pub struct Options {
    /// Nanoseconds an idle connection is kept; 0: none is.
    pub keepalive: u64,
    /// Connections at once.
    pub worker_connections: usize,
    /// Requests after which a replacement is asked for; 0: never.
    pub max_requests: u64,
    /// Nanoseconds of silence after which a request is ended; 0: never.
    pub timeout: u64,
    /// Nanoseconds that a worker gets to leave in order.
    pub graceful_timeout: u64,
    /// Thread records of a slot in the scoreboard.
    pub threads: u32,
    /// How many workers the server has: with one, nobody else could take a connection.
    pub num_workers: u32,
    /// sendfile(2) may be used.
    pub sendfile: bool,
    /// Parser limits and strictness.
    pub http: Arc<HttpOptions>,
    /// Who may set scheme and script name.
    pub trust: Trust,
    /// `secure_scheme_headers`
    pub secure: Vec<(Vec<u8>, Vec<u8>)>,
    /// `$SCRIPT_NAME`
    pub script_name: Vec<u8>,
}

impl Options {
    /// From the dict that the worker's Python side makes of `cfg`.
    pub fn read(dict: &Bound<'_, PyDict>) -> PyResult<Self> {
        let item =
            |name: &str| dict.get_item(name)?.ok_or_else(|| PyValueError::new_err(format!("the engine needs {name}")));
        let number = |name: &str| item(name)?.extract::<u64>();
        let flag = |name: &str| item(name)?.extract::<bool>();
        let mut http = HttpOptions::new(
            usize::try_from(number("limit_request_line")?)?,
            usize::try_from(number("limit_request_fields")?)?,
            usize::try_from(number("limit_request_field_size")?)?,
        );
        http.permit_obsolete_folding = flag("permit_obsolete_folding")?;
        http.strip_header_spaces = flag("strip_header_spaces")?;
        http.permit_unconventional_http_method = flag("permit_unconventional_http_method")?;
        http.permit_unconventional_http_version = flag("permit_unconventional_http_version")?;
        http.casefold_http_method = flag("casefold_http_method")?;
        http.header_map = match item("header_map")?.extract::<String>()?.as_str() {
            "refuse" => HeaderMap::Refuse,
            "dangerous" => HeaderMap::Dangerous,
            _ => HeaderMap::Drop,
        };
        http.forwarder_headers = item("forwarder_headers")?.extract()?;
        let secure: Vec<(String, String)> = item("secure_scheme_headers")?.extract()?;
        Ok(Options {
            keepalive: number("keepalive")?.saturating_mul(1_000_000_000),
            worker_connections: usize::try_from(number("worker_connections")?)?.max(1),
            max_requests: number("max_requests")?,
            timeout: number("timeout")?.saturating_mul(1_000_000_000),
            graceful_timeout: number("graceful_timeout")?.saturating_mul(1_000_000_000),
            threads: item("threads")?.extract()?,
            num_workers: item("num_workers")?.extract()?,
            sendfile: flag("sendfile")?,
            http: Arc::new(http),
            trust: Trust::parse(&item("forwarded_allow_ips")?.extract::<Vec<String>>()?)?,
            secure: secure.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect(),
            script_name: item("script_name")?.extract::<String>()?.chars().map(|c| c as u8).collect(),
        })
    }
}
