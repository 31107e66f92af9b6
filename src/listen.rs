//! The listening sockets. The arbiter alone owns them; workers get copies with the order that forks them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use crate::arbiter::event::BindFailure;
use crate::config::ListenOptions;
use crate::settings::Bind;
use crate::sys::files::{self, Identity};

/// The first descriptor that systemd passes (sd_listen_fds(3)).
const SYSTEMD_FIRST: RawFd = 3;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// As it is logged: `http://127.0.0.1:8000`, `unix:/run/x.sock`.
    pub shown: String,
    /// It is a unix socket.
    pub unix: bool,
    /// A socket file that we made, and what it is, so that nobody else's is removed.
    file: Option<(PathBuf, Identity)>,
    /// The name that the file is to get.
    draft_of: Option<PathBuf>,
    /// It was passed to us: whoever did so goes on with it, and finds it as it was.
    passed: bool,
}

/// Listeners on their way: what is bound stays bound while something else is tried again.
#[derive(Debug)]
pub struct Opening {
    wanted: VecDeque<Wanted>,
    open: Vec<Listener>,
}

#[derive(Debug, Clone)]
enum Wanted {
    Bind(Bind),
    Passed { number: RawFd, by: &'static str },
}

impl Opening {
    /// What is to be listened at: what systemd passed, else `fd://`, else the addresses.
    pub fn new(binds: &[Bind], passed: Option<u32>) -> Opening {
        let numbered = binds.iter().filter_map(|bind| match bind {
            Bind::Fd(number) => Some(Wanted::Passed { number: *number, by: "bind" }),
            Bind::Tcp { .. } | Bind::Unix(_) => None,
        });
        let wanted: VecDeque<Wanted> = match passed {
            Some(count) => (SYSTEMD_FIRST..)
                .take(count as usize)
                .map(|number| Wanted::Passed { number, by: "LISTEN_FDS" })
                .collect(),
            None => numbered.collect(),
        };
        let wanted = if wanted.is_empty() { binds.iter().cloned().map(Wanted::Bind).collect() } else { wanted };
        Opening { wanted, open: Vec::new() }
    }

    /// Binds what is not bound yet, up to the first that fails.
    pub fn proceed(&mut self, options: &ListenOptions) -> Result<(), BindFailure> {
        while let Some(wanted) = self.wanted.front() {
            let listener = match wanted {
                Wanted::Passed { number, by } => inherited(*number, by, options)?,
                Wanted::Bind(Bind::Tcp { host, port }) => tcp(host, *port, options)?,
                Wanted::Bind(Bind::Unix(path)) => unix(path, options)?,
                Wanted::Bind(Bind::Fd(number)) => inherited(*number, "bind", options)?,
            };
            self.open.push(listener);
            self.wanted.pop_front();
        }
        Ok(())
    }

    /// Everything is bound: gives socket files their names, which takes them from whoever had them.
    pub fn publish(mut self) -> Result<Vec<Listener>, (Opening, BindFailure)> {
        for listener in &mut self.open {
            let (Some(path), Some((draft, _))) = (&listener.draft_of, &mut listener.file) else { continue };
            if let Err(error) = std::fs::rename(&*draft, path) {
                let failure = failure(&listener.shown, &error, true);
                return Err((self, failure));
            }
            draft.clone_from(path);
            listener.draft_of = None;
        }
        Ok(self.open)
    }

    /// Gives up what is bound so far.
    pub fn abandon(self) {
        self.open.into_iter().for_each(Listener::close);
    }
}

impl Listener {
    /// Takes no new connections; those in the queue stay. A plain close would reset them, and would end nothing while a
    /// worker has a copy.
    pub fn stop_accepting(&mut self) {
        if self.unix {
            self.unlink();
        } else if !self.passed {
            // Drops every packet that opens a connection: SYN without ACK. The filter sees the TCP header; its flags are
            // in byte 13. Needs no privilege.
            let drop_syn = [
                bpf(0x30, 0, 0, 13),   // A = flags
                bpf(0x54, 0, 0, 0x12), // A &= SYN|ACK
                bpf(0x15, 0, 1, 0x02), // SYN alone?
                bpf(0x06, 0, 0, 0),    // then drop
                bpf(0x06, 0, 0, 0xffff_ffff),
            ];
            let _ = self.socket.attach_filter(&drop_syn);
        }
    }

