//! The PROXY protocol, versions 1 and 2: what a proxy says about the real client before the first request.
//!
//! [`parse`] is a function of all the bytes of the connection so far, so there is nothing to keep between two calls: a
//! version 1 header has at most 107 bytes, and of version 2 only the fixed part is looked at. Once it has answered
//! anything but [`Step::NeedMore`], more bytes don't change the answer. The header is optional, as in Gunicorn: a
//! connection that begins with anything else is [`Step::NotProxy`], and all of it is HTTP.
//!
//! If the peer closes while more is needed, the connection has begun with nothing that can be answered:
//! [`Error::Truncated`], or nothing at all if no byte has come.
//!
//! The rules are those of HAProxy's `proxy-protocol.txt`, and where it leaves a choice:
//!
//! - Version 1 `UNKNOWN` is refused unless [`Rules::permit_unknown`]: Gunicorn's WSGI workers refuse it, its ASGI worker
//!   doesn't.
//! - Version 2 `LOCAL`, unspecified and unix addresses are accepted and say nothing about the client: the connection's own
//!   addresses hold. (Gunicorn refuses unix.) Datagrams are refused.
//! - What follows the addresses of version 2 (TLVs) is skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use memchr::memchr2;

use crate::{Error, Excerpt};

const V1_START: &[u8] = b"PROXY ";
/// The longest line of version 1, its CRLF included.
const V1_MAX: usize = 107;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of a version 2 header.
const V2_FIXED: usize = 16;

/// `proxy_protocol`: which versions are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Neither: the connection begins with HTTP.
    #[default]
    Off,
    /// Only the text form.
    V1,
    /// Only the binary form.
    V2,
    /// Either.
    Auto,
}

/// What holds for a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The forms that are understood.
    pub mode: Mode,
    /// Whether the peer is one of `proxy_allow_ips`. From another one a header is refused with 403 as soon as it is seen to
    /// be one.
    pub allowed: bool,
    /// Accept version 1 `UNKNOWN`, as health checks of HAProxy send it.
    pub permit_unknown: bool,
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The beginning of a header, perhaps.
    NeedMore,
    /// No header: every byte belongs to HTTP.
    NotProxy,
    /// A header of so many bytes; HTTP follows.
    Header(usize, Header),
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the connection to the proxy.
    pub protocol: Protocol,
    /// Its ends, if the header tells them.
    pub endpoints: Option<Endpoints>,
}

/// The ends of the connection that the proxy accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The client.
    pub source: SocketAddr,
    /// The address at which it reached the proxy.
    pub destination: SocketAddr,
}

/// The kind of the connection to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP over IPv4
    Tcp4,
    /// TCP over IPv6
    Tcp6,
    /// A unix socket (version 2).
    Unix,
    /// Something else (version 2).
    Unspecified,
    /// Something else (version 1).
    Unknown,
    /// The proxy speaks for itself (version 2): a health check.
    Local,
}

impl Protocol {
    /// As in `environ["PROXY_PROTOCOL"]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp4 => "TCP4",
            Protocol::Tcp6 => "TCP6",
            Protocol::Unix => "UNIX",
            Protocol::Unspecified => "UNSPEC",
            Protocol::Unknown => "UNKNOWN",
            Protocol::Local => "LOCAL",
        }
    }
}

/// Looks at all the bytes of a connection so far.
pub fn parse(input: &[u8], rules: &Rules) -> Result<Step, Error> {
    let v1 = matches!(rules.mode, Mode::V1 | Mode::Auto).then(|| begins(input, V1_START)).flatten();
    let v2 = matches!(rules.mode, Mode::V2 | Mode::Auto).then(|| begins(input, V2_SIGNATURE)).flatten();
    match (v1, v2) {
        (Some(true), _) | (_, Some(true)) if !rules.allowed => Err(Error::ProxyForbidden),
        (Some(true), _) => line(input, rules),
        (_, Some(true)) => binary(input),
        (None, None) => Ok(Step::NotProxy),
        _ => Ok(Step::NeedMore),
    }
}

