//! One client's connection: its socket, what was read and not yet parsed, what is still to be sent.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, sendmsg, shutdown};
use pyo3::pybacked::PyBackedBytes;
use rgunicorn_http::Decoder;
use rgunicorn_http::proxy::Header;

use crate::wsgi::PeerObjects;

/// Bytes of requests' bodies that one worker keeps until all of each is there; above it they are read by the app.
pub const BODIES_LIMIT: usize = 64 * 1024 * 1024;
/// What is read and thrown away of a connection that is being closed: an upload that the app did not want. Time bounds it
/// too.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a response that are kept in one piece. What was sent of a piece is freed with all of it.
const PIECE: usize = 256 * 1024;

/// More follows: the kernel keeps a short packet for it.
const MORE: MsgFlags = MsgFlags::from_bits_retain(libc::MSG_MORE);

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A request, or the rest of one.
    Reading,
    /// The client to take the rest of a response.
    Writing {
        /// What comes then.
        then: Then,
    },
    /// The client to see the answer and close: without this, unread input would turn our close into a reset that can
    /// destroy the answer on its way (RFC 9112 9.6).
    Lingering {
        /// Bytes thrown away so far.
        dropped: usize,
    },
}

/// What becomes of a connection once its response is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It waits for another request.
    Keep,
    /// It lingers.
    Linger,
    /// It is closed.
    Close,
    /// It is the app's alone, which has taken the socket.
    LetGo,
}

/// A request's head that was copied because its body is still on the way.
#[derive(Debug)]
pub struct PendingHead {
    /// The bytes that the decoder's spans refer to.
    pub bytes: Vec<u8>,
}

/// Response bytes and files that the socket has not taken yet.
#[derive(Debug, Default)]
pub struct Out {
    parts: VecDeque<Part>,
    /// Bytes in memory (files and Python's objects not counted).
    pub buffered: usize,
    /// Bytes that the socket has taken of what was kept.
    pub taken: u64,
    /// Python's objects that were sent, for somebody attached to drop.
    spent: Vec<PyBackedBytes>,
}

#[derive(Debug)]
enum Part {
    Bytes { data: Vec<u8>, sent: usize },
    Object { data: PyBackedBytes, sent: usize, length: usize },
    File { fd: OwnedFd, offset: i64, left: u64 },
}

/// Everything about a connection. Exactly one thread has it at a time, or the table does.
#[derive(Debug)]
pub struct Conn {
    /// The socket.
    pub fd: OwnedFd,
    /// Which listener it came from.
    pub listener: usize,
    /// The client, unless it came over a unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether the peer is in `forwarded_allow_ips`.
    pub trusted: bool,
    /// The parser.
    pub decoder: Decoder,
    /// Read and not parsed.
    pub input: Vec<u8>,
    /// The head of the request whose body is being read.
    pub head: Option<PendingHead>,
    /// Its body so far.
    pub body: Vec<u8>,
    /// Bytes of the whole body that have come.
    pub body_read: u64,
    /// Bytes of it that are counted in the worker's budget.
    pub charged: usize,
    /// Not sent yet.
    pub out: Out,
    /// A whole response that is to be sent together with others.
    held: Vec<u8>,
    /// What it waits for.
    pub phase: Phase,
    /// When its wait ends (CLOCK_MONOTONIC ns).
    pub deadline: u64,
    /// When the request in hand arrived, for `max_queue_wait` (CLOCK_MONOTONIC ns); 0: not known.
    pub arrived: u64,
    /// A request has begun to arrive.
    pub begun: bool,
    /// A PROXY header has been looked for.
    pub greeted: bool,
    /// What it said.
    pub proxy: Option<Header>,
    /// The peer has closed its side, or will be found to have.
    pub hangup: bool,
    /// The last read filled its room: there may be more, of which the edge-triggered set will not speak again.
    pub more: bool,
    /// Its place in the table and the poll set, once it had to wait.
    pub token: Option<u64>,
    /// Tells it from every other connection of this process.
    pub serial: u64,
    /// Requests served on it.
    pub served: u64,
    /// How often it was passed on for the sake of balance since its last request.
    pub hops: u8,
    /// Python objects made for it. Whoever drops the connection must be attached, or take them out first.
    pub objects: Option<PeerObjects>,
    /// The app has taken the socket (`gunicorn.socket`): the engine reads and writes it no more.
    pub taken: bool,
}

/// Python objects that somebody attached has to drop.
#[derive(Debug, Default)]
pub struct Garbage {
    peer: Option<PeerObjects>,
    bodies: Vec<PyBackedBytes>,
}

impl Garbage {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.peer.is_none() && self.bodies.is_empty()
    }

    /// Whether it may be worth the while to drop it soon.
    pub fn is_big(&self) -> bool {
        !self.bodies.is_empty()
    }
}

