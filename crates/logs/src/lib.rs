//! Log lines as Gunicorn writes them, and a writer that never makes its caller wait for a slow disk or pipe.
//!
//! Shared by the daemon (error log) and the workers (access log). It starts no thread before the first line is pushed,
//! so that a process may fork first.

mod line;
mod target;
mod writer;

pub use line::{Clock, Level, error_line, escape_into};
pub use writer::{Writer, WriterStats};
