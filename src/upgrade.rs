//! A new program takes over from the one that runs (USR2): what the old arbiter passes to the new one, and how the two
//! hear of each other.
//!
//! The new one finds the old one's pid and sockets in Gunicorn's variables. It says over a link when its first worker is
//! ready, and notices the old one's end by a pidfd.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use crate::listen::Listener;
use crate::settings::{Bind, Invocation};
use crate::sys::{Pid, files, process, title};
use crate::systemd;

/// The old arbiter's pid.
const OLD_PID: &str = "GUNICORN_PID";
/// The sockets' numbers.
const SOCKETS: &str = "GUNICORN_FD";
/// What each of them was opened for, as JSON; ours.
const BINDS: &str = "RGUNICORN_BINDS";
/// The number of the link; ours.
const LINK: &str = "RGUNICORN_UPGRADE_FD";

/// What the new arbiter gets from the old one.
#[derive(Debug)]
pub struct Inheritance {
    /// The old arbiter.
    pub old: Pid,
    /// Sockets, and what they were opened for, where that is known.
    pub sockets: Vec<(RawFd, Option<Bind>)>,
    link: Option<UnixStream>,
}

impl Inheritance {
    /// Looks into the environment, and removes what is there: it is not for what we start. Only while the process has one
    /// thread.
    pub fn take() -> Result<Option<Inheritance>, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(old) = variable(OLD_PID) else { return Ok(None) };
        let numbers = |name: &str, text: &str| -> Result<Vec<RawFd>, String> {
            let parsed: Result<Vec<RawFd>, _> = text.split(',').map(|number| number.trim().parse()).collect();
            parsed.map_err(|_| format!("'{text}' is no list of descriptors (${name}); unset it, or start with USR2"))
        };
        let old: i32 = old.trim().parse().map_err(|_| format!("'{old}' is no pid (${OLD_PID}); unset it"))?;
        let fds = variable(SOCKETS).map_or(Ok(Vec::new()), |text| numbers(SOCKETS, &text))?;
        let binds: Vec<String> =
            variable(BINDS).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(Vec::new);
        let link = variable(LINK).map_or(Ok(Vec::new()), |text| numbers(LINK, &text))?;
        title::unset(&[OLD_PID, SOCKETS, BINDS, LINK]);
        let bind = |at: usize| binds.get(at).and_then(|text| Bind::parse(text, 0).ok().filter(|_| !text.is_empty()));
        let sockets = fds.into_iter().enumerate().map(|(at, fd)| (fd, bind(at))).collect();
        let link = link.first().and_then(|number| files::adopt(*number)).map(UnixStream::from);
        let link = link.filter(|link| link.set_nonblocking(true).is_ok());
        Ok(Some(Inheritance { old: Pid(old), sockets, link }))
    }

    /// Tells the old arbiter that the first worker is ready.
    pub fn tell_ready(&mut self) {
        if let Some(link) = &mut self.link {
            let _ = link.write_all(b"R");
        }
    }

    /// Whether the old arbiter has said that this one is the service from now on: by closing the link.
    pub fn is_handed_over(&mut self) -> bool {
        self.link.as_mut().is_none_or(|link| matches!(link.read(&mut [0]), Ok(0)))
    }
}

/// The old arbiter's view of the new one.
#[derive(Debug)]
pub struct Heir {
    link: UnixStream,
}

/// What the link says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The new arbiter's first worker is ready.
    Ready,
    /// Nothing now.
    Nothing,
    /// Nothing more will come.
    Closed,
}

impl Heir {
    /// Starts the program as it was started before, from where it was started, whatever is there by now.
    pub fn start(
        invocation: &Invocation,
        environment: impl IntoIterator<Item = (String, Option<String>)>,
        listeners: &[Rc<Listener>],
        watchdog: Option<Duration>,
    ) -> Result<(Pid, Heir), String> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| format!("{what}: {error}")
        };
        let [program, arguments @ ..] = invocation.argv() else { return Err("the program's name is unknown".into()) };
        let directory = &invocation.environment().start_dir;
        let (ours, theirs) = UnixStream::pair().map_err(failed("can't make a socket pair"))?;
        ours.set_nonblocking(true).map_err(failed("can't set up a socket pair"))?;
        let theirs = OwnedFd::from(theirs);
        let passed: Vec<BorrowedFd<'_>> =
            listeners.iter().map(AsFd::as_fd).chain(std::iter::once(theirs.as_fd())).collect();
        let numbers: Vec<String> = listeners.iter().map(|listener| listener.as_fd().as_raw_fd().to_string()).collect();
        let binds: Vec<String> = listeners.iter().map(|listener| listener.name()).collect();
        let mut command = Command::new(program_path(program, directory));
        command.args(arguments).current_dir(directory);
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // $PWD as it was, so that the new one works in the same directory by name: a link may have been changed since.
        command.env("PWD", directory);
        command.env(OLD_PID, process::own_pid().to_string()).env(SOCKETS, numbers.join(","));
        command.env(BINDS, serde_json::to_string(&binds).unwrap_or_default());
        command.env(LINK, theirs.as_raw_fd().to_string());
        if let Some(period) = watchdog {
            // Without a pid: it is about to be the new one's.
            command.env(systemd::WATCHDOG[0], period.as_micros().to_string());
        }
        let shown = program.clone();
        let pid = process::spawn_heir(command, &passed).map_err(failed(&format!("can't run '{shown}'")))?;
        Ok((pid, Heir { link: ours }))
    }

    /// The next that it says.
    pub fn hear(&mut self) -> Heard {
        let mut byte = [0];
        match self.link.read(&mut byte) {
            Ok(1) => Heard::Ready,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Heard::Nothing
            }
            _ => Heard::Closed,
        }
    }
}

impl AsFd for Heir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

/// A name without a slash is looked for in `$PATH` by whoever runs it; anything else is seen from the start directory.
fn program_path(program: &str, directory: &Path) -> std::path::PathBuf {
    if program.contains('/') { directory.join(program) } else { AsRef::<OsStr>::as_ref(program).into() }
}
