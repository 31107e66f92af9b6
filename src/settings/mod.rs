//! Settings: what can be said, who said it, and what holds in the end.
//!
//! [`table`] names every setting once. [`Invocation`] reads the command line as argparse does; [`merge`] puts the layers
//! on top of each other: defaults, framework, config file, `GUNICORN_CMD_ARGS`, command line. [`Settings`] is the
//! result; each value knows where it came from. Nothing here starts a process, opens a socket or runs Python.

pub mod argv;
pub mod bind;
pub mod environment;
pub mod error;
pub mod invocation;
pub mod kind;
pub mod layers;
pub mod origin;
pub mod python_int;
pub mod python_text;
pub mod render;

pub mod merged;
mod show;
pub mod source;
mod start;
pub mod table;
pub mod toml_file;
mod unbuilt;
pub mod words;

pub use bind::Bind;
pub use environment::Environment;
pub use error::{Error, Usage};
pub use invocation::{Invocation, Mode, Parsed};
pub use layers::{FileLayer, merge};
pub use merged::Settings;
pub use origin::Origin;
pub use python_int::python_int;
pub use source::ConfigSource;
pub use toml_file::TomlFile;
pub use words::split as split_words;
