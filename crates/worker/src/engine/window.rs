//! The bytes that a thread is parsing.

use super::conn::Conn;

/// Bytes read at once.
pub const READ_SIZE: usize = 64 * 1024;

/// The bytes read and not yet parsed: the thread's buffer, or the connection's own when something was left in it.
pub struct Window {
    /// The buffer.
    pub data: Vec<u8>,
    /// First byte that is not parsed.
    pub start: usize,
    /// End of what was read.
    pub end: usize,
    own: bool,
}

impl Window {
    pub fn take(conn: &mut Conn, buffer: &mut Vec<u8>) -> Self {
        if conn.input.is_empty() {
            Window { data: std::mem::take(buffer), start: 0, end: 0, own: false }
        } else {
            let data = std::mem::take(&mut conn.input);
            let end = data.len();
            Window { data, start: 0, end, own: true }
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room to read into. What has been parsed is given up for it; an incomplete head makes the buffer grow, within the
    /// parser's limits.
    pub fn room(&mut self) -> &mut [u8] {
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        } else if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = if self.own { READ_SIZE / 4 } else { READ_SIZE / 2 };
        if self.data.len() < self.end + room {
            self.data.resize(self.end + room, 0);
        }
        &mut self.data[self.end..]
    }

    /// Goes on with other bytes.
    pub fn refill(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.end = bytes.len();
            self.start = 0;
            self.data = bytes;
            self.own = true;
        }
    }

    /// Leaves what is unparsed with the connection, and the thread its buffer.
    pub fn give_back(self, conn: &mut Option<&mut Box<Conn>>, buffer: &mut Vec<u8>) {
        let Window { mut data, start, end, own } = self;
        if let (Some(conn), true) = (conn.as_mut(), end > start) {
            if own {
                data.truncate(end);
                data.drain(..start);
                conn.input = data;
                data = Vec::new();
            } else {
                conn.input = data[start..end].to_vec();
            }
        }
        if !own || buffer.is_empty() {
            data.resize(READ_SIZE, 0);
            *buffer = data;
        }
    }
}