/// What came of reading.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing there now.
    Empty,
    /// The peer closed its side, or the connection broke.
    End,
}

impl Conn {
    /// A new connection.
    pub fn new(fd: OwnedFd, listener: usize, peer: Option<SocketAddr>, trusted: bool, decoder: Decoder) -> Box<Self> {
        Box::new(Conn {
            fd,
            listener,
            peer,
            trusted,
            decoder,
            input: Vec::new(),
            head: None,
            body: Vec::new(),
            body_read: 0,
            charged: 0,
            out: Out::default(),
            held: Vec::new(),
            phase: Phase::Reading,
            deadline: 0,
            arrived: 0,
            begun: false,
            greeted: false,
            proxy: None,
            hangup: false,
            more: false,
            token: None,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            served: 0,
            hops: 0,
            objects: None,
            taken: false,
        })
    }

    /// The client as the app sees it: what a PROXY header said, or the peer.
    pub fn client(&self) -> Option<SocketAddr> {
        let ends = self.proxy.as_ref().and_then(|proxy| proxy.endpoints);
        ends.map(|ends| ends.source).or(self.peer)
    }

    /// Reads what is there into `buffer`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Read {
        self.more = false;
        loop {
            return match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => Read::End,
                Ok(length) => {
                    self.more = length == buffer.len();
                    Read::Bytes(length)
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Read::Empty,
                Err(_) => Read::End,
            };
        }
    }

    /// Sends the pieces, as much as the socket takes; the rest is kept. The pieces follow what is already kept.
    pub fn send(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        let mut skip = 0;
        if self.out.is_empty() {
            skip = self.send_now(pieces)?;
        }
        self.out.keep(pieces, skip);
        Ok(())
    }

    /// Sends the pieces as [`Conn::send`] does, after which the connection is closed: the last packet says so, too. (A
    /// close would send another one.)
    pub fn send_last(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        // An end that the app has taken is not ours to close, and a unix socket has no packets.
        if self.taken || self.peer.is_none() || !self.out.is_empty() {
            return self.send(pieces);
        }
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let took = send_some(self.raw_fd(), pieces, MORE)?;
        if took == length {
            self.finish_sending();
        } else {
            self.out.keep(pieces, took);
        }
        Ok(())
    }

    /// Keeps a whole response until [`Conn::send_held`].
    pub fn hold(&mut self, response: Vec<u8>) {
        self.held = response;
    }

    /// Whether a response is held.
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Sends the response that is held; `last`: the connection is closed after it.
    pub fn send_held(&mut self, last: bool) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let sent = if last { self.send_last(&[&held]) } else { self.send(&[&held]) };
        self.held = held;
        sent
    }

    /// The memory of a response that was sent.
    pub fn take_held(&mut self) -> Vec<u8> {
        let mut memory = std::mem::take(&mut self.held);
        memory.clear();
        memory
    }

    /// Sends a head and a big body, of which the rest is kept as the object that it is, if it is more than is `copied`. What is not needed of that comes
    /// back, for somebody attached to drop; also with an error.
    pub fn send_object(
        &mut self,
        head: &[u8],
        body: PyBackedBytes,
        length: usize,
        copied: usize,
    ) -> Result<Option<PyBackedBytes>, PyBackedBytes> {
        let took =
            match self.flush().and_then(|done| if done { self.send_now(&[head, &body[..length]]) } else { Ok(0) }) {
                Ok(took) => took,
                Err(_) => return Err(body),
            };
        self.out.keep(&[head], took.min(head.len()));
        let sent = took.saturating_sub(head.len());
        if length - sent <= copied {
            self.out.keep(&[&body[..length]], sent);
            return Ok(Some(body));
        }
        self.out.parts.push_back(Part::Object { data: body, sent, length });
        Ok(None)
    }

    fn send_now(&self, pieces: &[&[u8]]) -> io::Result<usize> {
        send_some(self.fd.as_raw_fd(), pieces, MsgFlags::empty())
    }

    /// Sends `length` bytes of a file from `offset` on, by sendfile(2).
    pub fn send_file(&mut self, fd: OwnedFd, offset: i64, length: u64) -> io::Result<()> {
        self.out.parts.push_back(Part::File { fd, offset, left: length });
        self.flush().map(|_| ())
    }

    /// Sends what was kept; true when nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        while let Some(part) = self.out.parts.front_mut() {
            match part {
                Part::Bytes { data, sent } => {
                    let took = send_some(self.fd.as_raw_fd(), &[&data[*sent..]], MsgFlags::empty())?;
                    *sent += took;
                    self.out.buffered -= took;
                    self.out.taken += took as u64;
                    if *sent < data.len() {
                        return Ok(false);
                    }
                }
                Part::Object { data, sent, length } => {
                    let took = send_some(self.fd.as_raw_fd(), &[&data[*sent..*length]], MsgFlags::empty())?;
                    *sent += took;
                    self.out.taken += took as u64;
                    if *sent < *length {
                        return Ok(false);
                    }
                }
                Part::File { fd, offset, left } => {
                    while *left > 0 {
                        let sent = if self.taken {
                            send_piece(&self.fd, fd, offset, *left)
                        } else {
                            let count = usize::try_from(*left).unwrap_or(usize::MAX).min(1 << 30);
                            nix::sys::sendfile::sendfile(self.fd.as_fd(), fd.as_fd(), Some(offset), count)
                        };
                        match sent {
                            // The file became shorter: the promised length cannot be kept.
                            Ok(0) => return Err(io::Error::other("the file ended early")),
                            Ok(took) => {
                                *left -= took as u64;
                                self.out.taken += took as u64;
                            }
                            Err(Errno::EINTR) => {}
                            Err(Errno::EAGAIN) => return Ok(false),
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
            }
            if let Some(Part::Object { data, .. }) = self.out.parts.pop_front() {
                self.out.spent.push(data);
            }
        }
        Ok(true)
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&self) {
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Write);
    }

    /// Ends the connection for both sides, also where a child that the app forked holds a copy of the socket.
    pub fn shut(&self) {
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Both);
    }

    /// In [`Phase::Lingering`]: throws away what arrives. True when the connection can be closed.
    pub fn linger(&mut self) -> bool {
        let Phase::Lingering { mut dropped } = self.phase else { return true };
        let mut waste = [0u8; 8192];
        loop {
            match self.read(&mut waste) {
                Read::Bytes(length) => dropped += length,
                Read::Empty => break,
                Read::End => return true,
            }
            if dropped > LINGER_BYTES {
                return true;
            }
        }
        self.phase = Phase::Lingering { dropped };
        false
    }

    /// Takes out the Python objects that were sent.
    pub fn take_spent(&mut self) -> Garbage {
        Garbage { peer: None, bodies: self.out.take_spent() }
    }

    /// The raw descriptor, for logs and the poll set.
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Takes the Python objects out, for somebody who is attached to drop: the connection is over.
    pub fn take_objects(&mut self) -> Garbage {
        let mut garbage = self.out.take_spent();
        garbage.extend(self.out.parts.drain(..).filter_map(|part| match part {
            Part::Object { data, .. } => Some(data),
            _ => None,
        }));
        Garbage { peer: self.objects.take(), bodies: garbage }
    }
}

