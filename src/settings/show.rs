//! `--print-config` and `--explain-config`.

use std::collections::BTreeMap;
use std::fmt::Write;

use rgunicorn_wire::PyValue;

use super::kind::Kind;
use super::merged::{Settings, Value};
use super::origin::Origin;
use super::python_text::{python_str, repr_tuple};
use super::table::{self, Default, Setting};

impl Settings {
    /// One line a setting, sorted and padded as Gunicorn does it. `shown` is how the forkserver prints the callables
    /// that were given by a dotted name.
    pub fn print_config(&self, shown: &BTreeMap<String, String>) -> String {
        let mut settings: Vec<_> = table::all().filter(|setting| !setting.is_mode()).collect();
        settings.sort_by_key(|setting| setting.name);
        let width = settings.iter().map(|setting| setting.name.len()).max().unwrap_or_default();
        let mut text = String::new();
        for setting in settings {
            let value = match (shown.get(setting.name), self.current(setting.name)) {
                (Some(shown), _) => shown.clone(),
                (None, Some(value)) => printed(setting, value),
                (None, None) => String::new(),
            };
            let _ = writeln!(text, "{:width$} = {value}", setting.name);
        }
        text
    }

    /// Every value that is not a default, who set it, and what it overrode; the last of those is the default.
    pub fn explain_config(&self) -> String {
        let mut text = String::new();
        let mut settings: Vec<_> = table::all().filter(|setting| !setting.is_mode()).collect();
        settings.sort_by_key(|setting| setting.name);
        for setting in settings {
            let [earlier @ .., value] = self.history(setting.name) else { continue };
            if value.origin == Origin::Default {
                continue;
            }
            let _ = writeln!(text, "{} = {}", setting.name, printed(setting, value));
            let _ = writeln!(text, "    set by: {}", value.origin);
            for old in earlier.iter().rev() {
                let _ = writeln!(text, "    overrides: {} ({})", printed(setting, old), old.origin);
            }
        }
        if self.get("worker_class") != &PyValue::Str(self.worker_class()) && self.worker_class() == "gthread" {
            let _ = writeln!(text, "The worker class becomes gthread, since threads is {}.", self.int("threads"));
        }
        text
    }
}

fn printed(setting: &Setting, value: &Value) -> String {
    if let (PyValue::None, Default::Hook(name)) = (&value.value, setting.default) {
        return format!("<{name}()>");
    }
    match (setting.kind, &value.value) {
        // Gunicorn wraps a hook that takes fewer parameters, and prints the wrapper.
        (Kind::PostRequest, PyValue::Live { arity: Some(2 | 3), .. }) => {
            "<validate_post_request.<locals>.<lambda>()>".to_owned()
        }
        (_, PyValue::Live { shown, .. }) => shown.clone(),
        (Kind::StatsdAddress, PyValue::List(pair)) => repr_tuple(pair),
        (_, other) => value.shown.clone().unwrap_or_else(|| python_str(other)),
    }
}
