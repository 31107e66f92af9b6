//! One request's response on its way to the client, shared by everything the app holds: `start_response`, `write`,
//! `wsgi.input`, `wsgi.early_hints`. No Python in here: callers detach around what sends or waits.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::poll::PollFlags;
use pyo3::pybacked::PyBackedBytes;
use rgunicorn_http::Version;
use rgunicorn_http::response::{BodyPlan, chunk_head, plan};

use super::body::{BadBody, BodyError, Piece, read_piece};
use super::lines::ServerLines;
use super::pulse::{Patience, Pulse};
use crate::engine::Conn;

/// How far the response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// `start_response` has not been called.
    Unset,
    /// It has; nothing is sent.
    Set,
    /// The head is sent.
    Sent,
}

/// What `start_response` said.
#[derive(Debug, Default)]
pub struct AppHead {
    /// `200 OK`
    pub status: Vec<u8>,
    /// Its code.
    pub code: u16,
    /// Field lines, `Name: value\r\n` each, without those that are the server's.
    pub fields: Vec<u8>,
    /// `Content-Length`, kept apart.
    pub content_length: Option<u64>,
    /// The app upgrades the connection (`Connection: upgrade`).
    pub upgrade: bool,
}

impl AppHead {
    /// Empties it for the next request, keeping the memory.
    pub fn reset(&mut self) {
        self.status.clear();
        self.fields.clear();
        self.code = 0;
        self.content_length = None;
        self.upgrade = false;
    }
}

/// The response's state.
#[derive(Debug)]
pub struct State {
    /// The connection, while the request runs.
    pub conn: Option<Box<Conn>>,
    /// How far it is.
    pub stage: Stage,
    /// What the app said.
    pub app: AppHead,
    /// The memory for the next one.
    pub spare: AppHead,
    /// The request's version.
    pub version: Version,
    /// The request is a HEAD.
    pub is_head: bool,
    /// The connection may stay open after it.
    pub keep_alive: bool,
    /// The request's body has not been read to its end.
    pub body_open: bool,
    /// How the body is framed, once the head is sent.
    pub plan: BodyPlan,
    /// Bytes of the body that may still be sent, where its length was promised.
    pub left: u64,
    /// Body bytes sent (handed to the kernel or kept for it).
    pub sent: u64,
    /// The client is gone or got a 504: nothing more is sent.
    pub dead: bool,
    /// The client has broken the connection off.
    pub gone: bool,
    /// What was wrong with the request's body, if the app found out while reading it.
    pub bad_body: Option<BadBody>,
    /// Counts requests: what the app kept of an earlier one must not reach this one.
    pub turn: u64,
    /// The scratch for heads.
    pub scratch: Vec<u8>,
    /// With the sender of the body, and with the reader of the response.
    reading: Patience,
    writing: Patience,
}

/// See the module's head.
#[derive(Debug)]
pub struct Exchange {
    state: Mutex<State>,
    /// Heart and sentinel.
    pub pulse: Pulse,
    /// `Server:` line, Date line source.
    pub lines: Arc<ServerLines>,
}

impl Exchange {
    /// Without a request yet.
    pub fn new(pulse: Pulse, lines: Arc<ServerLines>) -> Self {
        let state = State {
            conn: None,
            stage: Stage::Unset,
            app: AppHead::default(),
            spare: AppHead::default(),
            version: Version::Http11,
            is_head: false,
            keep_alive: false,
            body_open: false,
            plan: BodyPlan::None,
            left: 0,
            sent: 0,
            dead: true,
            gone: false,
            bad_body: None,
            turn: 0,
            scratch: Vec::new(),
            reading: Patience::default(),
            writing: Patience::default(),
        };
        Exchange { state: Mutex::new(state), pulse, lines }
    }

    /// The state; held for moments only, never over a wait.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins. The connection follows with [`Exchange::give`], once the app can be called. Returns its turn.
    pub fn begin(&self, version: Version, is_head: bool, keep_alive: bool, body_open: bool) -> u64 {
        let mut state = self.lock();
        state.stage = Stage::Unset;
        state.app.reset();
        state.version = version;
        state.is_head = is_head;
        state.keep_alive = keep_alive;
        state.body_open = body_open;
        state.plan = BodyPlan::None;
        state.left = 0;
        state.sent = 0;
        state.dead = false;
        state.gone = false;
        state.bad_body = None;
        state.reading = Patience::default();
        state.writing = Patience::default();
        state.turn += 1;
        state.turn
    }

    /// Whether the worker has to leave now.
    pub fn leaves(&self) -> bool {
        self.pulse.quits()
    }

    /// Hands over the connection.
    pub fn give(&self, conn: Box<Conn>) {
        self.lock().conn = Some(conn);
    }

