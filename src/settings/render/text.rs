//! Pieces that several renderings use.

use serde_json::{Value, json};

use crate::settings::kind::Kind;
use crate::settings::table::{Default, Setting};

/// Fills lines up to `width`, each after `prefix`; blank lines divide paragraphs.
pub(super) fn wrapped(text: &str, prefix: &str, width: usize) -> String {
    let mut lines = Vec::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        if !lines.is_empty() {
            lines.push(prefix.trim_end().to_owned());
        }
        let mut line = prefix.to_owned();
        for word in paragraph.split_whitespace() {
            let fits = line.chars().count() + 1 + word.chars().count() <= width;
            if line.len() == prefix.len() {
                line.push_str(word);
            } else if fits {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(std::mem::replace(&mut line, format!("{prefix}{word}")));
            }
        }
        lines.push(line);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A value that a TOML file may hold for this setting: the default, or a placeholder where there is none.
pub(super) fn example_value(setting: &Setting) -> Value {
    match setting.default {
        Default::Bool(truth) => json!(truth),
        Default::Int(number) => json!(number),
        Default::Text(text) if is_comma_list(setting.kind) => json!(text.split(',').collect::<Vec<_>>()),
        Default::Text(text) => json!(text),
        Default::List(items) => json!(items),
        Default::Map(pairs) => Value::Object(pairs.iter().map(|(key, value)| ((*key).into(), json!(value))).collect()),
        Default::StartDir => json!("."),
        Default::Hook(_) => json!("module.function"),
        Default::EffectiveUser | Default::EffectiveGroup | Default::ControlSocket | Default::None => match setting.kind
        {
            Kind::Bool => json!(false),
            _ => json!(setting.metavar.unwrap_or(setting.name)),
        },
    }
}

/// Whether the default can be written down, the same on every machine.
pub(super) fn has_plain_default(setting: &Setting) -> bool {
    matches!(
        setting.default,
        Default::Bool(_) | Default::Int(_) | Default::Text(_) | Default::List(_) | Default::Map(_) | Default::StartDir
    )
}

/// The same in TOML.
pub(super) fn toml_value(setting: &Setting) -> String {
    match (setting.default, example_value(setting)) {
        (Default::Int(number), _) if setting.argument == crate::settings::table::Argument::AutoInt => {
            format!("0o{number:03o}")
        }
        (_, value) => toml_text(&value),
    }
}

fn toml_text(value: &Value) -> String {
    match value {
        Value::Object(pairs) if pairs.is_empty() => "{}".to_owned(),
        Value::Object(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key} = {}", toml_text(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        // A literal string needs no escapes; no default holds a single quote.
        Value::String(text) if text.contains(['"', '\\']) => format!("'{text}'"),
        // JSON's strings, numbers and booleans are TOML's.
        other => other.to_string(),
    }
}

pub(super) fn is_comma_list(kind: Kind) -> bool {
    matches!(kind, Kind::CommaList | Kind::AddressList | Kind::Protocols)
}
