//! Connections that go to other workers of the generation, and come from them.
//!
//! A connection whose worker is stuck is anyone's: its sentinel passes it on when it has become readable and the scoreboard
//! shows somebody idle. It leaves the poll set first (a closed descriptor of which somebody has a copy could never be taken
//! out again), then it is sent, then closed here; a full queue means that it stays. So it is never served twice, and lost
//! only in the hands of a process that is killed.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg};
use rgunicorn_http::Decoder;
use rgunicorn_http::proxy::{Endpoints, Header, Protocol};
use rgunicorn_wire::hand_off::{MAX_INPUT, MAX_PASSED, Passed};
use rgunicorn_wire::scoreboard::{Scoreboard, Slot, State};

use super::accept::NO_DESCRIPTORS_NS;
use super::conn::{Conn, Phase};
use super::options::Listener;
use super::shared::Shared;
use crate::sys::now;

/// Kinds of proxied connections, by their number in a message.
const PROTOCOLS: [Protocol; 6] =
    [Protocol::Tcp4, Protocol::Tcp6, Protocol::Unix, Protocol::Unspecified, Protocol::Unknown, Protocol::Local];

/// How often in a row a connection is passed on for the sake of balance: who takes it is chance, too.
const MAX_HOPS: u8 = 16;
/// How many are at once.
const MAX_MOVES: u64 = 64;

/// Both ends of the generation's socket, and what tells who is idle.
pub struct HandOff {
    receive: OwnedFd,
    send: OwnedFd,
    board: Scoreboard<'static>,
    /// This worker's own slot.
    slot: u32,
    /// A descriptor to give up: the kernel drops a passed one for which there is no room, and its client sees an end.
    spare: Mutex<Option<OwnedFd>>,
}

impl HandOff {
    /// For the worker in this slot.
    pub fn new(receive: OwnedFd, send: OwnedFd, board: Scoreboard<'static>, slot: u32) -> Self {
        HandOff { receive, send, board, slot, spare: Mutex::new(spare()) }
    }

    /// Whether a connection waits there.
    fn has_some(&self) -> bool {
        recv(self.receive.as_raw_fd(), &mut [0u8], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).is_ok()
    }

    /// Whether there is something to give up.
    fn has_spare(&self) -> bool {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_none() {
            *spare = self::spare();
        }
        spare.is_some()
    }

    /// The next message and its connection, in the spare descriptor's place; `None`: it was none that has one.
    fn receive(&self) -> nix::Result<Option<(Vec<u8>, OwnedFd)>> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        *spare = None;
        let received = receive(self.receive.as_raw_fd());
        *spare = self::spare();
        received
    }

    /// The fewest connections that another idle worker has.
    fn least_of_idle(&self) -> Option<u64> {
        self.others().filter(|slot| slot.state() == State::Idle).map(|slot| slot.connections()).min()
    }

    /// Whether there is another worker that will go on serving.
    pub fn has_others(&self) -> bool {
        self.others().any(|slot| matches!(slot.state(), State::Idle | State::Busy))
    }

    fn others(&self) -> impl Iterator<Item = Slot<'static>> {
        let own = self.slot as usize;
        self.board.used().enumerate().filter(move |(slot, _)| *slot != own).map(|(_, slot)| slot)
    }
}

impl Shared {
    /// Whether a connection can go to another worker: it waits for a request or is in its head, with little of it read.
    pub fn passable(&self, conn: &Conn) -> bool {
        conn.phase == Phase::Reading
            && conn.head.is_none()
            && conn.body.is_empty()
            && conn.out.is_empty()
            && !conn.taken
            && conn.input.len() <= MAX_INPUT
    }

