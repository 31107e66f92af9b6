//! Everything that a peer can do wrong, the status it gets and the words for it.

use std::fmt;

/// Why a request was refused. After one, nothing more on the connection can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Display says each in words")]
pub enum Error {
    RequestLine(Excerpt),
    Method(Excerpt),
    Target(Excerpt),
    Version(Excerpt),
    /// CR or LF that is not part of a CRLF.
    LineEnd,
    RequestLineTooLong {
        limit: usize,
    },
    TooManyFields {
        limit: usize,
    },
    FieldTooLarge {
        limit: usize,
    },
    HeadTooLarge,
    /// A line without a colon.
    FieldLine(Excerpt),
    FieldName(Excerpt),
    /// A control character in the value of the field of this name.
    FieldValue(Excerpt),
    Folding(Excerpt),
    /// A second field of a name that can't be a list.
    Repeated(&'static str),
    NoHost,
    Host(Excerpt),
    ContentLength(Excerpt),
    TransferEncoding(Excerpt),
    /// Both Content-Length and Transfer-Encoding.
    TwoFramings,
    UnsupportedCoding(Excerpt),
    Expectation(Excerpt),
    ChunkSize,
    ChunkExtension,
    ChunkEnd,
    /// A field that may not be in a trailer section.
    Trailer(Excerpt),
    TrailersTooLarge,
    /// A PROXY header of version 1.
    ProxyLine(Excerpt),
    /// A PROXY header of version 2.
    ProxyHeader(&'static str),
    /// A PROXY header from a peer that is none of `proxy_allow_ips`.
    ProxyForbidden,
    Truncated,
}

impl Error {
    /// The status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            Error::RequestLineTooLong { .. } => 414,
            Error::TooManyFields { .. } | Error::FieldTooLarge { .. } | Error::HeadTooLarge => 431,
            Error::ProxyForbidden => 403,
            Error::Expectation(_) => 417,
            Error::UnsupportedCoding(_) => 501,
            _ => 400,
        }
    }

    /// This error, met in a trailer section: what 431 says is about heads.
    pub(crate) fn of_trailers(self) -> Error {
        match self {
            Error::TooManyFields { .. } | Error::FieldTooLarge { .. } => Error::TrailersTooLarge,
            other => other,
        }
    }

    /// The reason phrase that goes with [`Error::status`].
    pub fn reason(&self) -> &'static str {
        match self.status() {
            403 => "Forbidden",
            414 => "URI Too Long",
            417 => "Expectation Failed",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            _ => "Bad Request",
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::RequestLine(line) => write!(f, "Invalid request line: {line}"),
            Error::Method(method) => write!(f, "Invalid HTTP method: {method}"),
            Error::Target(target) => write!(f, "Invalid request target: {target}"),
            Error::Version(version) => write!(f, "Invalid HTTP version: {version}"),
            Error::LineEnd => f.write_str("Invalid line end: CR or LF on its own"),
            Error::RequestLineTooLong { limit } => write!(f, "Request line is too large (limit is {limit} bytes)"),
            Error::TooManyFields { limit } => write!(f, "Too many request header fields (limit is {limit})"),
            Error::FieldTooLarge { limit } => write!(f, "Request header field is too large (limit is {limit} bytes)"),
            Error::HeadTooLarge => f.write_str("Request header is too large"),
            Error::FieldLine(line) => write!(f, "Invalid HTTP header: {line} has no colon"),
            Error::FieldName(name) => write!(f, "Invalid HTTP header name: {name}"),
            Error::FieldValue(name) => write!(f, "Invalid HTTP header: control character in the value of {name}"),
            Error::Folding(name) => write!(f, "Obsolete line folding is not accepted: {name}"),
            Error::Repeated(name) => write!(f, "Invalid HTTP header: {name} sent more than once"),
            Error::NoHost => f.write_str("Invalid HTTP/1.1 request: no Host"),
            Error::Host(host) => write!(f, "Invalid HTTP header: Host {host}"),
            Error::ContentLength(value) => write!(f, "Invalid HTTP header: Content-Length {value}"),
            Error::TransferEncoding(value) => write!(f, "Invalid HTTP header: Transfer-Encoding {value}"),
            Error::TwoFramings => f.write_str("Invalid HTTP header: both Content-Length and Transfer-Encoding"),
            Error::UnsupportedCoding(coding) => write!(f, "Unsupported transfer coding: {coding}"),
            Error::Expectation(value) => write!(f, "Unable to meet the expectation: {value}"),
            Error::ChunkSize => f.write_str("Invalid chunk size"),
            Error::ChunkExtension => f.write_str("Invalid or too long chunk extension"),
            Error::ChunkEnd => f.write_str("Invalid chunk: its data does not end in CRLF"),
            Error::Trailer(name) => write!(f, "Field not allowed in a trailer section: {name}"),
            Error::TrailersTooLarge => f.write_str("Too many or too large trailer fields"),
            Error::ProxyLine(line) => write!(f, "Invalid PROXY line: {line}"),
            Error::ProxyHeader(why) => write!(f, "Invalid PROXY header: {why}"),
            Error::ProxyForbidden => f.write_str("PROXY header from a peer that may not send one"),
            Error::Truncated => f.write_str("Connection closed in the middle of a request"),
        }
    }
}

/// The offending bytes, as many as help.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt {
    bytes: Box<[u8]>,
    cut: bool,
}

impl Excerpt {
    const MAX: usize = 64;

    pub(crate) fn of(bytes: &[u8]) -> Excerpt {
        let shown = bytes.get(..Excerpt::MAX).unwrap_or(bytes);
        Excerpt { bytes: shown.into(), cut: shown.len() < bytes.len() }
    }
}

/// In quotes and escaped: fit for a log line.
impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'{}", self.bytes.escape_ascii(), if self.cut { "..." } else { "" })
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
