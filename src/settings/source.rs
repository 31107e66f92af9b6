//! Which config file is read.

use std::path::{Path, PathBuf};

use rgunicorn_wire::message::PythonConfig;

use super::error::Error;
use super::invocation::Invocation;

/// The config file of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigSource {
    /// There is none.
    None,
    /// A TOML file.
    Toml {
        /// Absolute path.
        path: PathBuf,
        /// How messages name it.
        name: String,
    },
    /// Python, which a forkserver has to read.
    Python(PythonConfig),
}

impl ConfigSource {
    /// How messages name it.
    pub fn name(&self) -> &str {
        match self {
            ConfigSource::None => "",
            ConfigSource::Toml { name, .. } => name,
            ConfigSource::Python(PythonConfig::File(name) | PythonConfig::Module(name)) => name,
        }
    }

    /// What to print on stderr before the file is read, if anything.
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            ConfigSource::Python(PythonConfig::File(name)) if !has_python_extension(name) => {
                Some("!!!\n!!! WARNING: configuration file should have a valid Python extension.\n!!!\n")
            }
            _ => None,
        }
    }
}

impl Invocation {
    /// The config file to read: the one that a flag names, else the first that exists of `rgunicorn.toml`,
    /// `gunicorn.conf.py` (both in the start directory) and `/etc/rgunicorn.toml`.
    ///
    /// # Errors
    /// The one that a flag names is not there, or is a directory.
    pub fn config_source(&self) -> Result<ConfigSource, Error> {
        self.config().map_or_else(|| Ok(self.usual_config()), |location| self.named_config(location))
    }

    fn named_config(&self, location: &str) -> Result<ConfigSource, Error> {
        if let Some(module) = location.strip_prefix("python:") {
            return Ok(ConfigSource::Python(PythonConfig::Module(module.to_owned())));
        }
        let name = location.strip_prefix("file:").unwrap_or(location).to_owned();
        let path = self.environment.start_dir.join(&name);
        if name.is_empty() || !path.exists() {
            return Err(Error::Missing(name));
        }
        if path.is_dir() {
            return Err(Error::Unreadable { file: name, why: "it is a directory".to_owned() });
        }
        Ok(match has_extension(&name, &["toml"]) {
            true => ConfigSource::Toml { path, name },
            false => ConfigSource::Python(PythonConfig::File(name)),
        })
    }

    fn usual_config(&self) -> ConfigSource {
        let toml = |path: PathBuf, name: &str| ConfigSource::Toml { path, name: name.to_owned() };
        let here = self.environment.start_dir.join("rgunicorn.toml");
        if here.exists() {
            return toml(here, "rgunicorn.toml");
        }
        let python = self.environment.start_dir.join("gunicorn.conf.py");
        if python.exists() {
            // Gunicorn hands itself the absolute path, so that is what the file's `__file__` is.
            return ConfigSource::Python(PythonConfig::File(python.to_string_lossy().into_owned()));
        }
        let system = PathBuf::from("/etc/rgunicorn.toml");
        if system.exists() { toml(system, "/etc/rgunicorn.toml") } else { ConfigSource::None }
    }
}

fn has_python_extension(name: &str) -> bool {
    has_extension(name, &["py", "pyc"])
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    Path::new(name).extension().is_some_and(|extension| extensions.iter().any(|known| *known == extension))
}
