//! What a thread does for a connection that it has: read, serve, write, linger, and let it wait again.

use std::sync::atomic::Ordering;

use rgunicorn_http::{Error as HttpError, Event, Framing, proxy};

use super::conn::{BODIES_LIMIT, Conn, PendingHead, Phase, Read, Then};
use super::serve::Serving;
use super::window::Window;
use crate::sys::now;
use crate::wsgi::{After, Request};

/// How long a client may take for each piece of a buffered body.
const BODY_PIECE_NS: u64 = 30_000_000_000;
/// How long a finished response may take to a client that takes no byte.
pub const WRITE_LIMIT_NS: u64 = 60_000_000_000;
/// How long a connection lingers after an error answer.
const LINGER_NS: u64 = 2_000_000_000;
/// How long one connection may go on with pipelined requests while others are ready.
const TURN_NS: u64 = 2_000_000;

/// What a connection needs next.
enum Step {
    /// It waits.
    Park,
    /// It has more to do, after the others.
    Yield,
    /// It is over.
    Close,
    /// Its answer is out; it lingers.
    Linger,
    /// Its response is held.
    Hold(Then),
    /// A request is complete as far as it is buffered.
    Run(Ready),
}

/// A request in the buffer.
struct Ready {
    head: Head,
    complete: bool,
}

/// Where a head's bytes are.
enum Head {
    InBuffer { start: usize, end: usize },
    Copied(Vec<u8>),
}

impl Serving {
    /// Does for a connection what can be done now, then lets it wait or closes it.
    pub(super) fn drive(&mut self, mut conn: Box<Conn>) {
        loop {
            let step = match conn.phase {
                Phase::Reading => self.read_on(conn),
                Phase::Writing { then } => match self.write_on(&mut conn) {
                    Ok(true) => match then {
                        Then::Keep => {
                            conn.phase = Phase::Reading;
                            conn.deadline = now() + self.shared.options.keepalive;
                            continue;
                        }
                        Then::LetGo => return self.shared.let_go(conn),
                        Then::Linger => Some((conn, Step::Linger)),
                        Then::Close => Some((conn, Step::Close)),
                    },
                    Err(_) => Some((conn, Step::Close)),
                    Ok(false) => Some((conn, Step::Park)),
                },
                // Read to the end also after a hang-up: a close with input unread is a reset.
                Phase::Lingering { .. } => {
                    let over = conn.linger();
                    Some((conn, if over { Step::Close } else { Step::Park }))
                }
            };
            let Some((held, step)) = step else { return };
            match step {
                Step::Park => match self.park(held) {
                    None => return,
                    Some(again) => conn = again,
                },
                Step::Yield => return self.shared.table.push(held),
                Step::Hold(then) => return self.hold(held, then),
                Step::Linger => {
                    conn = held;
                    conn.finish_sending();
                    conn.phase = Phase::Lingering { dropped: 0 };
                    conn.deadline = now() + LINGER_NS;
                }
                Step::Close | Step::Run(_) => return self.shared.close(held),
            }
        }
    }

    /// Reads and serves requests until the connection has to wait. `None`: it is no longer the engine's.
    fn read_on(&mut self, mut conn: Box<Conn>) -> Option<(Box<Conn>, Step)> {
        let mut window = Window::take(&mut conn, &mut self.buffer);
        let turn_ends = self.clock + TURN_NS;
        let step = loop {
            match self.next_request(&mut conn, &mut window) {
                Step::Run(ready) => match self.serve_one(conn, &mut window, ready) {
                    (back, after) if back.is_held() => {
                        conn = back;
                        break Step::Hold(if after == After::Keep { Then::Keep } else { Then::Close });
                    }
                    (back, After::Keep) => {
                        conn = back;
                        if !conn.out.is_empty() {
                            break self.after_sending(&mut conn, Then::Keep);
                        }
                        let now = self.clock;
                        conn.deadline = now + self.shared.options.keepalive;
                        // A short read means that the socket was empty: the next bytes make an event of their own.
                        if window.is_empty() && !conn.hangup && !conn.more {
                            break Step::Park;
                        }
                        if now >= turn_ends || self.shared.quits() || self.shared.condemned.load(Ordering::Relaxed) {
                            break Step::Yield;
                        }
                    }
                    (back, After::Linger) => {
                        conn = back;
                        break self.after_sending(&mut conn, Then::Linger);
                    }
                    (back, After::Close) => {
                        conn = back;
                        break self.after_sending(&mut conn, Then::Close);
                    }
                    (back, After::Taken) => {
                        conn = back;
                        if !conn.out.is_empty() {
                            break self.after_sending(&mut conn, Then::LetGo);
                        }
                        window.give_back(&mut None, &mut self.buffer);
                        self.shared.let_go(conn);
                        return None;
                    }
                },
                other => break other,
            }
        };
        window.give_back(&mut Some(&mut conn), &mut self.buffer);
        Some((conn, step))
    }

