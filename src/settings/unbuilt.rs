//! What was asked for and is not built yet: never silently ignored.

use rgunicorn_wire::PyValue;

use super::merged::Settings;
use super::python_text::python_str;
use super::table::{self, Default, Setting};

/// Worker classes that sync stands in for.
const UNBUILT_CLASSES: [&str; 4] = ["gevent", "gevent_pywsgi", "gevent_wsgi", "tornado"];

impl Settings {
    /// The texts of warnings, without a level, about settings that have no effect yet: one line that names them all, or
    /// nothing. TLS is not among them: see [`Settings::check_start`].
    pub fn unbuilt(&self) -> Vec<String> {
        let unbuilt = table::all().filter(|setting| !setting.built && !is_tls(setting) && self.matters(setting));
        let named: Vec<String> = unbuilt.map(|setting| self.named(setting)).collect();
        if named.is_empty() {
            return Vec::new();
        }
        vec![format!("Accepted, but without effect in this version: {}", named.join(", "))]
    }

    /// It was set to something else than its default, and what it belongs to is in use.
    fn matters(&self, setting: &Setting) -> bool {
        let changed = match setting.name {
            "worker_class" => UNBUILT_CLASSES.contains(&self.worker_class().as_str()),
            "logger_class" => self.differs(setting) && self.text("logger_class") != Some("simple"),
            _ => self.differs(setting),
        };
        changed && setting.part_of.and_then(table::find).is_none_or(|whole| self.matters(whole))
    }

    fn differs(&self, setting: &Setting) -> bool {
        let value = self.get(setting.name);
        match setting.default {
            Default::None | Default::Hook(_) => *value != PyValue::None && *value != PyValue::Str(String::new()),
            _ => self.history(setting.name).first().is_some_and(|default| default.value != *value),
        }
    }

    fn named(&self, setting: &Setting) -> String {
        match self.get(setting.name) {
            PyValue::Bool(true) | PyValue::Live { .. } | PyValue::Map(_) => setting.name.to_owned(),
            _ if setting.name == "worker_class" => format!("worker_class = {} (sync serves)", self.worker_class()),
            value => format!("{} = {}", setting.name, python_str(value)),
        }
    }
}

/// Settings of TLS have no warning of their own: without `certfile` they do nothing, with it there is no start.
fn is_tls(setting: &Setting) -> bool {
    matches!(setting.name, "certfile" | "keyfile") || setting.part_of == Some("certfile")
}
