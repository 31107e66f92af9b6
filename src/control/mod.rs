//! The control socket: where a running server is asked and told things. The protocol is Gunicorn's.
//!
//! Whoever may connect may command, so the file's mode is what protects it. What clients send is hostile input all the
//! same: nothing of it blocks, grows without bound or ends the server.

mod command;
mod frame;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

pub use command::{Command, Request, Target, help};
pub use frame::{Frame, Frames, MAX_MESSAGE, MAX_REQUEST, NotOurs, frame};

use crate::sys::clock::now;
use crate::sys::files::{self, Identity};
use crate::sys::poll::{Poller, hung_up};

/// For listen(2).
const BACKLOG: i32 = 1024;
/// More are closed, the one that has been silent for longest first.
const MAX_CLIENTS: usize = 64;
/// Who says nothing for so long is closed; as in Gunicorn.
const IDLE: Duration = Duration::from_secs(300);
/// After an accept that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// What is kept for a client that does not read.
const MAX_UNREAD: usize = 4 << 20;
/// Read of one client before others have their turn.
const AT_ONCE: usize = 256 << 10;
/// Accepted before others have their turn.
const CLIENTS_AT_ONCE: usize = 64;

/// Where the socket is, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Absolute.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
}

/// An open control socket.
#[derive(Debug)]
pub struct Control {
    place: Place,
    listener: UnixListener,
    /// Its file, to know it by.
    file: Identity,
    token: u64,
    clients: BTreeMap<u64, Client>,
    last: u64,
    /// Accepting failed; it is tried again then.
    paused: Option<Duration>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    frames: Frames,
    unsent: Vec<u8>,
    /// When it last said anything.
    heard: Duration,
    /// The `id` of the request whose answer comes later.
    waits_for: Option<Value>,
    /// It sends no more; what it has asked for it still gets.
    over: bool,
    /// Requests that have no answer yet.
    unanswered: usize,
    /// What it is watched for: input, room.
    watched: (bool, bool),
}

impl Client {
    fn new(stream: UnixStream) -> Client {
        Client {
            stream,
            frames: Frames::default(),
            unsent: Vec::new(),
            heard: now(),
            waits_for: None,
            over: false,
            unanswered: 0,
            watched: (true, false),
        }
    }
}

impl Control {
    /// Opens it. What a server that is gone has left is replaced.
    ///
    /// The listener is watched under `token`, a client under `token` plus its number.
    pub fn open(place: Place, token: u64, poller: &Poller) -> Result<Control, String> {
        let shown = place.path.display();
        look_at_what_is_there(&place.path)?;
        if let Some(directory) = place.path.parent().filter(|directory| !directory.exists()) {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        let (listener, file) = bind(&place).map_err(|error| format!("{shown}: {error}"))?;
        poller.watch(&listener, token).map_err(|error| format!("{shown}: {error}"))?;
        Ok(Control { place, listener, file, token, clients: BTreeMap::new(), last: 0, paused: None })
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its descriptor.
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Closes it and every connection, and removes the file, unless it is somebody else's by now.
    pub fn close(self) {
        if files::identity(&self.place.path) == Some(self.file) {
            let _ = std::fs::remove_file(&self.place.path);
        }
    }

    /// When [`Control::look_at_time`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        let idle = self.clients.values().filter(|client| client.waits_for.is_none()).map(|client| client.heard + IDLE);
        idle.chain(self.paused).min()
    }

    /// Closes who has been silent for too long.
    pub fn look_at_time(&mut self, poller: &Poller) {
        let now = now();
        self.clients.retain(|_, client| client.waits_for.is_some() || client.heard + IDLE > now);
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = poller.watch(&self.listener, self.token).err().map(|_| now + PAUSE);
        }
    }

