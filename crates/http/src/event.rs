//! What a [`Decoder`](crate::Decoder) says, and the head of a request.

use crate::Name;

/// Where a piece of text is.
///
/// Normally an offset into the input of the `advance` call that returned the event. The text of a folded value or of
/// a casefolded method is not in the input: [`Head::text`] finds either kind, [`Span::of`] gives `b""` for those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

/// Set in `start` of a span into [`Head::rewritten`]. No input that is looked at in one call reaches this far.
const REWRITTEN: u32 = 1 << 31;

/// The most input that one call looks at: every offset fits in a span.
pub(crate) const MAX_INPUT: usize = (REWRITTEN - 1) as usize;

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= MAX_INPUT);
        Span { start: start as u32, len: end.saturating_sub(start) as u32 }
    }

    /// The text, out of the input that belongs to it.
    pub fn of<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        input.get(start..start.saturating_add(self.len as usize)).unwrap_or_default()
    }
}

/// A request's protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// Another one: HTTP/1.2 to 1.9, or anything if `permit_unconventional_http_version` says so.
    Other(u8, u8),
}

impl Version {
    /// Major and minor number.
    pub fn numbers(self) -> (u8, u8) {
        match self {
            Version::Http10 => (1, 0),
            Version::Http11 => (1, 1),
            Version::Other(major, minor) => (major, minor),
        }
    }

    /// Whether the peer knows what came with HTTP/1.1: chunked bodies, 100 Continue, connections that stay.
    pub fn at_least_11(self) -> bool {
        self.numbers() >= (1, 1)
    }
}

/// How a request's body ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Neither Content-Length nor Transfer-Encoding: there is no body.
    #[default]
    None,
    /// A body of so many bytes.
    Length(u64),
    /// A body in chunks.
    Chunked,
}

/// One field of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as it was sent; a token.
    pub name: Span,
    /// The value without blanks around it. A folded one is its lines so trimmed, joined by one blank, as in Gunicorn.
    pub value: Span,
    /// Which of the well-known names it is.
    pub known: Name,
}

/// The head of a request. All spans are into the input of the call that returned [`Event::Head`].
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// A token; by default without lower case letters.
    pub method: Span,
    /// The target as it was sent: printable ASCII.
    pub target: Span,
    /// The part of the target that is the path, still percent-encoded. Empty for `CONNECT`, and for an absolute form
    /// that has none.
    pub path: Span,
    /// The part of the target between `?` and the fragment, or empty.
    pub query: Span,
    /// The version.
    pub version: Version,
    /// All fields that were kept, in the order they came in: without those that `header_map` drops, and without `Proxy`.
    pub fields: Vec<Field>,
    /// How the body ends.
    pub framing: Framing,
    /// The peer lets the connection be used again.
    pub keep_alive: bool,
    /// The peer waits for "100 Continue" before it sends the body.
    pub expect_continue: bool,
    /// `Connection` names `upgrade`.
    pub upgrade: bool,
    /// Index of the Host field.
    pub host: Option<u16>,
    /// Index of the Content-Type field.
    pub content_type: Option<u16>,
    /// Text that had to be put together: unfolded values, the casefolded method.
    pub(crate) rewritten: Vec<u8>,
}

impl Head {
    /// The text of one of this head's spans, out of the input that belongs to it.
    pub fn text<'a>(&'a self, span: Span, input: &'a [u8]) -> &'a [u8] {
        match span.start & REWRITTEN {
            0 => span.of(input),
            _ => Span { start: span.start & !REWRITTEN, len: span.len }.of(&self.rewritten),
        }
    }

    /// A span of what is in `rewritten` from `start` on.
    pub(crate) fn rewritten_since(&self, start: usize) -> Span {
        rewritten_span(start, self.rewritten.len())
    }

    pub(crate) fn clear(&mut self) {
        let (mut fields, mut rewritten) = (std::mem::take(&mut self.fields), std::mem::take(&mut self.rewritten));
        fields.clear();
        rewritten.clear();
        *self = Head { fields, rewritten, ..Head::default() };
    }
}

pub(crate) fn rewritten_span(start: usize, end: usize) -> Span {
    let span = Span::new(start, end);
    Span { start: span.start | REWRITTEN, len: span.len }
}

/// What [`Decoder::advance`](crate::Decoder::advance) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing more without more bytes.
    NeedMore,
    /// A head is complete: see [`Decoder::head`](crate::Decoder::head).
    Head,
    /// Bytes of the body; in this call's input.
    Data(Span),
    /// The message is complete. The next call begins the next one.
    End,
}
