//! The access log: Gunicorn's formats, made without Python.
//!
//! A format that needs the environ (`%({X}e)s`), or anything but `%(name)s`, is left to the Python logger, as is every
//! line once somebody has added a filter or handler to `gunicorn.access`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rgunicorn_http::{Head, Version, percent_decode_into};
use rgunicorn_logs::{Clock, Writer, escape_into};

/// A compiled format and where its lines go.
#[derive(Debug)]
pub struct AccessLog {
    pieces: Vec<Piece>,
    writer: Writer,
    scratch: Mutex<(Clock, String)>,
    pid: u32,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Atom(Atom),
}

#[derive(Debug, PartialEq)]
enum Atom {
    Remote,
    Dash,
    User,
    Time,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    Bytes,
    BytesOrDash,
    Referer,
    Agent,
    Seconds,
    Millis,
    Micros,
    Decimal,
    Pid,
    RequestField(String),
    ResponseField(String),
}

/// What a line takes from the environ, where middleware may have changed it. In the order of [`EnvKey::NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvKey {
    /// The client's address.
    Remote,
    /// `Authorization`
    Authorization,
    /// The method.
    Method,
    /// The whole target.
    Target,
    /// The path.
    Path,
    /// The query.
    Query,
    /// The protocol.
    Protocol,
    /// `Referer`
    Referer,
    /// `User-Agent`
    Agent,
}

impl EnvKey {
    /// How the environ calls them.
    pub const NAMES: [&'static str; 9] = [
        "REMOTE_ADDR",
        "HTTP_AUTHORIZATION",
        "REQUEST_METHOD",
        "RAW_URI",
        "PATH_INFO",
        "QUERY_STRING",
        "SERVER_PROTOCOL",
        "HTTP_REFERER",
        "HTTP_USER_AGENT",
    ];
}

/// What was changed in the environ, by [`EnvKey`]: `None` where nothing was, and what is there now, if anything.
pub type Changed = [Option<Option<String>>; EnvKey::NAMES.len()];

/// One served request.
pub struct Record<'r> {
    /// Its head; spans refer to `bytes`.
    pub head: &'r Head,
    /// The head's bytes.
    pub bytes: &'r [u8],
    /// The client.
    pub peer: Option<SocketAddr>,
    /// `200 OK`
    pub status: &'r [u8],
    /// The app's field lines.
    pub fields: &'r [u8],
    /// Its `Content-Length`, which is not among them.
    pub content_length: Option<u64>,
    /// Bytes of the path that are the script name.
    pub script_name: usize,
    /// Body bytes sent.
    pub sent: u64,
    /// Nanoseconds from the app's call to the last byte handed to the kernel.
    pub took: u64,
    /// What the environ says now, in place of what the request said.
    pub changed: &'r Changed,
}

impl AccessLog {
    /// Compiles a format; `None` if only Python's logger can make such lines.
    pub fn compile(format: &str, writer: Writer) -> Option<Self> {
        let pieces = parse(format)?;
        Some(AccessLog { pieces, writer, scratch: Mutex::default(), pid: std::process::id() })
    }

    /// Whether a format can be compiled.
    pub fn formats(format: &str) -> bool {
        parse(format).is_some()
    }

    /// The parts of the environ that are in its lines.
    pub fn wants(&self) -> Vec<EnvKey> {
        let mut all = Vec::new();
        for piece in &self.pieces {
            let Piece::Atom(atom) = piece else { continue };
            all.extend_from_slice(match atom {
                Atom::Remote => &[EnvKey::Remote],
                Atom::User => &[EnvKey::Authorization],
                Atom::RequestLine => &[EnvKey::Method, EnvKey::Target, EnvKey::Protocol],
                Atom::Method => &[EnvKey::Method],
                Atom::Path => &[EnvKey::Path],
                Atom::Query => &[EnvKey::Query],
                Atom::Protocol => &[EnvKey::Protocol],
                Atom::Referer => &[EnvKey::Referer],
                Atom::Agent => &[EnvKey::Agent],
                _ => &[][..],
            });
        }
        all.sort_unstable_by_key(|key| *key as usize);
        all.dedup();
        all
    }

