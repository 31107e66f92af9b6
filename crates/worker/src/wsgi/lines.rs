//! The head lines that are the server's.

use std::sync::{Mutex, PoisonError};

/// The response lines that are the same for every response of a second.
#[derive(Debug)]
pub struct ServerLines {
    lines: Vec<u8>,
    date: Mutex<(u64, Vec<u8>)>,
}

impl ServerLines {
    /// For these field lines, each with its CRLF (`Server: …`). None leaves the Date out.
    pub fn new(lines: Vec<u8>) -> Self {
        ServerLines { lines, date: Mutex::new((u64::MAX, Vec::new())) }
    }

    /// Appends them, with the date.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.lines);
        let wall = std::time::SystemTime::now();
        let second = wall.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        if date.0 != second {
            *date = (second, format!("Date: {}\r\n", httpdate::fmt_http_date(wall)).into_bytes());
        }
        out.extend_from_slice(&date.1);
    }
}