    /// Passes a connection on, or returns it.
    pub fn pass(&self, mut conn: Box<Conn>) -> Result<(), Box<Conn>> {
        let message = Passed {
            listener: self.listeners.get(conn.listener).map_or(0, |listener| listener.inode),
            hops: conn.hops,
            peer: conn.peer,
            deadline: conn.deadline,
            arrived: conn.arrived,
            served: conn.served,
            begun: conn.begun,
            greeted: conn.greeted,
            proxy: conn.proxy.as_ref().map(|proxy| (kind(proxy.protocol), proxy.endpoints.map(ends))),
            input: std::mem::take(&mut conn.input),
        };
        if conn.token.is_some() {
            self.sets.remove(conn.raw_fd());
        }
        match send(self.hand_off.send.as_raw_fd(), &message.encode(), conn.raw_fd()) {
            Ok(()) => {
                if let Some(token) = conn.token.take() {
                    self.table.forget(token);
                }
                self.let_go(conn);
                Ok(())
            }
            Err(_) => {
                conn.input = message.input;
                if let Some(token) = conn.token {
                    // What is there already makes an event of its own again.
                    let _ = self.sets.add(conn.raw_fd(), token);
                }
                Err(conn)
            }
        }
    }

    /// Passes on what is ready. Only while this worker's threads are all stuck. If nobody is idle it waits in the socket, for
    /// the first who is: one queue for all workers, as that of the listeners is for new connections.
    pub fn pass_ready(&self) {
        let goes_on = if self.retires() { self.has_heirs() } else { self.hand_off.has_others() };
        if !goes_on {
            return;
        }
        self.take_events();
        while let Some(conn) = self.table.next_that(|conn| self.passable(conn)) {
            if let Err(conn) = self.pass(conn) {
                return self.table.push_first(conn);
            }
        }
    }

    /// Takes a connection from another worker, if there is one and there is room.
    pub fn receive(&self) -> bool {
        if !self.hand_off.has_some() || !self.may_receive() {
            return false;
        }
        let Ok(Some((passed, fd))) = self.hand_off.receive() else { return false };
        let Some(conn) = self.adopt(&passed, fd) else { return false };
        let open = self.table.opened();
        self.vitals.slot.count_connection(1, open as u64);
        self.table.push_first(conn);
        if !self.pause_if_full() {
            self.sets.requeue_receiver();
        }
        true
    }