    /// Writes the line of one request.
    pub fn write(&self, record: &Record<'_>) {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, line) = &mut *scratch;
        line.clear();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Atom(atom) => self.atom(atom, record, clock, line),
            }
        }
        line.push('\n');
        self.writer.push(line.as_bytes());
    }

    fn atom(&self, atom: &Atom, record: &Record<'_>, clock: &mut Clock, line: &mut String) {
        let text = |span| record.head.text(span, record.bytes);
        let micros = record.took / 1000;
        match atom {
            Atom::Remote => {
                if !record.put_changed(line, EnvKey::Remote, "-")
                    && let Some(peer) = record.peer
                {
                    put(line, format_args!("{}", peer.ip()));
                }
            }
            Atom::Dash => line.push('-'),
            Atom::User => {
                let user = match &record.changed[EnvKey::Authorization as usize] {
                    Some(now) => now.as_ref().and_then(|now| basic_user(now.as_bytes())),
                    None => record.request_field("authorization").and_then(basic_user),
                };
                match user {
                    Some(user) => escape_into(line, &user, true),
                    None => line.push('-'),
                }
            }
            Atom::Time => line.push_str(clock.access_stamp(SystemTime::now())),
            Atom::RequestLine => {
                self.atom(&Atom::Method, record, clock, line);
                line.push(' ');
                if !record.put_changed(line, EnvKey::Target, "None") {
                    latin1(line, text(record.head.target));
                }
                line.push(' ');
                self.atom(&Atom::Protocol, record, clock, line);
            }
            Atom::Method if record.put_changed(line, EnvKey::Method, "None") => {}
            Atom::Method => latin1(line, text(record.head.method)),
            Atom::Path if record.put_changed(line, EnvKey::Path, "None") => {}
            Atom::Path => {
                let path = text(record.head.path);
                let path = path.get(record.script_name..).unwrap_or(path);
                if path.contains(&b'%') {
                    let mut decoded = Vec::with_capacity(path.len());
                    percent_decode_into(path, &mut decoded);
                    latin1(line, &decoded);
                } else {
                    latin1(line, path);
                }
            }
            Atom::Query if record.put_changed(line, EnvKey::Query, "None") => {}
            Atom::Query => latin1(line, text(record.head.query)),
            Atom::Protocol if record.put_changed(line, EnvKey::Protocol, "None") => {}
            Atom::Protocol => protocol(line, record.head.version),
            Atom::Status => latin1(line, record.status.split(|&b| b == b' ').next().unwrap_or_default()),
            Atom::Bytes | Atom::BytesOrDash => put(line, format_args!("{}", record.sent)),
            Atom::Referer if record.put_changed(line, EnvKey::Referer, "-") => {}
            Atom::Referer => field(line, record.request_field("referer")),
            Atom::Agent if record.put_changed(line, EnvKey::Agent, "-") => {}
            Atom::Agent => field(line, record.request_field("user-agent")),
            Atom::Seconds => put(line, format_args!("{}", micros / 1_000_000)),
            Atom::Millis => put(line, format_args!("{}", micros / 1000)),
            Atom::Micros => put(line, format_args!("{micros}")),
            Atom::Decimal => put(line, format_args!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)),
            Atom::Pid => put(line, format_args!("<{}>", self.pid)),
            Atom::RequestField(name) => field(line, record.request_field(name)),
            Atom::ResponseField(name) if name == "content-length" => match record.content_length {
                Some(length) => put(line, format_args!("{length}")),
                None => line.push('-'),
            },
            Atom::ResponseField(name) => field(line, record.response_field(name)),
        }
    }
}

impl<'r> Record<'r> {
    /// Shows what somebody has put into the environ, or `missing` if it was taken out. False: nobody has.
    fn put_changed(&self, line: &mut String, key: EnvKey, missing: &str) -> bool {
        let Some(now) = &self.changed[key as usize] else { return false };
        match now {
            Some(now) => escape_into(line, now, true),
            None => line.push_str(missing),
        }
        true
    }

    /// The last field of this (lower-case) name.
    fn request_field(&self, name: &str) -> Option<&'r [u8]> {
        let text = |span| self.head.text(span, self.bytes);
        let mut fields = self.head.fields.iter().rev();
        fields.find(|field| text(field.name).eq_ignore_ascii_case(name.as_bytes())).map(|field| text(field.value))
    }

    fn response_field(&self, name: &str) -> Option<&'r [u8]> {
        self.fields
            .split(|&b| b == b'\n')
            .filter_map(|line| {
                let at = memchr::memchr(b':', line)?;
                line[..at].eq_ignore_ascii_case(name.as_bytes()).then(|| line[at + 1..].trim_ascii())
            })
            .next_back()
    }
}

fn parse(format: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let inside = rest.strip_prefix('(')?;
        let end = inside.find(")s")?;
        let atom = atom(&inside[..end])?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Atom(atom));
        rest = &inside[end + 2..];
    }
    text.push_str(rest);
    pieces.push(Piece::Text(text));
    Some(pieces)
}

fn atom(name: &str) -> Option<Atom> {
    if let Some(inside) = name.strip_prefix('{') {
        let (field, kind) = inside.split_once('}')?;
        let field = field.to_ascii_lowercase();
        return match kind {
            "i" => Some(Atom::RequestField(field)),
            "o" => Some(Atom::ResponseField(field)),
            "e" => None, // the environ is Python's
            _ => Some(Atom::Dash),
        };
    }
    Some(match name {
        "h" => Atom::Remote,
        "u" => Atom::User,
        "t" => Atom::Time,
        "r" => Atom::RequestLine,
        "m" => Atom::Method,
        "U" => Atom::Path,
        "q" => Atom::Query,
        "H" => Atom::Protocol,
        "s" => Atom::Status,
        "B" => Atom::Bytes,
        "b" => Atom::BytesOrDash,
        "f" => Atom::Referer,
        "a" => Atom::Agent,
        "T" => Atom::Seconds,
        "M" => Atom::Millis,
        "D" => Atom::Micros,
        "L" => Atom::Decimal,
        "p" => Atom::Pid,
        // `l`, and whatever is unknown, as Gunicorn
        _ => Atom::Dash,
    })
}

fn put(line: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = line.write_fmt(text);
}

fn field(line: &mut String, value: Option<&[u8]>) {
    match value {
        Some(value) => latin1(line, value),
        None => line.push('-'),
    }
}

/// Appends bytes as latin-1 text, with quotes and control characters escaped.
fn latin1(line: &mut String, bytes: &[u8]) {
    if bytes.iter().all(|&b| (0x20..0x7f).contains(&b) && b != b'"') {
        line.extend(bytes.iter().map(|&b| b as char));
        return;
    }
    let text: String = bytes.iter().map(|&b| b as char).collect();
    escape_into(line, &text, true);
}

fn protocol(line: &mut String, version: Version) {
    match version {
        Version::Http11 => line.push_str("HTTP/1.1"),
        Version::Http10 => line.push_str("HTTP/1.0"),
        Version::Other(major, minor) => put(line, format_args!("HTTP/{major}.{minor}")),
    }
}

/// The user name of `Authorization: Basic …` (RFC 7617).
fn basic_user(value: &[u8]) -> Option<String> {
    let (scheme, credentials) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(credentials.trim_ascii()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, _)| user.to_owned()).filter(|user| !user.is_empty())
}
