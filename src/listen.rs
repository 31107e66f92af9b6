//! The listening sockets. The arbiter alone owns them; workers get copies with the order that forks them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use crate::arbiter::event::BindFailure;
use crate::config::ListenOptions;
use crate::settings::Bind;
use crate::sys::files::{self, Identity};

/// The first descriptor that systemd passes (sd_listen_fds(3)).
const SYSTEMD_FIRST: RawFd = 3;

/// A listening socket. Generations share those whose address stays.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// What it was opened for; `None` for one that systemd passed.
    bind: Option<Bind>,
    /// As it is logged: `http://127.0.0.1:8000`, `unix:/run/x.sock`.
    pub shown: String,
    /// It is a unix socket.
    pub unix: bool,
    /// A socket file that we made, and what it is, so that nobody else's is removed.
    file: RefCell<Option<(PathBuf, Identity)>>,
    /// The name that the file is to get.
    draft_of: RefCell<Option<PathBuf>>,
    /// It was passed to us: whoever did so goes on with it, and finds it as it was.
    passed: bool,
    /// Another arbiter has it, too, until an upgrade is over: nothing may be done to it that the other would notice.
    shared: Cell<bool>,
}

/// Sockets that this process inherited.
#[derive(Debug, Clone)]
pub enum Inherited {
    /// None.
    Nothing,
    /// So many, from systemd.
    Systemd(u32),
    /// From the arbiter that this one is to take over from, and what they were opened for.
    Upgrade(Vec<(RawFd, Option<Bind>)>),
}

/// Listeners on their way: what is bound stays bound while something else is tried again.
#[derive(Debug)]
pub struct Opening {
    wanted: VecDeque<Wanted>,
    open: Vec<Rc<Listener>>,
    /// Of the arbiter that this one is to take over from, and at none of this one's addresses.
    surplus: Vec<(RawFd, Bind)>,
    /// Nobody is to find the new ones before [`Opening::publish`].
    hidden: bool,
}

#[derive(Debug, Clone)]
enum Wanted {
    Bind(Bind),
    Passed(RawFd),
    Shared(RawFd, Bind),
    Kept(Rc<Listener>),
}

impl Opening {
    /// What is to be listened at first of all: what was inherited, else `fd://`, else the addresses.
    pub fn first(binds: &[Bind], inherited: &Inherited) -> Opening {
        let wanted = match inherited {
            Inherited::Nothing => chosen(binds).map(Wanted::Bind).collect(),
            Inherited::Systemd(count) => (SYSTEMD_FIRST..).take(*count as usize).map(Wanted::Passed).collect(),
            Inherited::Upgrade(sockets) => upgraded(binds, sockets),
        };
        let wants =
            |bind: &Bind| wanted.iter().any(|wanted| matches!(wanted, Wanted::Shared(_, other) if other == bind));
        let surplus = match inherited {
            Inherited::Upgrade(sockets) if sockets.iter().all(|(_, bind)| bind.is_some()) => sockets
                .iter()
                .filter_map(|(number, bind)| Some((*number, bind.clone()?)))
                .filter(|(_, bind)| !wants(bind))
                .collect(),
            _ => Vec::new(),
        };
        Opening { wanted, open: Vec::new(), surplus, hidden: false }
    }

    /// What is to be listened at after a reload, as far as possible with what is open already.
    pub fn anew(binds: &[Bind], open: &[Rc<Listener>]) -> Opening {
        let wanted = if open.iter().any(|listener| listener.bind.is_none()) {
            // systemd's sockets are the addresses, whatever the settings say.
            open.iter().cloned().map(Wanted::Kept).collect()
        } else {
            let kept = |bind: &Bind| {
                let same = open.iter().find(|listener| listener.bind.as_ref() == Some(bind));
                same.or_else(|| open.iter().find(|listener| listener.is_at(bind))).cloned()
            };
            chosen(binds).map(|bind| kept(&bind).map_or(Wanted::Bind(bind), Wanted::Kept)).collect()
        };
        Opening { wanted, open: Vec::new(), surplus: Vec::new(), hidden: true }
    }