impl Out {
    /// Whether everything has been sent.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Python's objects that were sent, for somebody attached to drop.
    pub fn take_spent(&mut self) -> Vec<PyBackedBytes> {
        std::mem::take(&mut self.spent)
    }

    fn keep(&mut self, pieces: &[&[u8]], mut skip: usize) {
        for piece in pieces {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            let rest = &piece[skip..];
            skip = 0;
            self.buffered += rest.len();
            match self.parts.back_mut() {
                Some(Part::Bytes { data, .. }) if data.len() + rest.len() <= PIECE => data.extend_from_slice(rest),
                _ => self.parts.push_back(Part::Bytes { data: rest.to_vec(), sent: 0 }),
            }
        }
    }
}

/// A piece of a file by way of memory: the app that took the socket has made it blocking, which sendfile(2) would heed.
fn send_piece(socket: &OwnedFd, file: &OwnedFd, offset: &mut i64, left: u64) -> nix::Result<usize> {
    let mut piece = [0u8; 16 * 1024];
    let room = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
    let count = nix::sys::uio::pread(file, &mut piece[..room], *offset)?;
    if count == 0 {
        return Ok(0);
    }
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let took = nix::sys::socket::send(socket.as_raw_fd(), &piece[..count], flags)?;
    *offset += took as i64;
    Ok(took)
}

/// Sends until the socket is full; returns how much it took.
fn send_some(fd: RawFd, pieces: &[&[u8]], how: MsgFlags) -> io::Result<usize> {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut done = 0;
    while done < total {
        let mut slices: [IoSlice<'_>; 4] = std::array::from_fn(|_| IoSlice::new(&[]));
        let mut used = 0;
        let mut skip = done;
        for piece in pieces {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            if used == slices.len() {
                break;
            }
            slices[used] = IoSlice::new(&piece[skip..]);
            used += 1;
            skip = 0;
        }
        let flags = how | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let sent = if used == 1 {
            nix::sys::socket::send(fd, &slices[0], flags)
        } else {
            sendmsg::<()>(fd, &slices[..used], &[], flags, None)
        };
        match sent {
            Ok(took) => done += took,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}