    /// Takes everything that waits there: nobody else will.
    pub fn receive_all(&self) {
        while self.hand_off.has_some() && self.hand_off.has_spare() {
            match self.hand_off.receive() {
                Ok(Some((passed, fd))) => {
                    if let Some(conn) = self.adopt(&passed, fd) {
                        let open = self.table.opened();
                        self.vitals.slot.count_connection(1, open as u64);
                        self.table.push(conn);
                    }
                }
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    /// Whether there is room for what waits there. If not, it is left alone for a while: it would be reported for ever.
    fn may_receive(&self) -> bool {
        if !self.sets.receives() || self.pause_if_full() {
            return false;
        }
        if !self.hand_off.has_spare() {
            self.watch.accept_after.store(now() + NO_DESCRIPTORS_NS, Ordering::Relaxed);
            self.sets.stop_listening(&self.listeners);
            return false;
        }
        true
    }

    fn adopt(&self, passed: &[u8], fd: OwnedFd) -> Option<Box<Conn>> {
        let passed = Passed::decode(passed)?;
        // A listener that this generation has given up: the nearest that there is.
        let same = |listener: &Listener| listener.inode == passed.listener;
        let alike = |listener: &Listener| listener.unix == passed.peer.is_none();
        let known = self.listeners.iter().position(same).or_else(|| self.listeners.iter().position(alike));
        let trusted = self.options.trust.trusts(passed.peer.map(|peer| peer.ip()));
        let mut decoder = Decoder::new(Arc::clone(&self.options.http));
        decoder.set_trusted(trusted);
        let mut conn = Conn::new(fd, known.unwrap_or(0), passed.peer, trusted, decoder);
        conn.deadline = passed.deadline;
        conn.arrived = passed.arrived;
        conn.served = passed.served;
        conn.hops = passed.hops;
        conn.begun = passed.begun;
        conn.greeted = passed.greeted;
        conn.proxy = passed.proxy.and_then(|(kind, ends)| {
            let endpoints = ends.map(|(source, destination)| Endpoints { source, destination });
            Some(Header { protocol: *PROTOCOLS.get(usize::from(kind))?, endpoints })
        });
        conn.input = passed.input;
        Some(conn)
    }

    /// Whether idle connections of this worker, which leaves, find a place with another one, of this generation or the
    /// next: the arbiter knows. If it was not the arbiter that sent it away, the scoreboard tells.
    pub fn has_heirs(&self) -> bool {
        if self.link.sent_away() { self.link.has_heirs() } else { self.hand_off.has_others() }
    }

    /// Whether a connection that is about to stay had better stay with another worker, which has clearly fewer: chance, and
    /// workers that came later, are made up for. Only one that is idle counts: it takes it at once.
    pub fn outweighs(&self, conn: &Conn) -> bool {
        self.movable(conn) && self.surplus() > 0
    }

    /// Passes on what is too much, of connections that wait: workers have come that were not there when they did.
    pub fn balance(&self) {
        // Half of the difference makes both equal.
        for _ in 0..self.surplus().div_ceil(2).min(MAX_MOVES) {
            let Some(mut conn) = self.table.take_waiting(|conn| self.movable(conn)) else { return };
            conn.hops += 1;
            if let Err(conn) = self.pass(conn) {
                return self.put_back(conn);
            }
        }
    }

    /// How many connections more than there should be this worker has beside the idle one that has the fewest.
    fn surplus(&self) -> u64 {
        if self.retires() {
            return 0;
        }
        let (own, least) = (self.table.open() as u64, self.hand_off.least_of_idle());
        // What others have written there may be anything.
        least.map_or(0, |least| own.saturating_sub(least.saturating_add(1).saturating_add(least / 10)))
    }

    fn movable(&self, conn: &Conn) -> bool {
        conn.hops < MAX_HOPS && !conn.begun && conn.input.is_empty() && self.passable(conn)
    }

    fn put_back(&self, conn: Box<Conn>) {
        if let Some(ready) = self.table.park(conn) {
            self.table.push(ready);
        }
    }

    /// Passes idle connections on, until the queue is full.
    pub fn pass_idle(&self) {
        if !self.has_heirs() {
            return;
        }
        let idle = |conn: &Conn| !conn.begun && conn.input.is_empty() && self.passable(conn);
        let mut full = false;
        for conn in self.table.expired(0, idle) {
            let back = if full { Some(conn) } else { self.pass(conn).err() };
            if let Some(conn) = back {
                full = true;
                self.put_back(conn);
            }
        }
    }
}

/// Something to give up for a descriptor that comes.
fn spare() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

fn kind(protocol: Protocol) -> u8 {
    PROTOCOLS.iter().position(|known| *known == protocol).unwrap_or(0) as u8
}

fn ends(ends: Endpoints) -> (SocketAddr, SocketAddr) {
    (ends.source, ends.destination)
}

fn send(socket: RawFd, message: &[u8], fd: RawFd) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<()>(socket, &[IoSlice::new(message)], &[ControlMessage::ScmRights(&[fd])], flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn receive(socket: RawFd) -> nix::Result<Option<(Vec<u8>, OwnedFd)>> {
    let mut buffer = vec![0; MAX_PASSED + 1];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let (length, fd) = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message = loop {
            match recvmsg::<()>(socket, &mut slices, Some(&mut space), flags) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        if message.bytes == 0 {
            // The end: no message is empty.
            return Err(Errno::ENOTCONN);
        }
        let mut fd = None;
        // An error: there was no room for the descriptor.
        for control in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(passed) = control {
                // All of them are owned, so that what is too many is closed.
                fd = passed.into_iter().map(crate::sys::own).collect::<Vec<_>>().into_iter().next();
            }
        }
        (message.bytes, fd)
    };
    buffer.truncate(length);
    Ok(fd.map(|fd| (buffer, fd)))
}
