//! How the daemon ends, as measured on Gunicorn.

use std::process::ExitCode;

/// An exit code with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Told to stop, or nothing was wrong.
    Done,
    /// A configuration that cannot be used, an address that cannot be bound, a hook or preloaded app that raised.
    Failure,
    /// A command line that cannot be read.
    Usage,
    /// No worker could boot.
    WorkerBoot,
    /// The app could not be found in its module.
    AppLoad,
    /// What a configuration file asked for with `sys.exit(code)`.
    Other(u8),
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::WorkerBoot => 3,
            Exit::AppLoad => 4,
            Exit::Other(code) => code,
        }
    }

    /// From a number that came from Python. Out of range is a failure.
    pub fn from_code(code: i32) -> Exit {
        match u8::try_from(code) {
            Ok(0) => Exit::Done,
            Ok(1) | Err(_) => Exit::Failure,
            Ok(2) => Exit::Usage,
            Ok(3) => Exit::WorkerBoot,
            Ok(4) => Exit::AppLoad,
            Ok(other) => Exit::Other(other),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
