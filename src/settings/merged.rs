//! The merged settings, each with its history.

use std::collections::BTreeMap;

use rgunicorn_wire::PyValue;

use super::environment::Environment;
use super::error::Error;
use super::invocation::Mode;
use super::kind::{Input, Surroundings};
use super::origin::Origin;
use super::table::{self, Setting};

/// What is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Application {
    /// `module[:callable]`
    Wsgi(String),
    /// A PasteDeploy file: absolute path, maybe with `#name`.
    Paste(String),
}

/// Every setting with its value.
#[derive(Debug, Clone)]
pub struct Settings {
    histories: BTreeMap<&'static str, Vec<Value>>,
    application: Option<Application>,
    environment: Environment,
    warnings: Vec<String>,
}

/// A value that was set at some time.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) value: PyValue,
    pub(super) origin: Origin,
    /// How Python prints it, for what this side cannot print the same.
    pub(super) shown: Option<String>,
}

impl Settings {
    pub(super) fn new(environment: Environment) -> Self {
        Settings { histories: BTreeMap::new(), application: None, environment, warnings: Vec::new() }
    }

    /// Sets a value, as from a layer above all others; [`Origin::Hook`] for what `server.cfg.set` changed.
    ///
    /// # Errors
    /// The setting does not accept it, or does not exist.
    pub fn set(&mut self, name: &str, value: PyValue, origin: Origin) -> Result<(), Error> {
        let setting = table::find(name).ok_or_else(|| Error::NoSuchSetting(name.to_owned()))?;
        self.set_shown(setting, &value, None, origin)
    }

    pub(super) fn set_shown(
        &mut self,
        setting: &'static Setting,
        value: &PyValue,
        shown: Option<&str>,
        origin: Origin,
    ) -> Result<(), Error> {
        let mut around = Surroundings { environment: &self.environment, warnings: &mut self.warnings };
        match setting.kind.validate(Input { value, shown }, &mut around) {
            Ok(validated) => {
                // Only an unchanged value may still be shown as Python showed it.
                let shown = shown.filter(|_| validated == *value && needs_python(value)).map(str::to_owned);
                self.histories.entry(setting.name).or_default().push(Value { value: validated, origin, shown });
                Ok(())
            }
            Err(why) => Err(Error::Value { setting: setting.name.to_owned(), why, origin }),
        }
    }

    /// A default that no validator looks at.
    pub(super) fn set_unchecked(&mut self, setting: &'static Setting, value: PyValue) {
        let value = Value { value, origin: Origin::Default, shown: None };
        self.histories.entry(setting.name).or_default().push(value);
    }

    pub(super) fn set_application(&mut self, application: Application) {
        self.application = Some(application);
    }

    /// The application when the command line names none.
    pub(super) fn name_application(&mut self) -> Result<(), Error> {
        if self.application.is_none() {
            self.application = self.text("wsgi_app").map(|uri| Application::Wsgi(uri.to_owned()));
        }
        if self.application.is_some() {
            return Ok(());
        }
        let paste = self.text("paste").map(|_| self.origin("paste").clone());
        Err(Error::NoApplication { paste })
    }

    /// The value; `None` also for a name that no setting has, which debug builds do not let pass.
    pub fn get(&self, name: &str) -> &PyValue {
        debug_assert!(self.histories.contains_key(name), "no setting is called {name}");
        self.current(name).map_or(&PyValue::None, |value| &value.value)
    }