    fn write_on(&mut self, conn: &mut Conn) -> std::io::Result<bool> {
        let before = conn.out.taken;
        let done = conn.flush();
        if conn.out.taken != before {
            conn.deadline = now() + WRITE_LIMIT_NS;
        }
        self.shared.discard(conn.take_spent());
        done
    }

    /// What is left of a response goes when the client takes it.
    fn after_sending(&self, conn: &mut Conn, then: Then) -> Step {
        if conn.out.is_empty() {
            return if then == Then::Linger { Step::Linger } else { Step::Close };
        }
        conn.phase = Phase::Writing { then };
        conn.deadline = now() + WRITE_LIMIT_NS;
        Step::Park
    }

    /// Parses what is there and reads more, until a request is complete (or large enough to be streamed).
    fn next_request(&self, conn: &mut Conn, window: &mut Window) -> Step {
        let options = &self.shared.options;
        let mut head_at = (0, 0);
        let mut whole = false;
        loop {
            let event = match self.advance(conn, window) {
                Ok((consumed, event)) => {
                    if let Event::Data(span) = event {
                        let data = span.of(window.bytes());
                        conn.body.extend_from_slice(data);
                        conn.body_read += data.len() as u64;
                    }
                    if matches!(event, Event::Head) {
                        head_at = (window.start, window.start + consumed);
                        whole = true;
                    }
                    window.start += consumed;
                    event
                }
                Err(error) => return self.refuse_invalid(conn, &error),
            };
            match event {
                Event::Head => {
                    conn.body_read = 0;
                    let head = conn.decoder.head();
                    if matches!(head.framing, Framing::Length(length) if length > options.limit_request_body) {
                        return self.refuse_too_large(conn);
                    }
                    if head.expect_continue && window.is_empty() {
                        // Whoever waits for this sends no body before it (RFC 9110 10.1.1).
                        if conn.send(&[b"HTTP/1.1 100 Continue\r\n\r\n"]).is_err() {
                            return Step::Close;
                        }
                    }
                }
                Event::Data(_) if conn.body_read > options.limit_request_body => return self.refuse_too_large(conn),
                Event::Data(_) if conn.body.len() < options.request_buffer && self.has_room(conn) => {}
                Event::Data(_) | Event::End => {
                    let complete = matches!(event, Event::End);
                    let head = match conn.head.take() {
                        Some(pending) => Head::Copied(pending.bytes),
                        None => Head::InBuffer { start: head_at.0, end: head_at.1 },
                    };
                    return Step::Run(Ready { head, complete });
                }
                Event::NeedMore => {
                    if whole && conn.head.is_none() {
                        conn.head = Some(PendingHead { bytes: window.data[head_at.0..head_at.1].to_vec() });
                        // A body too long to be kept is read by the app.
                        if conn.decoder.remaining().is_some_and(|left| left > options.request_buffer as u64) {
                            let head = conn.head.take().map_or(Vec::new(), |pending| pending.bytes);
                            return Step::Run(Ready { head: Head::Copied(head), complete: false });
                        }
                    }
                    let first = conn.token.is_none() && conn.served == 0 && window.is_empty();
                    if first && !self.shared.retires() && self.first_reads.are_vain() {
                        return Step::Park;
                    }
                    let read = conn.read(window.room());
                    if first {
                        self.first_reads.note(read != Read::Empty);
                    }
                    match read {
                        Read::Bytes(count) => {
                            window.end += count;
                            self.shared.vitals.slot.count_bytes(count as u64, 0);
                            if options.max_queue_wait > 0 {
                                conn.arrived = now() - crate::sys::since_last_data(conn.raw_fd());
                            }
                        }
                        Read::Empty => {
                            // A head has its time as a whole; a body has it anew with each piece that comes.
                            if conn.head.is_some() {
                                conn.begun = true;
                                conn.deadline = now() + BODY_PIECE_NS;
                            } else if !(conn.begun || window.is_empty()) {
                                conn.begun = true;
                                conn.deadline = now() + options.request_head_timeout;
                            }
                            return Step::Park;
                        }
                        Read::End => return Step::Close,
                    }
                }
            }
        }
    }

    /// The next event of HTTP, after a PROXY header if there is one.
    fn advance(&self, conn: &mut Conn, window: &mut Window) -> Result<(usize, Event), HttpError> {
        if !conn.greeted {
            let options = &self.shared.options;
            let allowed = options.proxies.trusts(conn.peer.map(|peer| peer.ip()));
            let rules = proxy::Rules { mode: options.proxy, allowed, permit_unknown: false };
            match proxy::parse(window.bytes(), &rules)? {
                proxy::Step::NeedMore => return Ok((0, Event::NeedMore)),
                proxy::Step::NotProxy => {}
                proxy::Step::Header(length, header) => {
                    window.start += length;
                    conn.proxy = Some(header);
                }
            }
            conn.greeted = true;
        }
        conn.decoder.advance(window.bytes())
    }

