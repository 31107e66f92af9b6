//! What daemon and worker must agree on: messages, scoreboard, worker configuration.
//!
//! Nothing here opens, maps or sends: both sides bring their own descriptors and memory. Everything that comes from a
//! forkserver or worker is hostile input to the arbiter: decode with [`decode`], range-check what the scoreboard says.

pub mod hand_off;
pub mod message;
pub mod scoreboard;
pub mod value;

pub use message::{ArbiterSays, Order, Report, WorkerSays};
pub use value::PyValue;

/// Version of the messages. Both sides must have the same.
pub const WIRE_VERSION: u32 = 2;

/// Tells builds apart: package version and a fingerprint of this crate.
pub const BUILD_ID: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("RGUNICORN_WIRE_HASH"));

/// The version of Gunicorn whose behaviour, settings and `SERVER_SOFTWARE` this server stands in for.
pub const GUNICORN_VERSION: &str = "27.0.1";

/// This server's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Messages up to this many bytes travel in the datagram itself. SOCK_SEQPACKET sends die at about 208 KB; a bigger
/// message travels as a memfd: the datagram is then the four bytes `memf`, with the memfd as the first passed descriptor.
pub const MAX_INLINE: usize = 64 * 1024;

/// The datagram that stands for a message passed as a memfd.
pub const MEMFD_MARK: &[u8] = b"memf";

/// No message is longer than this, however it travels.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// Turns a message into the bytes of one datagram (or memfd).
pub fn encode<T: serde::Serialize>(message: &T) -> Vec<u8> {
    // Every message type is plain data with string keys, which serde_json cannot fail on.
    serde_json::to_vec(message).unwrap_or_default()
}

/// Reads one message; the error says what was wrong with it.
pub fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}