    /// Binds what is not bound yet, up to the first that fails.
    pub fn proceed(&mut self, options: &ListenOptions) -> Result<(), BindFailure> {
        while let Some(wanted) = self.wanted.front() {
            let listener = match wanted {
                Wanted::Kept(listener) => Rc::clone(listener),
                Wanted::Passed(number) => Rc::new(inherited(*number, None, options)?),
                Wanted::Shared(number, bind) => Rc::new(shared(*number, bind, options)?),
                Wanted::Bind(bind) => Rc::new(match bind {
                    Bind::Tcp { host, port } => tcp(bind, host, *port, options, self.hidden)?,
                    Bind::Unix(path) => unix(bind, path, options)?,
                    Bind::Fd(number) => inherited(*number, Some(bind), options)?,
                }),
            };
            self.open.push(listener);
            self.wanted.pop_front();
        }
        Ok(())
    }

    /// What was inherited and is at none of the addresses: to be closed when nobody else serves there.
    pub fn surplus(&self, options: &ListenOptions) -> Vec<Listener> {
        self.surplus.iter().filter_map(|(number, bind)| shared(*number, bind, options).ok()).collect()
    }

    /// What is bound.
    pub fn listeners(&self) -> &[Rc<Listener>] {
        &self.open
    }
}

/// What the old arbiter has is not bound again; what only the new settings have, is. An old one that is not rgunicorn, or
/// has its sockets from systemd, says not what they are for: then they are the addresses, as in Gunicorn.
fn upgraded(binds: &[Bind], sockets: &[(RawFd, Option<Bind>)]) -> VecDeque<Wanted> {
    if sockets.is_empty() {
        return chosen(binds).map(Wanted::Bind).collect();
    }
    if sockets.iter().any(|(_, bind)| bind.is_none()) {
        return sockets.iter().map(|(number, _)| Wanted::Passed(*number)).collect();
    }
    let old = |bind: &Bind| sockets.iter().find(|(_, old)| old.as_ref() == Some(bind)).map(|(number, _)| *number);
    chosen(binds)
        .map(|bind| old(&bind).map_or(Wanted::Bind(bind.clone()), |number| Wanted::Shared(number, bind)))
        .collect()
}

/// Any descriptor among the addresses drops all others, as in Gunicorn.
fn chosen(binds: &[Bind]) -> impl Iterator<Item = Bind> {
    let numbered = binds.iter().any(|bind| matches!(bind, Bind::Fd(_)));
    binds.iter().filter(move |bind| !numbered || matches!(bind, Bind::Fd(_))).cloned()
}

impl Listener {
    fn new(
        socket: Socket,
        bind: Option<&Bind>,
        shown: String,
        unix: bool,
        file: Option<(PathBuf, Identity)>,
        passed: bool,
    ) -> Listener {
        let (file, draft_of) = (RefCell::new(file), RefCell::new(None));
        let shared = Cell::new(false);
        Listener { socket, bind: bind.cloned(), shown, unix, file, draft_of, passed, shared }
    }

    /// Whether that is only another spelling of where it is (`localhost:8000`, `127.0.0.1:8000`).
    fn is_at(&self, bind: &Bind) -> bool {
        let Bind::Tcp { host, port } = bind else { return false };
        let here = self.socket.local_addr().ok().and_then(|address| address.as_socket());
        *port != 0
            && here.is_some_and(|here| here.port() == *port && resolve(host, *port).is_ok_and(|there| there == here))
    }

    /// What it was opened for, for an arbiter that takes over. Empty for one that systemd passed.
    pub fn name(&self) -> String {
        self.bind.as_ref().map(Bind::to_string).unwrap_or_default()
    }

    /// Whether another arbiter has it, too.
    pub fn share(&self, shared: bool) {
        self.shared.set(shared);
    }

    /// Lets clients in: gives a socket file its name, which takes it from whoever had it, and opens a hidden port.
    pub fn publish(&self) -> io::Result<()> {
        if let Some(path) = self.draft_of.borrow_mut().take()
            && let Some((draft, _)) = self.file.borrow_mut().as_mut()
        {
            std::fs::rename(&*draft, &path)?;
            *draft = path;
        }
        if !self.unix && !self.passed {
            // ENOENT: it was not hidden.
            let _ = self.socket.detach_filter();
        }
        Ok(())
    }

