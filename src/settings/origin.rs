//! Where a value came from.

use std::fmt;

/// The layer that set a value, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// An environment variable that moves the default.
    Variable(&'static str),
    /// The application on the command line, which names the process.
    Application,
    /// The file of `--paste`.
    Paste,
    /// A config file.
    File {
        /// As the operator named it.
        name: String,
        /// Line, if it could be told.
        line: Option<u32>,
    },
    /// `GUNICORN_CMD_ARGS`
    CommandArgs,
    /// A flag.
    CommandLine,
    /// A hook, by `server.cfg.set`.
    Hook,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Application => f.write_str("application on the command line"),
            Origin::Paste => f.write_str("--paste"),
            Origin::File { name, line: Some(line) } => write!(f, "{name}, line {line}"),
            Origin::File { name, line: None } => f.write_str(name),
            Origin::CommandArgs => f.write_str("GUNICORN_CMD_ARGS"),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Hook => f.write_str("set by a hook"),
        }
    }
}
