//! Processes: starting the forkserver, reaping, signalling.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// A process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl Status {
    /// By SIGKILL.
    pub fn by_kill(self) -> bool {
        self == Status::Signaled(libc::SIGKILL)
    }

    /// By SIGTERM.
    pub fn by_term(self) -> bool {
        self == Status::Signaled(libc::SIGTERM)
    }

    /// As wait(2) encodes it, for Python's `os.WIFEXITED` and the like.
    pub fn raw(self) -> i32 {
        match self {
            Status::Exited(code) => (code & 0xff) << 8,
            Status::Signaled(signal) => signal & 0x7f,
        }
    }
}

/// What a worker or forkserver can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Graceful stop.
    Term,
    /// Quick stop.
    Quit,
    /// Log files were opened again.
    Usr1,
    /// Write every thread's stack to the place that the worker was given for them.
    Stacks,
    /// `worker_abort`, then leave.
    Abort,
    /// At once.
    Kill,
}

/// This process.
pub fn own_pid() -> Pid {
    Pid(std::process::id() as i32)
}

/// Orphans of our descendants become our children, workers above all.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// The most memory that a process ever had, in bytes.
pub type Peak = u64;

/// The next child that has ended, if there is one. Strangers that fell to us are among them.
///
/// Not nix's waitpid: it reaps a child that a real-time signal ended and then says EINVAL in place of its pid.
pub fn reap() -> Option<(Pid, Status, Peak)> {
    let mut raw = 0;
    loop {
        // SAFETY: rusage is plain data for which all zeroes are valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: wait4 writes the status and the usage, and nothing else, to live variables.
        let pid = unsafe { libc::wait4(-1, &raw mut raw, libc::WNOHANG, &raw mut usage) };
        if pid > 0 {
            let status = if libc::WIFSIGNALED(raw) {
                Status::Signaled(libc::WTERMSIG(raw))
            } else {
                Status::Exited(libc::WEXITSTATUS(raw))
            };
            // In kilobytes (getrusage(2)).
            return Some((Pid(pid), status, usage.ru_maxrss.unsigned_abs() << 10));
        }
        if pid == 0 || Errno::last() != Errno::EINTR {
            return None;
        }
    }
}

/// Waits for one child, at most so many milliseconds, and kills it then.
pub fn end_child(pid: Pid, limit_ms: u64) {
    let target = nix::unistd::Pid::from_raw(pid.0);
    for waited in 0.. {
        match waitpid(target, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {}
            Err(Errno::EINTR) => continue,
            _ => return,
        }
        if waited >= limit_ms {
            let _ = kill(target, Number::SIGKILL);
            while waitpid(target, None) == Err(Errno::EINTR) {}
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Sends a signal. That the process is gone already is no error: it will be reaped.
pub fn signal(pid: Pid, what: Kill) {
    let number = match what {
        Kill::Term => libc::SIGTERM,
        Kill::Quit => libc::SIGQUIT,
        Kill::Usr1 => libc::SIGUSR1,
        // `STACKS_SIGNAL` of the worker's Python side.
        Kill::Stacks => libc::SIGRTMIN() + 7,
        Kill::Abort => libc::SIGABRT,
        Kill::Kill => libc::SIGKILL,
    };
    // Never a group, never everybody.
    if pid.0 > 1 {
        // SAFETY: kill(2) takes two numbers and touches no memory.
        unsafe { libc::kill(pid.0, number) };
    }
}

/// Whether a process with this pid exists (perhaps somebody else's). One that has ended does not, even before its parent
/// has heard of it.
pub fn exists(pid: Pid) -> bool {
    pid.0 > 0 && !matches!(kill(nix::unistd::Pid::from_raw(pid.0), None), Err(Errno::ESRCH)) && !has_ended(pid)
}

fn has_ended(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it can hold anything.
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with(['Z', 'X']))
}

/// Bytes of memory that a process has in use, shared pages included (proc_pid_statm(5)).
pub fn resident(pid: Pid) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

/// A descriptor that becomes readable when this process ends.
pub fn pidfd_of_self() -> io::Result<OwnedFd> {
    pidfd(own_pid())
}

/// A descriptor that becomes readable when that process ends. ESRCH: it has.
pub fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes a pid and flags and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system call returned this descriptor to us alone. It is close-on-exec by definition.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Starts the forkserver. `link` is what it inherits beside stdin, stdout and stderr.
///
/// It starts with the operator's signals blocked, so that a Ctrl-C before it has its handlers is not its end, and is
/// killed when this thread, the arbiter's only one that spawns, ends. (Workers are not: PDEATHSIG would fire when the
/// middle process of their fork ends.)
pub fn spawn_forkserver(mut command: Command, link: BorrowedFd<'_>) -> io::Result<Pid> {
    let link = link.as_raw_fd();
    // SAFETY: the closure runs between fork and exec and calls async-signal-safe functions only (prctl, sigprocmask,
    // fcntl); it allocates nothing.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Number::SIGKILL)?;
            let mut held = SigSet::empty();
            for number in [Number::SIGINT, Number::SIGTERM, Number::SIGQUIT, Number::SIGHUP] {
                held.add(number);
            }
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&held), None)?;
            let link = BorrowedFd::borrow_raw(link);
            nix::fcntl::fcntl(link, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(Pid(child.id() as i32))
}

/// Starts another arbiter, which inherits these descriptors under the numbers that they have here.
pub fn spawn_heir(mut command: Command, inherited: &[BorrowedFd<'_>]) -> io::Result<Pid> {
    let numbers: Vec<RawFd> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: the closure runs between fork and exec and calls async-signal-safe functions only (sigprocmask, fcntl); it
    // allocates nothing.
    unsafe {
        command.pre_exec(move || {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            for &number in &numbers {
                let fd = BorrowedFd::borrow_raw(number);
                nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(Pid(child.id() as i32))
}

/// Ends this process at once, running nothing: for a copy made by fork.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_statuses_are_the_kernels() {
        assert_eq!(Status::Exited(3).raw(), 0x300);
        assert_eq!(Status::Signaled(9).raw(), 9);
    }

    #[test]
    fn our_own_pid_exists_and_pid_zero_is_nobody() {
        assert!(exists(own_pid()));
        assert!(!exists(Pid(0)));
        assert!(!exists(Pid(-1)));
    }

    #[test]
    fn a_process_that_has_ended_does_not_exist_for_want_of_a_parents_interest() {
        let mut child = Command::new("true").spawn().unwrap();
        while exists(Pid(child.id() as i32)) {
            std::thread::yield_now();
        }
        assert!(child.wait().unwrap().success());
    }
}