    /// Sends a piece of the body, and the head before the first one. What the client does not take at once is kept. True:
    /// that is more than should be, see [`Exchange::wait_for_room`].
    pub fn write(&self, data: &[u8]) -> bool {
        let mut state = self.lock();
        let state = &mut *state;
        let mut head = std::mem::take(&mut state.scratch);
        head.clear();
        if state.stage != Stage::Sent {
            self.head(state, &mut head, None);
        }
        let data = state.clip(data);
        if !(state.dead || head.is_empty() && data.is_empty()) {
            let result = match state.plan {
                BodyPlan::Chunked if !data.is_empty() => {
                    chunk_head(data.len(), &mut head);
                    state.send(&[&head, data, b"\r\n"])
                }
                _ => state.send(&[&head, data]),
            };
            state.dead |= result.is_err();
            self.pulse.beat();
        }
        state.scratch = head;
        state.conn.as_ref().is_some_and(|conn| !state.dead && conn.out.buffered > self.pulse.vitals.response_buffer)
    }

    /// Prepares the whole response into `out` (head and framed body); the caller sends it.
    /// `body` is all there is. False: nothing is to be sent (the client got a 504).
    pub fn whole_head(&self, state: &mut State, out: &mut Vec<u8>, length: u64) -> bool {
        self.head(state, out, Some(length));
        !state.dead
    }

    /// Sends a whole response with a big body, of which the connection keeps what the client does not take at once. What
    /// comes back is to be dropped attached.
    pub fn send_object(&self, head: &[u8], body: PyBackedBytes, length: usize) -> Option<PyBackedBytes> {
        let mut state = self.lock();
        let Some(conn) = state.conn.as_mut() else { return Some(body) };
        match conn.send_object(head, body, length, self.pulse.vitals.response_buffer) {
            Ok(back) => back,
            Err(back) => {
                state.dead = true;
                state.gone = true;
                Some(back)
            }
        }
    }

    /// Sends a file's part as the rest of the body.
    pub fn write_file(&self, fd: OwnedFd, offset: i64, length: u64) {
        let mut state = self.lock();
        let state = &mut *state;
        let mut head = std::mem::take(&mut state.scratch);
        head.clear();
        if state.stage != Stage::Sent {
            self.head(state, &mut head, None);
        }
        let length = match state.plan {
            BodyPlan::None => 0,
            BodyPlan::Length(_) => length.min(state.left),
            _ => length,
        };
        if !state.dead {
            let chunked = matches!(state.plan, BodyPlan::Chunked) && length > 0;
            if chunked {
                chunk_head(usize::try_from(length).unwrap_or(usize::MAX), &mut head);
            }
            let mut result = state.send(&[&head]);
            if length > 0 && result.is_ok() {
                state.sent += length;
                state.left = state.left.saturating_sub(length);
                result = state.conn.as_mut().map_or(Ok(()), |conn| conn.send_file(fd, offset, length));
                if chunked && result.is_ok() {
                    result = state.send(&[b"\r\n"]);
                }
            }
            state.dead |= result.is_err();
            self.pulse.beat();
        }
        state.scratch = head;
    }

    /// Ends the response: sends the head if nothing did, and the last chunk.
    pub fn finish(&self) {
        let _ = self.write(b"");
        let mut state = self.lock();
        if !state.dead && matches!(state.plan, BodyPlan::Chunked) {
            let result = state.send(&[b"0\r\n\r\n"]);
            state.dead |= result.is_err();
        }
    }

    /// Sends an interim response (103). Nothing happens on HTTP/1.0 or once the head is sent.
    pub fn interim(&self, text: &[u8]) {
        let mut state = self.lock();
        if state.stage == Stage::Sent || state.version != Version::Http11 || state.dead {
            return;
        }
        let result = state.send(&[text]);
        state.dead |= result.is_err();
    }