    /// Ends it for everybody who holds a copy, also for a worker that is stuck.
    pub fn close(mut self) {
        if !self.passed {
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
        self.unlink();
    }

    /// The address that clients connect to.
    fn unlink(&mut self) {
        if let Some((path, identity)) = self.file.take()
            && files::identity(&path) == Some(identity)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bpf(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

fn tcp(host: &str, port: u16, options: &ListenOptions) -> Result<Listener, BindFailure> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let target = resolve(host, port).map_err(|error| failure(&address, &error, true))?;
    let made = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        // Inherited by what is accepted from it.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SockAddr::from(target))?;
        socket.set_nonblocking(true)?;
        socket.listen(options.backlog)?;
        Ok(socket)
    };
    let socket = made().map_err(|error| failure(&address, &error, false))?;
    let shown = shown(&socket, options.tls);
    Ok(Listener { socket, shown, unix: false, file: None, draft_of: None, passed: false })
}

/// As Gunicorn: a literal is what it says; a name is looked up among IPv4 addresses; no host means any.
fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    if host.is_empty() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port)));
    }
    if let Ok(literal) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(literal, port));
    }
    // A literal with a scope (`fe80::1%eth0`) is the resolver's business too.
    let mut found = (host, port).to_socket_addrs()?;
    let wanted = |address: &SocketAddr| address.is_ipv4() || host.contains(':');
    found.find(wanted).ok_or_else(|| io::Error::other("the name has no IPv4 address"))
}

/// Binds a temporary name that is renamed later, so that clients find the old socket or the new one, never none.
fn unix(path: &Path, options: &ListenOptions) -> Result<Listener, BindFailure> {
    let address = format!("unix:{}", path.display());
    let occupied = std::fs::symlink_metadata(path).is_ok_and(|meta| !is_socket(&meta));
    if occupied {
        let error =
            io::Error::other("there is a file of this name that is no socket; remove it or choose another path");
        return Err(failure(&address, &error, true));
    }
    // A name that is too long for a socket is too long for its clients too, even if it could be renamed to.
    let own_name = SockAddr::unix(path).map_err(|error| failure(&address, &error, true))?;
    let draft = path.with_file_name(format!(".{}", std::process::id()));
    // A draft's name can be the longer one: then there is no gap-free way.
    let (name, target, draft_of) = match SockAddr::unix(&draft) {
        Ok(target) => (draft, target, Some(path.to_owned())),
        Err(_) => (path.to_owned(), own_name, None),
    };
    let _ = std::fs::remove_file(&name);
    let made = || -> io::Result<(Socket, Identity)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        files::with_umask(options.umask, || socket.bind(&target))?;
        let identity = files::identity(&name).ok_or_else(|| io::Error::other("the socket file has vanished"))?;
        socket.set_nonblocking(true)?;
        socket.listen(options.backlog)?;
        crate::logging::give_to(&name, options.owner)?;
        Ok((socket, identity))
    };
    match made() {
        Ok((socket, identity)) => {
            Ok(Listener { socket, shown: address, unix: true, file: Some((name, identity)), draft_of, passed: false })
        }
        Err(error) => {
            let _ = std::fs::remove_file(&name);
            Err(failure(&address, &error, false))
        }
    }
}

fn is_socket(meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    meta.file_type().is_socket()
}

fn inherited(number: RawFd, by: &str, options: &ListenOptions) -> Result<Listener, BindFailure> {
    let address = format!("fd://{number}");
    let refuse = |why: String| failure(&address, &io::Error::other(format!("{why} ({by})")), true);
    let fd: OwnedFd = files::adopt(number)
        .ok_or_else(|| refuse("no socket was passed under this number, or it is named twice".into()))?;
    let socket = Socket::from(fd);
    if !matches!(socket.r#type(), Ok(Type::STREAM)) {
        return Err(refuse("it is a socket, but not one of a stream".into()));
    }
    // It may be bound and no more; one that listens keeps its backlog.
    let listening = socket.is_listener().unwrap_or(false);
    let ready =
        socket.set_nonblocking(true).and_then(|()| if listening { Ok(()) } else { socket.listen(options.backlog) });
    ready.map_err(|error| refuse(format!("it cannot be listened at: {error}")))?;
    let unix = socket.local_addr().is_ok_and(|address| address.is_unix());
    let shown = shown(&socket, false);
    Ok(Listener { socket, shown, unix, file: None, draft_of: None, passed: true })
}

fn shown(socket: &Socket, tls: bool) -> String {
    let Ok(address) = socket.local_addr() else { return "?".into() };
    match address.as_socket() {
        Some(address) => format!("{}://{address}", if tls { "https" } else { "http" }),
        None => match address.as_pathname() {
            Some(path) => format!("unix:{}", path.display()),
            None => "unix:".into(),
        },
    }
}

fn failure(address: &str, error: &io::Error, hopeless: bool) -> BindFailure {
    let in_use = error.kind() == io::ErrorKind::AddrInUse;
    BindFailure { address: address.to_owned(), error: error.to_string(), in_use, hopeless }
}
