//! HTTP/1.x as a state machine: bytes in, events out. No sockets, no clock, no Python.
//!
//! [`Decoder::advance`] is given every byte that has not been consumed yet and answers with one [`Event`]. What it
//! says depends on the bytes alone, never on how they were cut: an error belongs to the first byte that proves it, so
//! a request fed whole, split anywhere or byte by byte gives the same events. Each byte is looked at a bounded number
//! of times, whatever the pieces.
//!
//! Strictness is not a setting. A message has one framing (RFC 9112, section 6), lines end in CRLF, numbers are
//! digits; whatever two readers could understand differently is refused. The few doors that Gunicorn has
//! (`permit_*`, `strip_header_spaces`, `header_map`) are in [`Options`] and closed by default.
//!
//! What the RFCs leave open, or Gunicorn does otherwise (each has its test in `tests/it/rules.rs`):
//!
//! - One empty line (CRLF) before a request is skipped, a second is refused. As Gunicorn.
//! - HTTP/1.1 without a Host is accepted unless [`Options::require_host`]. As Gunicorn.
//! - The host of an absolute-form target is not looked at: the app sees Host. As Gunicorn.
//! - Host, Content-Type and Content-Length come once at most, even with the same value. As Gunicorn.
//! - `Content_Length` and `Transfer_Encoding` are refused whatever `header_map` says; `Proxy` is left out (httpoxy).
//! - Fields that are left out count against the limit of fields. In Gunicorn they don't.
//! - The only transfer coding is `chunked`. Others are 501, and 400 if the last one is known and not `chunked`.
//! - Framing and Host are never folded, even where folding is permitted.
//! - Trailers have the limits and the underscore rules of heads, but trust nobody; what is wrong with them is 400.
//! - After CONNECT the connection is not used again, whatever the app answers. As Gunicorn.
//!
//! Not here: what a trusted peer's fields mean, timeouts, writing to anything.
#![forbid(unsafe_code)]

mod bytes;
mod chunks;
mod decoder;
mod error;
mod event;
mod facts;
mod fields;
#[cfg(test)]
mod linear;
mod name;
mod options;
pub mod proxy;
mod request_line;
pub mod response;
mod target;

pub use decoder::Decoder;
pub use error::{Error, Excerpt};
pub use event::{Event, Field, Framing, Head, Span, Version};
pub use name::Name;
pub use options::{HeaderMap, Options};
pub use response::error_response;
pub use target::{Target, percent_decode_into, split_target};