    /// Whether the worker may keep more of requests' bodies.
    fn has_room(&self, conn: &Conn) -> bool {
        let others = self.shared.bodies.load(Ordering::Relaxed).saturating_sub(conn.charged);
        others + conn.body.len() <= BODIES_LIMIT
    }

    /// Answers a request that cannot be understood; nothing after it on the connection is looked at.
    fn refuse_invalid(&self, conn: &mut Conn, error: &HttpError) -> Step {
        self.refuse(conn, error.status(), error.reason(), &error.to_string())
    }

    fn refuse_too_large(&self, conn: &mut Conn) -> Step {
        let message = crate::wsgi::too_large(self.shared.options.limit_request_body);
        self.refuse(conn, 413, "Content Too Large", &message)
    }

    fn refuse(&self, conn: &mut Conn, status: u16, reason: &str, message: &str) -> Step {
        let peer = conn.client().map(|peer| peer.ip().to_string()).unwrap_or_default();
        self.warn(&format!("Invalid request from ip={peer}: {message}"));
        let page = rgunicorn_http::error_response(status, reason, message);
        if conn.send(&[&page]).is_err() { Step::Close } else { self.after_sending(conn, Then::Linger) }
    }

    fn serve_one(&mut self, mut conn: Box<Conn>, window: &mut Window, ready: Ready) -> (Box<Conn>, After) {
        let body = std::mem::take(&mut conn.body);
        self.shared.charge(&mut conn);
        (conn.begun, conn.hops) = (false, 0);
        if !ready.complete {
            // The rest of the body goes on from here.
            conn.input = window.bytes().to_vec();
            window.start = window.end;
        }
        let bytes: &[u8] = match &ready.head {
            Head::InBuffer { start, end } => &window.data[*start..*end],
            Head::Copied(bytes) => bytes,
        };
        let options = &self.shared.options;
        let leaving = (self.shared.retires() && !self.shared.has_heirs()) || self.shared.link.closes();
        let keep_alive = options.keepalive > 0 && !leaving;
        let stale = options.max_queue_wait > 0 && now().saturating_sub(conn.arrived) > options.max_queue_wait;
        let more = ready.complete && !window.is_empty();
        // What follows on the same connection is answered at once, as part of this turn; what has changed something is, too,
        // since a process that crashes takes with it what is held. And while one is held that is to be closed, against its
        // client's will, that client may send on.
        let head = conn.decoder.head();
        let safe = matches!(head.text(head.method, bytes), b"GET" | b"HEAD");
        let hold = self.may_hold && ready.complete && !more && !conn.more && safe && keep_alive;
        let mut request = Request { bytes, body, complete: ready.complete, keep_alive, stale, hold };
        let (mut conn, mut after) = self.gateway.run(conn, &mut request);
        self.clock = self.gateway.ended;
        self.look_at_max_requests();
        if after == After::Close && (more || conn.more || !conn.input.is_empty()) {
            // It has sent more than this: a plain close would turn into a reset, which can destroy the answer.
            after = After::Linger;
        }
        if !ready.complete && after == After::Keep {
            // The app read the body to its end: what came after it belongs to the next request.
            let rest = std::mem::take(&mut conn.input);
            window.refill(rest);
        }
        (conn, after)
    }

    /// Lets a connection wait. Returns it if there is something to do at once.
    pub(super) fn park(&mut self, mut conn: Box<Conn>) -> Option<Box<Conn>> {
        self.shared.charge(&mut conn);
        if conn.token.is_none() {
            if self.shared.outweighs(&conn) {
                conn.hops += 1;
                let listener = conn.listener;
                match self.shared.pass(conn) {
                    Ok(()) => {
                        self.shared.sets.requeue(&self.shared.listeners, listener);
                        return None;
                    }
                    Err(back) => conn = back,
                }
            }
            let token = self.shared.table.admit();
            conn.token = Some(token);
            let listener = conn.listener;
            // What is there already makes an event, which leaves a mark. Once it is parked it is anyone's.
            if self.shared.sets.add(conn.raw_fd(), token).is_err() {
                self.shared.close(conn);
                return None;
            }
            let parked = self.shared.table.park(conn);
            if self.shared.hand_off.has_others() {
                self.shared.sets.requeue(&self.shared.listeners, listener);
            }
            return parked;
        }
        self.shared.table.park(conn)
    }
}
