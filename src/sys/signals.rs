//! Signals as something to poll for: blocked, and read from a signalfd.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal as Number, signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that mean something to the arbiter, by what an operator calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Reload.
    Hup,
    /// Quick stop.
    Int,
    /// Quick stop.
    Quit,
    /// Graceful stop.
    Term,
    /// One worker more.
    Ttin,
    /// One worker less.
    Ttou,
    /// Reopen the logs.
    Usr1,
    /// Upgrade.
    Usr2,
    /// Stop the workers, keep the arbiter.
    Winch,
    /// A child ended: reap.
    Chld,
}

impl Signal {
    /// All of them.
    pub const ALL: [Signal; 10] = [
        Signal::Hup,
        Signal::Int,
        Signal::Quit,
        Signal::Term,
        Signal::Ttin,
        Signal::Ttou,
        Signal::Usr1,
        Signal::Usr2,
        Signal::Winch,
        Signal::Chld,
    ];

    fn number(self) -> Number {
        match self {
            Signal::Hup => Number::SIGHUP,
            Signal::Int => Number::SIGINT,
            Signal::Quit => Number::SIGQUIT,
            Signal::Term => Number::SIGTERM,
            Signal::Ttin => Number::SIGTTIN,
            Signal::Ttou => Number::SIGTTOU,
            Signal::Usr1 => Number::SIGUSR1,
            Signal::Usr2 => Number::SIGUSR2,
            Signal::Winch => Number::SIGWINCH,
            Signal::Chld => Number::SIGCHLD,
        }
    }
}

/// In lower case without `SIG`, as Gunicorn logs it.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.number().as_str();
        f.write_str(&name.trim_start_matches("SIG").to_ascii_lowercase())
    }
}

/// `SIGTERM` for 15; real-time and unknown numbers as `signal N`.
pub fn name_of(number: i32) -> String {
    Number::try_from(number).map_or_else(|_| format!("signal {number}"), |known| known.as_str().to_owned())
}

/// The queue of signals of this process.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

/// Undoes what a parent may have left: with SIGCHLD ignored, which exec hands on, no child's end would ever be told.
pub fn reset_inherited() {
    // SAFETY: no handler is installed, only the default restored.
    let _ = unsafe { signal(Number::SIGCHLD, SigHandler::SigDfl) };
}

impl Signals {
    /// Blocks [`Signal::ALL`] in this thread and queues them. Call before any other thread starts.
    pub fn take_over() -> io::Result<Signals> {
        let set: SigSet = Signal::ALL.into_iter().map(Signal::number).collect();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        Ok(Signals { fd: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// The next one, if there is one.
    pub fn next(&self) -> Option<Signal> {
        let info = self.fd.read_signal().ok().flatten()?;
        Signal::ALL.into_iter().find(|signal| signal.number() as u32 == info.ssi_signo)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Lets all signals through again: for a process that goes on without the queue.
pub fn unblock_all() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_gunicorns() {
        assert_eq!(Signal::Term.to_string(), "term");
        assert_eq!(Signal::Ttin.to_string(), "ttin");
        assert_eq!(name_of(9), "SIGKILL");
        assert_eq!(name_of(40), "signal 40");
    }
}
