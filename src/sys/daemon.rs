//! Going into the background.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

/// So much fits into a pipe that nobody reads yet.
const MAX_TOLD: usize = 32 * 1024;

/// Who we are after [`detach`].
#[derive(Debug)]
pub enum Side {
    /// The process that was started: the daemon has said how it went, and this one ends with that.
    Launcher {
        /// The exit code.
        code: u8,
        /// What to print, if anything.
        message: String,
    },
    /// The daemon.
    Daemon(Herald),
}

/// The daemon's way to tell its launcher how the start went. Dropped without a word it tells of a failure.
#[derive(Debug)]
pub struct Herald {
    pipe: File,
}

impl Herald {
    /// The launcher prints the message and ends with the code.
    pub fn tell(mut self, code: u8, message: &str) {
        // The launcher may have been killed; then nobody listens, and nothing depends on it.
        let shown = message.get(..MAX_TOLD).unwrap_or(message);
        let _ = self.pipe.write_all(&[&[code], shown.as_bytes()].concat());
    }
}

/// Forks twice, with a session of its own between, as daemons do. The caller has no threads, no children and no
/// buffered output.
pub fn detach(keep_stdio: bool) -> io::Result<Side> {
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: the process has a single thread, as the caller promises: the child may go on as if nothing had happened.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        drop(writer);
        while waitpid(child, None) == Err(nix::errno::Errno::EINTR) {}
        return Ok(listen(reader));
    }
    drop(reader);
    setsid()?;
    // SAFETY: as above.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        super::process::leave(0);
    }
    umask(Mode::from_bits_truncate(0o022));
    silence(keep_stdio)?;
    Ok(Side::Daemon(Herald { pipe: writer.into() }))
}

/// Waits for the daemon's word: it lasts until that has bound its addresses and written its pidfile, or has failed.
fn listen(reader: OwnedFd) -> Side {
    let mut said = Vec::new();
    let _ = File::from(reader).read_to_end(&mut said);
    match said.split_first() {
        Some((&code, message)) => Side::Launcher { code, message: String::from_utf8_lossy(message).into_owned() },
        None => Side::Launcher { code: 1, message: "Error: the daemon ended before it was ready\n".into() },
    }
}

/// Gunicorn's rule: all three to /dev/null, or, with `enable_stdio_inheritance`, stdin and what is a terminal.
fn silence(keep_stdio: bool) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(null.as_fd())?;
    if !keep_stdio || io::stdout().is_terminal() {
        dup2_stdout(null.as_fd())?;
    }
    if !keep_stdio || io::stderr().is_terminal() {
        dup2_stderr(null.as_fd())?;
    }
    Ok(())
}