    /// An integer setting; 0 for any other. A boolean is an integer in Python.
    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            PyValue::Int(number) => *number,
            PyValue::Bool(truth) => i64::from(*truth),
            _ => 0,
        }
    }

    /// Whether a boolean setting is on; `None` is off.
    pub fn bool(&self, name: &str) -> bool {
        *self.get(name) == PyValue::Bool(true)
    }

    /// A string setting that has a value.
    pub fn text(&self, name: &str) -> Option<&str> {
        as_text(self.get(name))
    }

    /// The strings of a list setting.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let PyValue::List(items) = self.get(name) else { return Vec::new() };
        items.iter().filter_map(as_text).collect()
    }

    /// The pairs of strings in a dict setting.
    pub fn map(&self, name: &str) -> Vec<(&str, &str)> {
        let PyValue::Map(pairs) = self.get(name) else { return Vec::new() };
        pairs.iter().filter_map(|(key, value)| Some((key.as_str(), as_text(value)?))).collect()
    }

    /// Whether a dict setting holds nothing.
    pub(super) fn is_empty_dict(&self, name: &str) -> bool {
        matches!(self.get(name), PyValue::Map(pairs) if pairs.is_empty())
    }

    /// Who set the current value.
    pub fn origin(&self, name: &str) -> &Origin {
        self.current(name).map_or(&Origin::Default, |value| &value.origin)
    }

    /// Whether any layer set it, an environment variable included.
    pub fn is_set(&self, name: &str) -> bool {
        *self.origin(name) != Origin::Default
    }

    /// Every value that was set, in the order of the layers.
    pub(super) fn history(&self, name: &str) -> &[Value] {
        self.histories.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn current(&self, name: &str) -> Option<&Value> {
        self.history(name).last()
    }

    /// Every setting with its final value, for the forkserver. A hook that nobody set is `None`.
    pub fn wire(&self) -> BTreeMap<String, PyValue> {
        let settings = table::all().filter(|setting| !setting.is_mode());
        settings.map(|setting| (setting.name.to_owned(), self.get(setting.name).clone())).collect()
    }

    /// The settings that hold callables, with the number of positional parameters they are called with.
    pub fn callables(&self) -> BTreeMap<String, u32> {
        table::all().filter_map(|setting| Some((setting.name.to_owned(), setting.arity()?))).collect()
    }

    /// The application, `module[:callable]`; empty when a PasteDeploy file is served.
    pub fn app_uri(&self) -> &str {
        match &self.application {
            Some(Application::Wsgi(uri)) => uri,
            _ => "",
        }
    }

    /// The PasteDeploy file that is served: absolute path, maybe with `#name`.
    pub fn paste_uri(&self) -> Option<&str> {
        match &self.application {
            Some(Application::Paste(uri)) => Some(uri),
            _ => None,
        }
    }

    /// Name for process titles.
    pub fn proc_name(&self) -> &str {
        self.text("proc_name").or_else(|| self.text("default_proc_name")).unwrap_or_default()
    }

    /// The worker class: what was set, except that `sync` with several threads is `gthread`. A class object goes by its
    /// name.
    pub fn worker_class(&self) -> String {
        match self.get("worker_class") {
            PyValue::Str(name) if (name == "sync" || name.ends_with("SyncWorker")) && self.int("threads") > 1 => {
                "gthread".to_owned()
            }
            PyValue::Str(name) => name.clone(),
            PyValue::Live { shown, .. } => {
                let name = shown.trim_start_matches('<').trim_end_matches("()>");
                name.rsplit('.').next().unwrap_or(name).to_owned()
            }
            _ => "sync".to_owned(),
        }
    }

    /// Whether sendfile(2) may be used. Any value of the setting turns it off; without one `$SENDFILE` decides.
    pub fn sendfile(&self) -> bool {
        match (self.get("sendfile"), self.environment.var("SENDFILE")) {
            (PyValue::None, None) => true,
            (PyValue::None, Some(word)) => ["y", "1", "yes", "true"].contains(&word.to_lowercase().as_str()),
            _ => false,
        }
    }

    /// The interpreter that was asked for.
    pub fn python(&self) -> Option<&str> {
        self.text("python").filter(|name| !name.is_empty())
    }

    /// What the run is for, config file included.
    pub fn mode(&self) -> Mode {
        if self.bool("explain_config") {
            Mode::ExplainConfig
        } else if self.bool("print_config") {
            Mode::PrintConfig
        } else if self.bool("check_config") {
            Mode::CheckConfig
        } else {
            Mode::Serve
        }
    }

    /// What the operator should be told about values that were accepted.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn as_text(value: &PyValue) -> Option<&str> {
    match value {
        PyValue::Str(text) => Some(text),
        _ => None,
    }
}

/// Whether only Python knows how this is printed.
fn needs_python(value: &PyValue) -> bool {
    matches!(value, PyValue::Map(_) | PyValue::Live { .. } | PyValue::List(_) | PyValue::Float(_))
}