    /// Its descriptor's number, for the operator.
    pub fn number(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Gunicorn's word for what it is.
    pub fn family(&self) -> &'static str {
        let ipv6 = self.socket.local_addr().is_ok_and(|address| address.is_ipv6());
        match (self.unix, ipv6) {
            (true, _) => "unix",
            (false, true) => "tcp6",
            (false, false) => "tcp",
        }
    }

    /// Takes no new connections; those in the queue stay. A plain close would reset them, and would end nothing while a
    /// worker has a copy.
    pub fn stop_accepting(&self) {
        if self.shared.get() {
            return;
        }
        if self.unix {
            self.unlink();
        } else if !self.passed {
            let _ = self.socket.attach_filter(&DROP_SYN);
        }
    }

    /// Ends it for everybody who holds a copy, also for a worker that is stuck.
    pub fn close(&self) {
        if self.shared.get() {
            return;
        }
        if !self.passed {
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
        self.unlink();
    }

    fn unlink(&self) {
        if let Some((path, identity)) = self.file.borrow_mut().take()
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

/// Drops every packet that opens a connection: SYN without ACK. A socket's filter sees the TCP header; its flags are in
/// byte 13. Needs no privilege.
const DROP_SYN: [SockFilter; 5] = [
    bpf(0x30, 0, 0, 13),   // A = flags
    bpf(0x54, 0, 0, 0x12), // A &= SYN|ACK
    bpf(0x15, 0, 1, 0x02), // SYN alone?
    bpf(0x06, 0, 0, 0),    // then drop
    bpf(0x06, 0, 0, 0xffff_ffff),
];

const fn bpf(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

fn tcp(bind: &Bind, host: &str, port: u16, options: &ListenOptions, hidden: bool) -> Result<Listener, BindFailure> {
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
        if hidden {
            socket.attach_filter(&DROP_SYN)?;
        }
        socket.listen(options.backlog)?;
        Ok(socket)
    };
    let socket = made().map_err(|error| failure(&address, &error, false))?;
    let shown = shown(&socket, options.tls);
    Ok(Listener::new(socket, Some(bind), shown, false, None, false))
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

/// Several drafts can be in one directory.
static DRAFTS: AtomicU32 = AtomicU32::new(0);

/// Binds a temporary name that is renamed later, so that clients find the old socket or the new one, never none.
fn unix(bind: &Bind, path: &Path, options: &ListenOptions) -> Result<Listener, BindFailure> {
    let address = format!("unix:{}", path.display());
    let occupied = std::fs::symlink_metadata(path).is_ok_and(|meta| !is_socket(&meta));
    if occupied {
        let error =
            io::Error::other("there is a file of this name that is no socket; remove it or choose another path");
        return Err(failure(&address, &error, true));
    }
    // A name that is too long for a socket is too long for its clients too, even if it could be renamed to.
    let own_name = SockAddr::unix(path).map_err(|error| failure(&address, &error, true))?;
    let draft = path.with_file_name(format!(".{}.{}", std::process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed)));
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
            let listener = Listener::new(socket, Some(bind), address, true, Some((name, identity)), false);
            *listener.draft_of.borrow_mut() = draft_of;
            Ok(listener)
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

fn inherited(number: RawFd, bind: Option<&Bind>, options: &ListenOptions) -> Result<Listener, BindFailure> {
    let address = format!("fd://{number}");
    let by = if bind.is_some() { "bind" } else { "LISTEN_FDS or GUNICORN_FD" };
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
    Ok(Listener::new(socket, bind, shown, unix, None, true))
}

/// One that the arbiter which this one is to take over from has opened.
fn shared(number: RawFd, bind: &Bind, options: &ListenOptions) -> Result<Listener, BindFailure> {
    let plain = inherited(number, Some(bind), options)?;
    let passed = matches!(bind, Bind::Fd(_));
    let (file, shown) = match bind {
        Bind::Unix(path) => {
            let file = files::identity(path).map(|identity| (path.clone(), identity));
            (file, format!("unix:{}", path.display()))
        }
        _ => (None, plain.shown),
    };
    let listener = Listener::new(plain.socket, Some(bind), shown, plain.unix, file, passed);
    listener.share(true);
    Ok(listener)
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
