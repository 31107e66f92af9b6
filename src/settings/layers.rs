//! The layers of configuration, in Gunicorn's order.

use std::collections::BTreeMap;
use std::fs;

use rgunicorn_wire::PyValue;
use rgunicorn_wire::message::FileSetting;

use super::argv::Given;
use super::environment::Environment;
use super::error::Error;
use super::invocation::Invocation;
use super::merged::{Application, Settings};
use super::origin::Origin;
use super::python_int::python_int;
use super::python_text::repr_str;
use super::source::ConfigSource;
use super::table::{self, Default, Setting};
use super::toml_file::TomlFile;

/// What the config file said.
#[derive(Debug, Clone)]
pub enum FileLayer {
    /// There is none.
    None,
    /// A TOML file.
    Toml(TomlFile),
    /// A Python file or module, as a forkserver reported it.
    Python {
        /// How messages name it.
        name: String,
        /// What it set. Names that are no settings are ignored: a Python file has other names too.
        settings: BTreeMap<String, FileSetting>,
    },
}

impl FileLayer {
    /// The layer of this source. `reported` is what a forkserver found, where the source is Python.
    ///
    /// # Errors
    /// A TOML file that cannot be read, or says what no setting is.
    pub fn read(source: ConfigSource, reported: BTreeMap<String, FileSetting>) -> Result<FileLayer, Error> {
        Ok(match source {
            ConfigSource::None => FileLayer::None,
            ConfigSource::Toml { path, name } => FileLayer::Toml(TomlFile::read(&path, &name)?),
            ConfigSource::Python(_) => FileLayer::Python { name: source.name().to_owned(), settings: reported },
        })
    }
}

/// Merges all layers; each overrides the ones before.
///
/// # Errors
/// A value that a setting does not accept, or no application.
pub fn merge(invocation: &Invocation, file: FileLayer) -> Result<Settings, Error> {
    let mut settings = defaults(&invocation.environment)?;
    framework(&mut settings, invocation)?;
    match file {
        FileLayer::None => {}
        FileLayer::Toml(file) => toml(&mut settings, file)?,
        FileLayer::Python { name, settings: found } => python(&mut settings, &name, found)?,
    }
    given(&mut settings, &invocation.command_args, &Origin::CommandArgs)?;
    given(&mut settings, &invocation.command_line, &Origin::CommandLine)?;
    settings.name_application()?;
    Ok(settings)
}

fn defaults(environment: &Environment) -> Result<Settings, Error> {
    let mut settings = Settings::new(environment.clone());
    for setting in table::all() {
        let value = match setting.default {
            Default::None | Default::Hook(_) => {
                settings.set_unchecked(setting, PyValue::None);
                continue;
            }
            Default::Bool(truth) => PyValue::Bool(truth),
            Default::Int(number) => PyValue::Int(number),
            Default::Text(text) => PyValue::Str(text.to_owned()),
            Default::List(items) => PyValue::List(items.iter().map(|item| PyValue::Str((*item).to_owned())).collect()),
            Default::Map(pairs) => {
                let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), PyValue::Str((*value).to_owned()));
                PyValue::Map(pairs.iter().map(pair).collect())
            }
            Default::StartDir => PyValue::Str(environment.start_dir.to_string_lossy().into_owned()),
            Default::EffectiveUser | Default::EffectiveGroup => PyValue::None,
            Default::ControlSocket => PyValue::Str(environment.control_socket()),
        };
        settings.set(setting.name, value, Origin::Default)?;
    }
    if let Some(port) = environment.var("PORT") {
        let bind = PyValue::List(vec![PyValue::Str(format!("0.0.0.0:{port}"))]);
        settings.set("bind", bind, Origin::Variable("PORT"))?;
    }
    if let Some((number, origin)) = web_concurrency(environment)? {
        settings.set("workers", number, origin)?;
    }
    if let Some(list) = environment.var("FORWARDED_ALLOW_IPS") {
        let list = PyValue::Str(list.to_owned());
        settings.set("forwarded_allow_ips", list, Origin::Variable("FORWARDED_ALLOW_IPS"))?;
    }
    Ok(settings)
}

/// Unlike the flag and the file it is plainly decimal. Set to nothing it is taken for unset, which Gunicorn dies of.
fn web_concurrency(environment: &Environment) -> Result<Option<(PyValue, Origin)>, Error> {
    let name = "WEB_CONCURRENCY";
    let Some(text) = environment.var(name).filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    match python_int(text, 10) {
        Some(number) => Ok(Some((PyValue::Int(number), Origin::Variable(name)))),
        None => Err(Error::Value {
            setting: "workers".to_owned(),
            why: format!("{} is not an integer", repr_str(text)),
            origin: Origin::Variable(name),
        }),
    }
}

/// What Gunicorn's application class says before the config file is read: names for process and logs.
fn framework(settings: &mut Settings, invocation: &Invocation) -> Result<(), Error> {
    if let Some(paste) = invocation.command_line.text("paste") {
        let uri = invocation.environment.absolute(paste).to_string_lossy().into_owned();
        let file = uri.split('#').next().unwrap_or_default().to_owned();
        let bytes = fs::read(&file).map_err(|_| Error::PasteMissing(file.clone().into()))?;
        settings.set("default_proc_name", PyValue::Str(file.clone()), Origin::Paste)?;
        if String::from_utf8_lossy(&bytes).lines().any(|line| line.trim() == "[loggers]") {
            settings.set("logconfig", PyValue::Str(file), Origin::Paste)?;
        }
        settings.set_application(Application::Paste(uri));
    } else if let Some(uri) = invocation.command_line.positional.first() {
        settings.set("default_proc_name", PyValue::Str(uri.clone()), Origin::Application)?;
        settings.set_application(Application::Wsgi(uri.clone()));
    }
    Ok(())
}

fn toml(settings: &mut Settings, file: TomlFile) -> Result<(), Error> {
    file.settings.into_iter().try_for_each(|(setting, value, origin)| settings.set(setting.name, value, origin))
}

fn python(settings: &mut Settings, file: &str, found: BTreeMap<String, FileSetting>) -> Result<(), Error> {
    // By line, so that the first mistake in the file is the one to be told.
    let known = |(name, value)| Some((table::find(name as &str).filter(|setting| setting.in_python_file())?, value));
    let mut found: Vec<(&'static Setting, &FileSetting)> = found.iter().filter_map(|(n, v)| known((n, v))).collect();
    found.sort_by_key(|(_, value)| value.line.unwrap_or(u32::MAX));
    for (setting, value) in found {
        let origin = Origin::File { name: file.to_owned(), line: value.line };
        settings.set_shown(setting, &value.value, Some(&value.shown), origin)?;
    }
    Ok(())
}

fn given(settings: &mut Settings, given: &Given, origin: &Origin) -> Result<(), Error> {
    given.settings.iter().try_for_each(|(setting, value)| settings.set(setting.name, value.clone(), origin.clone()))
}
