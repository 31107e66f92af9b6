//! rgunicorn, the daemon: Gunicorn's process manager in Rust. It runs no user code and contains no libpython.
//!
//! [`run`] reads the command line (`settings`), finds the Python side (`home`), and either checks the configuration
//! (`check`) or becomes the arbiter (`arbiter`). `sys` is the only door to the kernel.

pub mod arbiter;
mod check;
pub mod cli;
mod config;
mod control;
pub mod ctl;
mod exit;
mod forkserver;
mod home;
mod listen;
mod logging;
mod pattern;
mod pidfile;
pub mod settings;
pub mod sys;
mod systemd;
mod upgrade;
mod watch;

use std::ffi::OsString;
use std::io::Write;

pub use exit::Exit;

use arbiter::{Arbiter, Outcome, Start};
use home::Home;
use listen::Inherited;
use settings::{ConfigSource, Environment, FileLayer, Invocation, Mode, Parsed, Settings, merge};
use sys::daemon::{Herald, Side, detach};
use sys::{files, process, signals, title};
use upgrade::Inheritance;

/// The program: everything from the command line to the exit code.
pub fn run(arguments: Vec<OsString>) -> Exit {
    if let Some(arguments) = ctl::arguments(&arguments) {
        return ctl::run(arguments);
    }
    files::note_inherited_sockets();
    signals::reset_inherited();
    match start(arguments) {
        Ok(exit) => exit,
        Err(Refused { message, exit }) => {
            let _ = writeln!(std::io::stderr(), "{}", message.trim_end());
            exit
        }
    }
}

struct Refused {
    message: String,
    exit: Exit,
}

fn refuse(message: impl std::fmt::Display) -> Refused {
    Refused { message: format!("Error: {message}"), exit: Exit::Failure }
}

fn start(arguments: Vec<OsString>) -> Result<Exit, Refused> {
    let environment =
        Environment::capture().map_err(|error| refuse(format!("the working directory is gone: {error}")))?;
    let parsed = Invocation::parse(arguments, environment)
        .map_err(|usage| Refused { message: usage.text, exit: Exit::from_code(i32::from(usage.exit_code)) })?;
    let invocation = match parsed {
        Parsed::Run(invocation) => *invocation,
        Parsed::Print(text) => {
            // A reader that has seen enough (`--help | head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return Ok(Exit::Done);
        }
    };
    let early = read_early(&invocation).map_err(|error| Refused { message: error.to_string(), exit: Exit::Failure })?;
    let program =
        std::env::current_exe().map_err(|error| refuse(format!("can't tell where this program is: {error}")))?;
    let python = early.as_ref().and_then(Settings::python).or(invocation.python()).map(str::to_owned);
    let home = Home::find(&program, python.as_deref(), std::env::var_os("VIRTUAL_ENV")).map_err(refuse)?;
    let directory = invocation.environment().start_dir.clone();
    let mode = early.as_ref().map_or(invocation.mode(), Settings::mode);
    if mode != Mode::Serve {
        return Ok(check::run(&invocation, &home, &directory));
    }
    let passed = systemd::passed_sockets(process::own_pid().0, |name| std::env::var(name).ok());
    if passed.is_some() {
        // They are for us, not for what we start.
        title::unset(&["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]);
    }
    let watchdog = systemd::watchdog(process::own_pid().0, |name| std::env::var(name).ok());
    if watchdog.is_some() {
        // The watchdog is for the arbiter alone: nothing else is to feed it.
        title::unset(&systemd::WATCHDOG);
    }
    let inheritance = Inheritance::take().map_err(refuse)?;
    let inherited = match (&passed, &inheritance) {
        (Some(count), _) => Inherited::Systemd(*count),
        (None, Some(inheritance)) => Inherited::Upgrade(inheritance.sockets.clone()),
        (None, None) => Inherited::Nothing,
    };
    title::make_room();
    let mut start =
        Start { invocation, home, directory, inherited, inheritance, watchdog, herald: None, detached: false };
    let daemon = early.as_ref().map_or(start.invocation.says("daemon"), |settings| settings.bool("daemon"));
    if daemon && start.inheritance.is_some() {
        // As the one that started us.
        start.detached = true;
    } else if daemon {
        let keep_stdio = early.as_ref().map_or(start.invocation.says("enable_stdio_inheritance"), |settings| {
            settings.bool("enable_stdio_inheritance")
        });
        match go_to_background(keep_stdio)? {
            Ok(herald) => (start.herald, start.detached) = (Some(herald), true),
            Err(exit) => return Ok(exit),
        }
    }
    loop {
        let again = start.copy();
        let (arbiter, first) =
            Arbiter::new(start).map_err(|error| refuse(format!("the arbiter can't be set up: {error}")))?;
        match arbiter.run(first) {
            Outcome::Exit(exit) => return Ok(exit),
            Outcome::Check => return Ok(check::run(&again.invocation, &again.home, &again.directory)),
            // Only the configuration file said so, and its reader is gone: the daemon starts its own.
            Outcome::Detach { keep_stdio } => match go_to_background(keep_stdio)? {
                Ok(herald) => start = Start { herald: Some(herald), detached: true, ..again },
                Err(exit) => return Ok(exit),
            },
        }
    }
}

/// The settings, where no interpreter is needed for them: what is wrong with them is said before a process is started.
fn read_early(invocation: &Invocation) -> Result<Option<Settings>, settings::Error> {
    let source = invocation.config_source()?;
    if let Some(warning) = source.warning() {
        let _ = std::io::stderr().write_all(warning.as_bytes());
    }
    match source {
        ConfigSource::Python(_) => Ok(None),
        ConfigSource::None | ConfigSource::Toml { .. } => {
            merge(invocation, FileLayer::read(source, std::collections::BTreeMap::new())?).map(Some)
        }
    }
}

/// In the daemon: who is to be told. In the launcher: how it ends, once the daemon has said so.
fn go_to_background(keep_stdio: bool) -> Result<Result<Herald, Exit>, Refused> {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        let _ = writeln!(
            std::io::stderr(),
            "Warning: you shouldn't specify `daemon = True` when launching by systemd with `Type = notify`"
        );
    }
    match detach(keep_stdio).map_err(|error| refuse(format!("can't go to the background: {error}")))? {
        Side::Daemon(herald) => Ok(Ok(herald)),
        Side::Launcher { code, message } => {
            let _ = std::io::stderr().write_all(message.as_bytes());
            Ok(Err(Exit::from_code(i32::from(code))))
        }
    }
}
