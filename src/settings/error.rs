//! What can be wrong with a configuration. All wording that the operator reads is here.

use std::fmt;
use std::path::PathBuf;

use super::origin::Origin;
use super::python_text::repr_str;

/// A configuration that cannot be served. Its text is what to print on stderr; the exit code is 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// A value that the setting does not accept.
    Value {
        /// The setting.
        setting: String,
        /// Clause that quotes the value.
        why: String,
        /// Who set it.
        origin: Origin,
    },
    /// A key of the TOML file that is no setting.
    UnknownKey {
        /// As written.
        key: String,
        /// File and line.
        origin: Origin,
        /// What to do about it.
        advice: String,
    },
    /// The TOML file is no TOML.
    Toml {
        /// File and line.
        origin: Origin,
        /// What the parser says.
        why: String,
    },
    /// A config file that was asked for is not there.
    Missing(String),
    /// A config file that cannot be read.
    Unreadable {
        /// As given.
        file: String,
        /// What the system says.
        why: String,
    },
    /// `--paste` names a file that is not there.
    PasteMissing(PathBuf),
    /// Nothing to serve.
    NoApplication {
        /// `paste` was set where it has no effect.
        paste: Option<Origin>,
    },
    /// `raw_env` holds something that is no `NAME=VALUE`.
    RawEnv {
        /// The entry.
        entry: String,
        /// Who set it.
        origin: Origin,
    },
    /// TLS is asked for, which this version cannot do; it must not serve in the clear instead.
    Tls {
        /// `certfile` or `keyfile`.
        setting: &'static str,
        /// Its value.
        value: String,
        /// Who set it.
        origin: Origin,
    },
    /// The file of `logconfig` is not there.
    NoLogConfig {
        /// As given.
        file: String,
        /// Who set it.
        origin: Origin,
    },
    /// There is no setting of this name (`server.cfg.set` in a hook).
    NoSuchSetting(String),
}

impl Error {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        1
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error: ")?;
        match self {
            Error::Value { setting, why, origin } => write!(f, "invalid value for {setting}: {why} ({origin})"),
            Error::UnknownKey { key, origin, advice } => write!(f, "unknown setting '{key}' ({origin}); {advice}"),
            Error::Toml { origin, why } => write!(f, "{why} ({origin})"),
            Error::Missing(file) => write!(f, "{} doesn't exist", repr_str(file)),
            Error::Unreadable { file, why } => write!(f, "Failed to read config file: {file} ({why})"),
            Error::PasteMissing(file) => {
                write!(f, "invalid value for paste: {} not found (command line)", repr_str(&file.to_string_lossy()))
            }
            Error::NoApplication { paste: None } => write!(
                f,
                "No application module specified. Name it on the command line (module:callable) or in wsgi_app"
            ),
            Error::NoApplication { paste: Some(origin) } => write!(
                f,
                "No application module specified. paste ({origin}) names one on the command line only: use --paste"
            ),
            Error::RawEnv { entry, origin } => {
                let entry = repr_str(entry);
                write!(f, "environment setting {entry} invalid: raw_env wants NAME=VALUE ({origin})")
            }
            Error::Tls { setting, value, origin } => write!(
                f,
                "{setting} = {value} ({origin}) asks for TLS, which this version does not offer yet; \
                 let a proxy in front do it and remove the setting"
            ),
            Error::NoLogConfig { file, origin } => {
                write!(f, "invalid value for logconfig: log config {} not found ({origin})", repr_str(file))
            }
            Error::NoSuchSetting(name) => write!(f, "No configuration setting for: {name}"),
        }
    }
}

/// A command line that argparse would refuse: print the text on stderr and exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Usage and error, with the line end.
    pub text: String,
    /// 2, as argparse; 1 for a `GUNICORN_CMD_ARGS` that cannot be divided into words, as in Gunicorn.
    pub exit_code: u8,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Usage {}