    /// Appends the response's head to `out`, and settles the framing. `whole`: the length of the body, when all of it is
    /// known. Only one of this and the sentinel's 504 gets to answer.
    fn head(&self, state: &mut State, out: &mut Vec<u8>, whole: Option<u64>) {
        if !self.pulse.seat.in_flight.claim() {
            state.dead = true;
            state.keep_alive = false;
            state.stage = Stage::Sent;
            return;
        }
        // A length that is no more than what one happens to see says nothing about the GET that a HEAD or 304 stands for.
        let whole = whole.filter(|&length| state.app.code != 304 && !(state.is_head && length == 0));
        let length = state.app.content_length.or(whole);
        let (body, send_length) = plan(state.version, state.is_head, state.app.code, length);
        state.plan = body;
        state.left = length.unwrap_or(0);
        // What the client still sends of its request, or of another protocol, would be taken for the next one.
        state.keep_alive &= !(state.body_open || matches!(body, BodyPlan::UntilClose) || state.app.code == 101);
        // As Gunicorn does: a client of HTTP/1.0 is answered in its own version.
        out.extend_from_slice(if state.version == Version::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        out.extend_from_slice(&state.app.status);
        out.extend_from_slice(b"\r\n");
        self.lines.append(out);
        out.extend_from_slice(if state.app.upgrade {
            b"Connection: upgrade\r\n"
        } else if state.keep_alive {
            b"Connection: keep-alive\r\n"
        } else {
            b"Connection: close\r\n"
        });
        if matches!(body, BodyPlan::Chunked) {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if let (true, Some(length)) = (send_length, length) {
            out.extend_from_slice(b"Content-Length: ");
            let mut digits = [0u8; 20];
            out.extend_from_slice(decimal(length, &mut digits));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(&state.app.fields);
        out.extend_from_slice(b"\r\n");
        state.stage = Stage::Sent;
    }

    /// Waits for the client to take some of what is kept for it, a second at most. True: it is still too much. Detached
    /// callers only.
    pub fn wait_for_room(&self, turn: u64) -> bool {
        let fd = {
            let mut state = self.lock();
            let state = &mut *state;
            let Some(conn) = state.conn.as_mut().filter(|_| !state.dead && state.turn == turn) else { return false };
            let before = conn.out.buffered;
            let failed = conn.flush().is_err() || self.pulse.quits();
            if conn.out.buffered < before {
                state.writing.moved(before - conn.out.buffered);
            }
            if failed || conn.out.buffered <= self.pulse.vitals.response_buffer / 2 {
                state.dead |= failed;
                return false;
            }
            conn.raw_fd()
        };
        let waited = self.pulse.wait_for_client(fd, PollFlags::POLLOUT);
        let mut state = self.lock();
        let spent = state.turn == turn && state.writing.spent(waited);
        state.dead |= spent;
        !state.dead
    }

    /// Reads more of the body of the request of this turn into `body`; if nothing is there, waits for it, a second at
    /// most. Detached callers only.
    pub fn read_body(&self, turn: u64, body: &mut Vec<u8>) -> Result<Piece, BodyError> {
        let (result, fd) = {
            let mut state = self.lock();
            let state = &mut *state;
            if !state.body_open || state.turn != turn {
                return Ok(Piece::End);
            }
            let Some(conn) = state.conn.as_mut() else { return Ok(Piece::End) };
            let before = body.len();
            let result = read_piece(conn, body, self.pulse.vitals.limit_request_body);
            state.reading.moved(body.len() - before);
            (self.end_body(state, result), state.conn.as_ref().map_or(-1, |conn| conn.raw_fd()))
        };
        if !matches!(result, Ok(Piece::Nothing)) {
            return result;
        }
        let waited = self.pulse.wait_for_client(fd, PollFlags::POLLIN);
        let mut state = self.lock();
        if state.turn == turn && state.reading.spent(waited) {
            return self.end_body(&mut state, Err(BodyError::Stalled));
        }
        if self.pulse.quits() {
            return self.end_body(&mut state, Err(BodyError::Leaving));
        }
        result
    }

    fn end_body(&self, state: &mut State, result: Result<Piece, BodyError>) -> Result<Piece, BodyError> {
        match &result {
            Ok(Piece::Some | Piece::Nothing) => {}
            Ok(Piece::End) => state.body_open = false,
            Err(error) => {
                state.body_open = false;
                state.keep_alive = false;
                match error {
                    BodyError::Bad(bad) => state.bad_body = Some(bad.clone()),
                    BodyError::Gone => state.gone = true,
                    BodyError::Stalled | BodyError::Leaving => {}
                }
            }
        }
        result
    }
}

impl State {
    fn send(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        let Some(conn) = self.conn.as_mut() else { return Err(io::Error::other("the response is over")) };
        let sent = conn.send(pieces);
        self.gone |= sent.is_err();
        sent
    }

    /// What may be sent of a body piece.
    pub fn clip<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let data = match self.plan {
            BodyPlan::None => &[],
            BodyPlan::Length(_) => {
                let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
                self.left -= room as u64;
                &data[..room]
            }
            _ => data,
        };
        self.sent += data.len() as u64;
        data
    }

    /// What the log says of a request whose body was invalid.
    pub fn bad_body_line(&self) -> Option<String> {
        let error = self.bad_body.as_ref()?;
        let peer = self.conn.as_ref().and_then(|conn| conn.client()).map(|peer| peer.ip().to_string());
        Some(format!("Invalid request from ip={}: {error}", peer.unwrap_or_default()))
    }

    /// The app failed before anything was sent: what the response is instead. `timed_out`: the sentinel sent one.
    pub fn fail(&mut self, timed_out: bool) {
        let (code, reason) = match (&self.bad_body, timed_out) {
            (_, true) => (504, "Gateway Timeout"),
            (Some(bad), false) => bad.status(),
            (None, false) => (500, "Internal Server Error"),
        };
        self.app.reset();
        self.app.status.extend_from_slice(format!("{code} {reason}").as_bytes());
        self.app.code = code;
        self.sent = 0;
    }

    /// The promised length was not kept: the connection cannot go on.
    pub fn short(&self) -> bool {
        matches!(self.plan, BodyPlan::Length(_)) && self.left > 0
    }
}

fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}
