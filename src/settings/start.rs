//! What is looked at when the server really starts. `--check-config` passes without it, as in Gunicorn.

use std::path::Path;

use super::bind::Bind;
use super::error::Error;
use super::merged::Settings;
use super::table;

impl Settings {
    /// Where to listen.
    ///
    /// # Errors
    /// An address that cannot be understood.
    pub fn addresses(&self) -> Result<Vec<Bind>, Error> {
        let bind = |text: &str| {
            Bind::parse(text, 8000).map_err(|why| Error::Value {
                setting: "bind".to_owned(),
                why: format!("{why} in '{text}'"),
                origin: self.origin("bind").clone(),
            })
        };
        self.list("bind").into_iter().map(bind).collect()
    }

    /// The environment variables of `raw_env`; a later one of the same name wins.
    ///
    /// # Errors
    /// An entry without an equals sign.
    pub fn env(&self) -> Result<Vec<(String, String)>, Error> {
        let pair = |entry: &str| match entry.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Error::RawEnv { entry: entry.to_owned(), origin: self.origin("raw_env").clone() }),
        };
        self.list("raw_env").into_iter().map(pair).collect()
    }

    /// Refuses a start that could only go wrong.
    ///
    /// # Errors
    /// TLS is asked for and not built yet: serving in the clear would give secrets away. A log configuration that is
    /// not there.
    pub fn check_start(&self) -> Result<(), Error> {
        let filled = |name: &str| self.text(name).filter(|text| !text.is_empty());
        let built = |name: &str| table::find(name).is_some_and(|setting| setting.built);
        for setting in ["certfile", "keyfile"] {
            if let (false, Some(value)) = (built(setting), filled(setting)) {
                let (value, origin) = (value.to_owned(), self.origin(setting).clone());
                return Err(Error::Tls { setting, value, origin });
            }
        }
        let other_config = !self.is_empty_dict("logconfig_dict") || filled("logconfig_json").is_some();
        match filled("logconfig").filter(|_| !other_config) {
            Some(file) if !Path::new(self.text("chdir").unwrap_or_default()).join(file).exists() => {
                Err(Error::NoLogConfig { file: file.to_owned(), origin: self.origin("logconfig").clone() })
            }
            _ => Ok(()),
        }
    }
}