/// `None`: it doesn't. `Some(false)`: it does as far as it goes.
fn begins(input: &[u8], start: &[u8]) -> Option<bool> {
    let length = input.len().min(start.len());
    (input[..length] == start[..length]).then_some(length == start.len())
}

/// Version 1: `PROXY TCP4 source destination port port CRLF`.
fn line(input: &[u8], rules: &Rules) -> Result<Step, Error> {
    let window = input.get(..V1_MAX).unwrap_or(input);
    let wrong = |line: &[u8]| Error::ProxyLine(Excerpt::of(line));
    let end = match memchr2(b'\r', b'\n', window) {
        Some(end) => end,
        None if window.len() < V1_MAX => return Ok(Step::NeedMore),
        None => return Err(wrong(window)),
    };
    let text = &window[..end];
    match (window[end], window.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if end + 1 < V1_MAX => return Ok(Step::NeedMore),
        _ => return Err(wrong(text)),
    }
    let header = text_header(&text[V1_START.len()..], rules.permit_unknown).ok_or_else(|| wrong(text))?;
    Ok(Step::Header(end + 2, header))
}

fn text_header(text: &[u8], permit_unknown: bool) -> Option<Header> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split(' ');
    let protocol = match parts.next()? {
        "TCP4" => Protocol::Tcp4,
        "TCP6" => Protocol::Tcp6,
        // What follows it is to be ignored.
        "UNKNOWN" if permit_unknown => return Some(Header { protocol: Protocol::Unknown, endpoints: None }),
        _ => return None,
    };
    let mut address = || {
        let text = parts.next()?;
        match protocol {
            Protocol::Tcp4 => Ipv4Addr::from_str(text).ok().map(IpAddr::from),
            _ => Ipv6Addr::from_str(text).ok().map(IpAddr::from),
        }
    };
    let (source, destination) = (address()?, address()?);
    let (source_port, destination_port) = (port(parts.next()?)?, port(parts.next()?)?);
    let endpoints = Endpoints {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    };
    parts.next().is_none().then_some(Header { protocol, endpoints: Some(endpoints) })
}

/// Decimal, without a sign or zeros before it.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Version 2. What is wrong is said as soon as the byte that is wrong has come.
fn binary(input: &[u8]) -> Result<Step, Error> {
    let Some(&command) = input.get(12) else { return Ok(Step::NeedMore) };
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ if command >> 4 != 2 => return Err(Error::ProxyHeader("unknown version")),
        _ => return Err(Error::ProxyHeader("unknown command")),
    };
    let Some(&family) = input.get(13) else { return Ok(Step::NeedMore) };
    let (protocol, addresses) = match family {
        // The proxy's own connection: the family is to be ignored.
        _ if local => (Protocol::Local, 0),
        0x00 | 0x01 => (Protocol::Unspecified, 0),
        0x11 => (Protocol::Tcp4, 12),
        0x21 => (Protocol::Tcp6, 36),
        0x31 => (Protocol::Unix, 216),
        _ if family & 0xf != 1 => return Err(Error::ProxyHeader("only streams are understood")),
        _ => return Err(Error::ProxyHeader("unknown address family")),
    };
    let Some(&[high, low]) = input.get(14..V2_FIXED).and_then(|length| length.first_chunk()) else {
        return Ok(Step::NeedMore);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < addresses {
        return Err(Error::ProxyHeader("too short for its addresses"));
    }
    let Some(block) = input.get(V2_FIXED..V2_FIXED + length) else { return Ok(Step::NeedMore) };
    let endpoints = match protocol {
        Protocol::Tcp4 => endpoints::<4>(block),
        Protocol::Tcp6 => endpoints::<16>(block),
        _ => None,
    };
    Ok(Step::Header(V2_FIXED + length, Header { protocol, endpoints }))
}

/// Two addresses of `N` bytes, then two ports.
fn endpoints<const N: usize>(block: &[u8]) -> Option<Endpoints>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let destination_port = rest.first_chunk()?;
    let end = |address: &[u8; N], port: &[u8; 2]| SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port));
    Some(Endpoints { source: end(source, source_port), destination: end(destination, destination_port) })
}

#[cfg(test)]
mod tests;
