//! What the engine is told about settings and listeners.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;
use std::sync::Arc;

use ipnet::IpNet;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rgunicorn_http::{HeaderMap, Options as HttpOptions, proxy};

/// One listener.
#[derive(Debug)]
pub struct Listener {
    /// The listening socket; owned by the worker's Python side for the process's life.
    pub fd: RawFd,
    /// It is a unix socket.
    pub unix: bool,
    /// Tells the socket from others, in every process.
    pub inode: u64,
}

/// Addresses that a setting trusts.
#[derive(Debug, Default)]
pub struct Trust {
    everybody: bool,
    networks: Vec<IpNet>,
}

impl Trust {
    fn parse(setting: &str, items: &[String]) -> PyResult<Self> {
        let mut trust = Trust::default();
        for item in items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()) {
            if item == "*" {
                trust.everybody = true;
            } else if let Some(network) = network(item) {
                trust.networks.push(network);
            } else {
                return Err(PyValueError::new_err(format!("{setting}: {item:?} is no address or network")));
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

/// An address, or a network as Python's `ipaddress` reads it: with a length, a netmask or a hostmask.
fn network(item: &str) -> Option<IpNet> {
    let Some((address, mask)) = item.split_once('/') else { return item.parse::<IpAddr>().ok().map(IpNet::from) };
    if let Ok(network) = item.parse::<IpNet>() {
        return Some(network);
    }
    let (address, mask) = (address.parse::<Ipv4Addr>().ok()?, mask.parse::<Ipv4Addr>().ok()?);
    let bits = u32::from(mask);
    // As `ipaddress`: what can be both is a netmask.
    let length = if bits.count_ones() == bits.leading_ones() {
        bits.leading_ones()
    } else if bits.count_ones() == bits.trailing_ones() {
        bits.leading_zeros()
    } else {
        return None;
    };
    IpNet::new(address.into(), length as u8).ok()
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
    /// The worker class has threads (gthread), and a main thread that serves no requests.
    pub threaded: bool,
    /// Nanoseconds that a client has for a request's head.
    pub request_head_timeout: u64,
    /// Nanoseconds that one request may take; 0: any.
    pub request_timeout: u64,
    /// Nanoseconds that a request may wait for a thread; 0: any.
    pub max_queue_wait: u64,
    /// Most bytes of a request's body.
    pub limit_request_body: u64,
    /// Bytes of a request's body that are read before the app is called.
    pub request_buffer: usize,
    /// Bytes of a response that are kept for a slow client before the app waits.
    pub response_buffer: usize,
    /// `proxy_protocol`
    pub proxy: proxy::Mode,
    /// `proxy_allow_ips`
    pub proxies: Trust,
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
    /// How many threads serve.
    pub fn serving(&self) -> u32 {
        if self.threaded { self.threads.max(1) } else { 1 }
    }

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
        let seconds = |name: &str| Ok::<_, PyErr>(number(name)?.saturating_mul(1_000_000_000));
        let addresses = |name: &str| Trust::parse(name, &item(name)?.extract::<Vec<String>>()?);
        // Far enough away, and not so far that a sum with it could overflow.
        let endless = |nanos: u64| if nanos == 0 { u64::MAX / 4 } else { nanos };
        let secure: Vec<(String, String)> = item("secure_scheme_headers")?.extract()?;
        Ok(Options {
            keepalive: seconds("keepalive")?.min(u64::MAX / 4),
            worker_connections: usize::try_from(number("worker_connections")?)?.max(1),
            max_requests: number("max_requests")?,
            timeout: seconds("timeout")?,
            graceful_timeout: seconds("graceful_timeout")?,
            threads: item("threads")?.extract()?,
            threaded: flag("threaded")?,
            request_head_timeout: endless(seconds("request_head_timeout")?),
            request_timeout: seconds("request_timeout")?,
            max_queue_wait: seconds("max_queue_wait")?,
            limit_request_body: match number("limit_request_body")? {
                0 => u64::MAX,
                limit => limit,
            },
            request_buffer: usize::try_from(number("request_buffer")?)?,
            response_buffer: usize::try_from(number("response_buffer")?)?,
            proxy: match item("proxy_protocol")?.extract::<String>()?.as_str() {
                "v1" => proxy::Mode::V1,
                "v2" => proxy::Mode::V2,
                "auto" => proxy::Mode::Auto,
                _ => proxy::Mode::Off,
            },
            proxies: addresses("proxy_allow_ips")?,
            sendfile: flag("sendfile")?,
            http: Arc::new(http),
            trust: addresses("forwarded_allow_ips")?,
            secure: secure.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect(),
            script_name: item("script_name")?.extract::<String>()?.chars().map(|c| c as u8).collect(),
        })
    }
}
