//! The listening sockets. The arbiter alone owns them; workers get copies with the order that forks them.

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
    /// It was passed to us: whoever did so goes on with it, and finds it as it was.
    passed: bool,
}

/// Opens everything that is to be listened at: what systemd passed, else `fd://`, else the addresses.
pub fn open_all(binds: &[Bind], options: &ListenOptions, passed: Option<u32>) -> Result<Vec<Listener>, BindFailure> {
    if let Some(count) = passed {
        return (SYSTEMD_FIRST..).take(count as usize).map(|fd| inherited(fd, "LISTEN_FDS", options)).collect();
    }
    let numbers: Vec<RawFd> =
        binds.iter().filter_map(|bind| if let Bind::Fd(fd) = bind { Some(*fd) } else { None }).collect();
    if !numbers.is_empty() {
        return numbers.into_iter().map(|fd| inherited(fd, "bind", options)).collect();
    }
    let mut listeners = Vec::new();
    for bind in binds {
        match bind {
            Bind::Tcp { host, port } => listeners.push(tcp(host, *port, options)?),
            Bind::Unix(path) => listeners.push(unix(path, options)?),
            Bind::Fd(_) => {}
        }
    }
    Ok(listeners)
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
    Ok(Listener { socket, shown, unix: false, file: None, passed: false })
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

/// Binds a temporary name and renames it, so that clients find the old socket or the new one, never none.
fn unix(path: &Path, options: &ListenOptions) -> Result<Listener, BindFailure> {
    let address = format!("unix:{}", path.display());
    let occupied = std::fs::symlink_metadata(path).is_ok_and(|meta| !is_socket(&meta));
    if occupied {
        let error =
            io::Error::other("there is a file of this name that is no socket; remove it or choose another path");
        return Err(failure(&address, &error, true));
    }
    // A name that is too long for a socket is too long for its clients too, even if it could be renamed to.
    SockAddr::unix(path).map_err(|error| failure(&address, &error, true))?;
    let draft = draft_name(path);
    let made = || -> io::Result<(Socket, Identity)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let _ = std::fs::remove_file(&draft);
        let target = SockAddr::unix(&draft)?;
        files::with_umask(options.umask, || socket.bind(&target))?;
        socket.set_nonblocking(true)?;
        socket.listen(options.backlog)?;
        crate::logging::give_to(&draft, options.owner)?;
        let identity = files::identity(&draft).ok_or_else(|| io::Error::other("the socket file has vanished"))?;
        std::fs::rename(&draft, path)?;
        Ok((socket, identity))
    };
    let (socket, identity) = made().map_err(|error| {
        let _ = std::fs::remove_file(&draft);
        failure(&address, &error, false)
    })?;
    Ok(Listener { socket, shown: address, unix: true, file: Some((path.to_owned(), identity)), passed: false })
}

/// Beside the path, and no longer than it where a socket's name may not be longer (108 bytes).
fn draft_name(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}", std::process::id()))
}

fn is_socket(meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    meta.file_type().is_socket()
}

fn inherited(number: RawFd, from: &str, options: &ListenOptions) -> Result<Listener, BindFailure> {
    let address = format!("fd://{number}");
    let refuse = |why: &str| failure(&address, &io::Error::other(format!("{why} ({from})")), true);
    let fd: OwnedFd = files::adopt(number).map_err(|_| refuse("there is no such descriptor"))?;
    let socket = Socket::from(fd);
    match socket.r#type() {
        Ok(Type::STREAM) => {}
        Ok(_) => return Err(refuse("it is a socket, but not one of a stream")),
        Err(_) => return Err(refuse("it is not a socket")),
    }
    // It may be bound and no more; one that listens keeps its backlog.
    let listening = socket.is_listener().unwrap_or(false);
    let ready =
        socket.set_nonblocking(true).and_then(|()| if listening { Ok(()) } else { socket.listen(options.backlog) });
    ready.map_err(|error| refuse(&format!("it cannot be listened at: {error}")))?;
    let unix = socket.local_addr().is_ok_and(|address| address.is_unix());
    let shown = shown(&socket, false);
    Ok(Listener { socket, shown, unix, file: None, passed: true })
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
