//! Forking a worker so that it becomes the arbiter's child.
//!
//! Two forks: the middle process leaves at once, and the worker falls to the nearest subreaper, the arbiter. At-fork hooks
//! run once, in the worker; the middle runs no Python (a second `os.fork` there hung when another thread wanted the GIL).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getppid, pipe, read, write};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rgunicorn_wire::WorkerSays;

/// Milliseconds that a middle process may take before it is killed and the order fails.
const MIDDLE_LIMIT_MS: u16 = 5000;

/// Forks a worker. Returns its pid in the forkserver and 0 in the worker, where all signals are still blocked: they are
/// let through when its handlers are set (a TERM before that would be lost). The worker has said hello on `link_fd` and is
/// the arbiter's child before any Python of it runs.
#[pyfunction]
pub fn fork_worker(py: Python<'_>, arbiter_pid: i32, link_fd: RawFd) -> PyResult<i32> {
    let failed = |what: &str, error: Errno| PyOSError::new_err((error as i32, format!("{what}: {}", error.desc())));
    let (reader, sender) = pipe().map_err(|error| failed("pipe", error))?;
    let mut mask = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut mask))
        .map_err(|error| failed("sigprocmask", error))?;
    let _ = py;
    // Encoded here: between a fork and PyOS_AfterFork_Child nothing is allocated.
    let hello = rgunicorn_wire::encode(&WorkerSays::Hello);
    // SAFETY: the GIL is held; PyOS_BeforeFork pairs with exactly one of the AfterFork calls in each process that goes on
    // with Python.
    unsafe { pyo3::ffi::PyOS_BeforeFork() };
    // SAFETY: the forkserver has no thread of ours; the child calls only async-signal-safe functions until it either
    // leaves or is handed back to Python by PyOS_AfterFork_Child.
    let forked = unsafe { fork() };
    let result = match forked {
        Ok(ForkResult::Child) => {
            if be_middle(&sender) {
                drop((reader, sender));
                wait_for_adoption(arbiter_pid, link_fd);
                say_hello(link_fd, &hello);
                // SAFETY: this is the child of the PyOS_BeforeFork above and the GIL is held by this, its only thread.
                unsafe { pyo3::ffi::PyOS_AfterFork_Child() };
                return Ok(0);
            }
            leave(1)
        }
        Ok(ForkResult::Parent { child }) => {
            drop(sender);
            Ok(child)
        }
        Err(error) => Err(failed("fork", error)),
    };
    // SAFETY: the parent side of the PyOS_BeforeFork above.
    unsafe { pyo3::ffi::PyOS_AfterFork_Parent() };
    let pid =
        result.and_then(|middle| worker_pid(middle, &reader).map_err(|error| failed("the middle process", error)));
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None);
    pid
}

/// In the middle process: forks the worker, reports its pid and leaves. Returns true in the worker.
fn be_middle(sender: &OwnedFd) -> bool {
    // SAFETY: as above; the middle has one thread and touches no Python.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => true,
        Ok(ForkResult::Parent { child }) => {
            let _ = write(sender, &child.as_raw().to_le_bytes());
            leave(0)
        }
        Err(_) => false,
    }
}

/// Waits until the middle has left and the arbiter is the parent; without it there is nobody to work for, which its end of
/// the link tells.
fn wait_for_adoption(arbiter_pid: i32, link_fd: RawFd) {
    // SAFETY: the forkserver keeps the link open while it forks; nothing closes it before this returns.
    let link = unsafe { BorrowedFd::borrow_raw(link_fd) };
    for _ in 0..50_000 {
        if getppid().as_raw() == arbiter_pid {
            return;
        }
        let mut ends = [PollFd::new(link, PollFlags::empty())];
        let ended = matches!(poll(&mut ends, PollTimeout::ZERO), Ok(count) if count > 0);
        if ended {
            break;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    leave(1);
}

fn say_hello(link_fd: RawFd, message: &[u8]) {
    // SAFETY: the forkserver keeps the link open while it forks; nothing closes it before this returns.
    let link = unsafe { BorrowedFd::borrow_raw(link_fd) };
    let _ = write(link, message);
}

/// Ends this process without any cleanup of Python's or Rust's: it is a copy of the forkserver.
fn leave(code: i32) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(code) }
}

fn worker_pid(middle: Pid, reader: &OwnedFd) -> Result<i32, Errno> {
    let mut bytes = [0u8; 4];
    let mut waits = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    let answered = matches!(poll(&mut waits, PollTimeout::from(MIDDLE_LIMIT_MS)), Ok(n) if n > 0);
    let got = if answered { read(reader, &mut bytes) } else { Err(Errno::ETIMEDOUT) };
    if !matches!(got, Ok(4)) {
        let _ = kill(middle, Signal::SIGKILL);
    }
    while waitpid(middle, None) == Err(Errno::EINTR) {}
    match got {
        Ok(4) => Ok(i32::from_le_bytes(bytes)),
        Ok(_) => Err(Errno::EAGAIN),
        Err(error) => Err(error),
    }
}
