//! System calls that nix has no safe form for, or a slower one.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use pyo3::prelude::*;

/// CLOCK_MONOTONIC in nanoseconds, the clock of the scoreboard.
pub fn now() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// A seat for a descriptor in a system call. Most callers' stay open longer than that; where one may be closed meanwhile (an
/// app closes what it does not own, a request ends in another thread), the call fails or hits whatever has the number by
/// then, which its caller has to expect.
pub fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the number is not negative, and it goes to system calls only, which check what it stands for.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Takes over a descriptor that Python handed to the engine.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller passes a descriptor that it received or duplicated for this purpose and forgets it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// accept4(2) with NONBLOCK and CLOEXEC. The peer's address comes with it (no getpeername); `None` on a unix socket.
pub fn accept(listener: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    // SAFETY: sockaddr_storage is plain data for which all zeroes are valid.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: storage and length are valid for the call, which writes at most `length` bytes.
    let fd = unsafe {
        libc::accept4(listener, (&raw mut storage).cast(), &raw mut length, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: accept4 returned a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((fd, socket_address(&storage)))
}

fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in, which is smaller than and aligned as the storage.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

/// What tells a socket from every other; 0 where the kernel does not say.
pub fn inode(fd: RawFd) -> u64 {
    nix::sys::stat::fstat(borrow(fd)).map_or(0, |stat| stat.st_ino)
}

/// Nanoseconds since data last arrived on a connection, in steps of the kernel's clock (some ms); 0 where it cannot say.
pub fn since_last_data(fd: RawFd) -> u64 {
    // SAFETY: tcp_info is plain data for which all zeroes are valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: info and length are valid for the call, which writes at most `length` bytes.
    let got =
        unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length) };
    if got < 0 { 0 } else { u64::from(info.tcpi_last_data_recv) * 1_000_000 }
}

/// The CPU time that a thread of this process has used, in nanoseconds.
pub fn thread_cpu(thread: i32) -> Option<u64> {
    // How the kernel names the clock of a thread (CPUCLOCK_PERTHREAD_MASK and CPUCLOCK_SCHED in posix-timers).
    let clock = nix::time::ClockId::from_raw(!thread << 3 | 6);
    let time = nix::time::clock_gettime(clock).ok()?;
    Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Raises the bridge's `RequestTimeout` in another Python thread, at its next step.
pub fn interrupt_python(py: Python<'_>, ident: u64, bridge: &Bound<'_, PyAny>) {
    let Ok(exception) = bridge.getattr("RequestTimeout") else { return };
    let _ = py;
    // SAFETY: the GIL is held; the call takes a reference of its own, and a thread that is gone is no error.
    unsafe { pyo3::ffi::PyThreadState_SetAsyncExc(ident as std::ffi::c_long, exception.as_ptr()) };
}

/// Takes back an exception that [`interrupt_python`] raised in the calling thread and that it has not seen yet.
pub fn uninterrupt_python(py: Python<'_>, ident: u64) {
    let _ = py;
    // SAFETY: as above; NULL takes it back.
    unsafe { pyo3::ffi::PyThreadState_SetAsyncExc(ident as std::ffi::c_long, std::ptr::null_mut()) };
}

/// Empties a pipe.
pub fn drain(fd: RawFd) {
    let mut waste = [0u8; 256];
    while matches!(nix::unistd::read(borrow(fd), &mut waste), Ok(count) if count == waste.len()) {}
}

/// Maps the scoreboard's memory for the process's life.
pub fn map_scoreboard(fd: &OwnedFd) -> io::Result<&'static [AtomicU64]> {
    let bytes = usize::try_from(nix::sys::stat::fstat(fd)?.st_size).unwrap_or(0);
    if bytes == 0 || bytes % 8 != 0 {
        return Err(io::Error::other("the scoreboard has an impossible size"));
    }
    // SAFETY: a new shared mapping of a memfd whose size is sealed, so that no access can fault; never unmapped.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd.as_raw_fd(), 0)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: page-aligned memory of that many bytes; other processes access it, but only through atomics as well.
    Ok(unsafe { std::slice::from_raw_parts(start.cast(), bytes / 8) })
}

/// Ends the process at once, running nothing.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(code) }
}

/// A duplicate of a descriptor that stays with whoever has it; closed on exec.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    borrow(fd).try_clone_to_owned()
}

/// Puts a copy of a file under a number that is in use, in one step. The copy of 0 to 2 outlives an exec.
pub fn replace(file: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    let flags = if number > 2 { libc::O_CLOEXEC } else { 0 };
    // SAFETY: dup3 takes numbers only; callers own this one, and whoever else uses it wants what is put there.
    if unsafe { libc::dup3(file.as_raw_fd(), number, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes descriptors that this process got through fork stand for nothing. Their numbers stay taken: owners that know
/// them may still close or try to use them, and must not hit something else.
/// Without a descriptor to put in their place they are closed.
pub fn disarm_inherited(fds: &[RawFd]) {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    for &fd in fds {
        // SAFETY: called only in a child that the app forked, on descriptors of the engine, which it uses no more.
        unsafe {
            match &null {
                Ok(null) => libc::dup3(null.as_raw_fd(), fd, libc::O_CLOEXEC),
                Err(_) => libc::close(fd),
            }
        };
    }
}

/// Runs something with all signals blocked, such as the start of a thread that is to take none.
pub fn without_signals<T>(run: impl FnOnce() -> T) -> T {
    let mut old = SigSet::empty();
    let masked = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut old)).is_ok();
    let result = run();
    if masked {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&old), None);
    }
    result
}

/// The calling thread, as tgkill(2) names it.
pub fn thread_id() -> i32 {
    nix::unistd::gettid().as_raw()
}

/// Sends a signal to one thread of this process.
pub fn signal_thread(thread: i32, signal: i32) {
    // SAFETY: tgkill takes numbers only; a thread that is gone is an error, which does not matter here.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
}

/// Ends the process with this code after so many seconds, whatever Python is doing then: the bound of a worker's end.
#[pyfunction]
pub fn exit_within(seconds: f64, code: i32) {
    let limit = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let watch = move || {
        std::thread::sleep(limit);
        exit_now(code);
    };
    let thread = std::thread::Builder::new().name("rgunicorn-exit".into()).stack_size(64 * 1024);
    let _ = without_signals(|| thread.spawn(watch));
}

/// A socket's own address as Python has it: `(host, port)`, or a path.
#[pyfunction]
pub fn socket_name(py: Python<'_>, fd: RawFd) -> PyResult<Py<PyAny>> {
    // SAFETY: sockaddr_storage is plain data for which all zeroes are valid.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: storage and length are valid for the call, which writes at most `length` bytes.
    if unsafe { libc::getsockname(fd, (&raw mut storage).cast(), &raw mut length) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(match socket_address(&storage) {
        Some(address) => (address.ip().to_string(), address.port()).into_pyobject(py)?.into_any().unbind(),
        None => String::new().into_pyobject(py)?.into_any().unbind(),
    })
}
