//! How the server was called: command line, `GUNICORN_CMD_ARGS`, environment.

use std::ffi::OsString;

use rgunicorn_wire::PyValue;

use super::argv::{self, Given, Outcome};
use super::environment::Environment;
use super::error::Usage;
use super::python_text::repr_str;
use super::words;
use crate::cli;

/// What to do after reading the command line.
#[derive(Debug, Clone)]
pub enum Parsed {
    /// Go on.
    Run(Box<Invocation>),
    /// Help or version: print this on stdout and exit with 0.
    Print(String),
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To serve.
    Serve,
    /// `--check-config`
    CheckConfig,
    /// `--print-config`
    PrintConfig,
    /// `--explain-config`
    ExplainConfig,
}

/// A command line that was understood, with the environment it was typed in.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub(super) environment: Environment,
    pub(super) command_line: Given,
    pub(super) command_args: Given,
    argv: Vec<String>,
}

impl Invocation {
    /// Reads the command line (`args[0]` is the program, as in [`std::env::args_os`]), then `GUNICORN_CMD_ARGS`.
    /// No file is read.
    ///
    /// # Errors
    /// What argparse would refuse.
    pub fn parse(args: Vec<OsString>, environment: Environment) -> Result<Parsed, Usage> {
        let mut argv = Vec::with_capacity(args.len());
        for arg in args {
            let shown = arg.to_string_lossy().into_owned();
            argv.push(arg.into_string().map_err(|_| refusal(&format!("{} is not UTF-8", repr_str(&shown))))?);
        }
        let command_line = match argv::parse(argv.get(1..).unwrap_or_default()).map_err(|error| refusal(&error))? {
            Outcome::Given(given) => given,
            other => return Ok(Parsed::Print(printed(&other))),
        };
        let command_args = match command_args(environment.var("GUNICORN_CMD_ARGS").unwrap_or_default())? {
            Outcome::Given(given) => given,
            other => return Ok(Parsed::Print(printed(&other))),
        };
        Ok(Parsed::Run(Box::new(Invocation { environment, command_line, command_args, argv })))
    }

    /// The whole command line, program first, for the config file's `sys.argv`.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// What the run is for, as far as flags say; a config file can ask for a check too: see
    /// [`Settings::mode`](super::Settings::mode).
    pub fn mode(&self) -> Mode {
        let asked = |name| self.given().any(|given| given.get(name).is_some());
        if asked("explain_config") {
            Mode::ExplainConfig
        } else if asked("print_config") {
            Mode::PrintConfig
        } else if asked("check_config") {
            Mode::CheckConfig
        } else {
            Mode::Serve
        }
    }

    /// Whether a flag without a value was given.
    pub fn says(&self, name: &str) -> bool {
        self.given().any(|given| given.get(name) == Some(&PyValue::Bool(true)))
    }

    /// The interpreter that flags name. One in a TOML file is known after [`merge`](super::merge) only, which a TOML
    /// file does not need an interpreter for.
    pub fn python(&self) -> Option<&str> {
        self.given().find_map(|given| given.text("python"))
    }

    /// The environment it was called in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The config file that flags name.
    pub(super) fn config(&self) -> Option<&str> {
        self.given().find_map(|given| given.text("config"))
    }

    /// Flags, the stronger ones first.
    fn given(&self) -> impl Iterator<Item = &Given> {
        [&self.command_line, &self.command_args].into_iter()
    }
}

fn command_args(text: &str) -> Result<Outcome, Usage> {
    let name = "GUNICORN_CMD_ARGS";
    if text.contains('\u{FFFD}') {
        return Err(refusal(&format!("{name} is not UTF-8")));
    }
    let words = words::split(text)
        .map_err(|error| Usage { text: format!("\nError: {error} in {name}: {text}\n"), exit_code: 1 })?;
    argv::parse(&words).map_err(|error| refusal(&format!("in {name}: {error}")))
}

fn printed(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Version => cli::version(),
        _ => cli::help(),
    }
}

fn refusal(error: &str) -> Usage {
    Usage { text: format!("usage: {}\nrgunicorn: error: {error}\n", cli::USAGE), exit_code: 2 }
}
