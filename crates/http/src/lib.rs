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
//! Not here: PROXY protocol, what a trusted peer's fields mean, timeouts, writing to anything.
#![forbid(unsafe_code)]

mod bytes;
mod chunks;
mod decoder;
mod error;
mod event;
mod facts;
mod fields;
mod name;
mod options;
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