    /// Takes who wants to connect.
    pub fn accept(&mut self, poller: &Poller) {
        for _ in 0..CLIENTS_AT_ONCE {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if self.clients.len() >= MAX_CLIENTS && !self.drop_the_most_silent() {
                        continue;
                    }
                    let number = self.last + 1;
                    let watched =
                        stream.set_nonblocking(true).and_then(|()| poller.watch(&stream, self.token + number));
                    if watched.is_ok() {
                        self.last = number;
                        self.clients.insert(number, Client::new(stream));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    // No descriptor is left, or no memory: whoever waits would wake us at once, again and again.
                    if !self.drop_the_most_silent() {
                        poller.forget(&self.listener);
                        self.paused = Some(now() + PAUSE);
                        return;
                    }
                }
            }
        }
    }

    fn drop_the_most_silent(&mut self) -> bool {
        let idle = self.clients.iter().filter(|(_, client)| client.waits_for.is_none());
        let number = idle.min_by_key(|(_, client)| client.heard).map(|(number, _)| *number);
        number.is_some_and(|number| self.clients.remove(&number).is_some())
    }

    /// Reads what a client has sent; its whole requests. Those that need no answer of the server's are answered here.
    pub fn hear(&mut self, number: u64, poller: &Poller) -> Vec<Request> {
        self.send(number, &[], poller);
        let Some(client) = self.clients.get_mut(&number) else { return Vec::new() };
        let mut requests = Vec::new();
        let mut problems = Vec::new();
        let mut over = client.over;
        let mut buffer = [0; 16 << 10];
        let mut read = 0;
        while read < AT_ONCE && !over {
            match client.stream.read(&mut buffer) {
                Ok(0) => over = true,
                Ok(count) => {
                    read += count;
                    client.heard = now();
                    client.frames.push(&buffer[..count]);
                    loop {
                        match client.frames.next() {
                            Ok(Some(Frame::Message(message))) => requests.push(Request::read(&message)),
                            Ok(Some(Frame::TooLong(length))) => problems.push(format!(
                                "Invalid argument: {length} bytes are no command (at most {MAX_REQUEST} bytes)"
                            )),
                            Ok(None) => break,
                            Err(NotOurs) => {
                                problems.push(format!("Message too large (at most {MAX_MESSAGE} bytes)"));
                                over = true;
                                break;
                            }
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => over = true,
            }
        }
        client.over = over;
        client.unanswered += requests.len();
        if over && requests.is_empty() && hung_up(&client.stream) {
            self.clients.remove(&number);
        }
        for problem in problems {
            self.tell(number, &json!(0), Err(problem), poller);
        }
        self.send(number, &[], poller);
        requests
    }

    /// The answer to a request.
    pub fn answer(&mut self, number: u64, id: &Value, answer: Result<Value, String>, poller: &Poller) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.unanswered = client.unanswered.saturating_sub(1);
        }
        self.tell(number, id, answer, poller);
    }

    fn tell(&mut self, number: u64, id: &Value, answer: Result<Value, String>, poller: &Poller) {
        let message = match answer {
            Ok(data) => json!({"id": id, "status": "ok", "data": data}),
            Err(error) => json!({"id": id, "status": "error", "error": error}),
        };
        self.send(number, &frame(message.to_string().as_bytes()), poller);
    }

    /// The answer comes later. False if the client waits for another one already.
    pub fn answer_later(&mut self, number: u64, id: &Value) -> bool {
        match self.clients.get_mut(&number) {
            Some(client) if client.waits_for.is_none() => {
                client.waits_for = Some(id.clone());
                true
            }
            _ => false,
        }
    }

    /// The answer that a client waits for.
    pub fn answer_late(&mut self, number: u64, answer: Result<Value, String>, poller: &Poller) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.heard = now();
        if let Some(id) = client.waits_for.take() {
            self.answer(number, &id, answer, poller);
        }
    }

    /// Sends what there is to send, as far as there is room. Who has said all and been told all is let go.
    fn send(&mut self, number: u64, bytes: &[u8], poller: &Poller) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.unsent.extend_from_slice(bytes);
        while !client.unsent.is_empty() {
            match client.stream.write(&client.unsent) {
                Ok(count) => drop(client.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && client.unsent.len() <= MAX_UNREAD => break,
                Err(_) => {
                    self.clients.remove(&number);
                    return;
                }
            }
        }
        // The end of input is readable for ever.
        let wanted = (!client.over, !client.unsent.is_empty());
        let done = client.over && client.unsent.is_empty() && client.unanswered == 0;
        let watched = wanted == client.watched
            || poller.watch_for(&client.stream, self.token + number, wanted.0, wanted.1).is_ok();
        client.watched = wanted;
        if done || !watched {
            self.clients.remove(&number);
        }
    }
}

/// What is at the path may be replaced if it is a socket that nobody serves.
fn look_at_what_is_there(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(there) if !there.file_type().is_socket() => Err(format!("{shown}: there is something that is no socket")),
        Ok(_) => match connect(path) {
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(()),
            // Its queue may be full.
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(format!("{shown}: {error}")),
            _ => Err(format!("{shown}: another server has it")),
        },
    }
}

/// Whether anybody takes connections there, without waiting for him.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Made beside its place, and complete before it gets there: nobody finds it half made or with another mode.
fn bind(place: &Place) -> io::Result<(UnixListener, Identity)> {
    let mut draft = place.path.clone().into_os_string();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let _ = std::fs::remove_file(&draft);
    // Its mode from the start: a chmod by name follows a link that the directory's owner has put there meanwhile.
    let address = SockAddr::unix(&draft)?;
    files::with_umask(!place.mode & 0o777, || socket.bind(&address))?;
    let made = socket
        .listen(BACKLOG)
        .and_then(|()| files::identity(&draft).ok_or_else(|| io::Error::other("the socket file has vanished")))
        .and_then(|file| std::fs::rename(&draft, &place.path).map(|()| file));
    if made.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    Ok((UnixListener::from(std::os::fd::OwnedFd::from(socket)), made?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(directory: &tempfile::TempDir, poller: &Poller) -> Control {
        Control::open(Place { path: directory.path().join("g.ctl"), mode: 0o620 }, 1, poller).unwrap()
    }

    #[test]
    fn those_who_connect_in_crowds_get_their_turn_in_parts() {
        let (directory, poller) = (tempfile::tempdir().unwrap(), Poller::new().unwrap());
        let mut control = open(&directory, &poller);
        let path = control.place().path.clone();
        let crowd: Vec<UnixStream> = (0..70).map(|_| UnixStream::connect(&path).unwrap()).collect();
        control.accept(&poller);
        assert_eq!(control.last, CLIENTS_AT_ONCE as u64);
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), [1], "the rest is not forgotten");
        control.accept(&poller);
        assert_eq!(control.last, crowd.len() as u64);
    }

    #[test]
    fn its_mode_is_what_was_asked_for_and_nothing_else_is_left() {
        let (directory, poller) = (tempfile::tempdir().unwrap(), Poller::new().unwrap());
        let control = open(&directory, &poller);
        let found = std::fs::symlink_metadata(&control.place().path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o7777, 0o620);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        control.close();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
