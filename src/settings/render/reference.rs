//! `docs/settings.md`: the reference.

use super::text::{has_plain_default, toml_value, wrapped};
use crate::settings::kind::Kind;
use crate::settings::table::{self, Action, Default, Setting};

/// The reference in Markdown.
pub fn reference_markdown() -> String {
    let mut text = String::from(HEAD);
    let mut section = None;
    for setting in table::all() {
        if section.replace(setting.section) != Some(setting.section) {
            text.push_str(&format!("\n## {}\n", setting.section.title()));
        }
        text.push_str(&entry(setting));
    }
    text
}

fn entry(setting: &Setting) -> String {
    let mut text = format!("\n### `{}`\n\n{}", setting.name, wrapped(setting.summary, "", 100));
    if !setting.doc.is_empty() {
        text.push_str(&format!("\n{}", wrapped(setting.doc, "", 100)));
    }
    text.push_str(&format!("\n| | |\n|---|---|\n| Value | {} |\n| Default | {} |\n", value(setting), default(setting)));
    if !setting.long.is_empty() {
        text.push_str(&format!("| Flag | {} |\n", flags(setting)));
    }
    if !setting.env.is_empty() {
        let names: Vec<_> = setting.env.iter().map(|name| format!("`${name}`")).collect();
        text.push_str(&format!("| Environment | {} |\n", names.join(", ")));
    }
    if let Some(missing) = setting.missing() {
        text.push_str(&format!("| Status | {missing} |\n"));
    }
    text
}

fn flags(setting: &Setting) -> String {
    let metavar = setting.value_name();
    let value = match setting.action {
        Action::Store | Action::Append => format!(" {metavar}"),
        Action::Optional(_) => format!(" [{metavar}]"),
        Action::StoreTrue | Action::StoreFalse => String::new(),
    };
    let flags = setting.flags().into_iter().map(|flag| format!("`{flag}{value}`"));
    flags.collect::<Vec<_>>().join(", ")
}

fn default(setting: &Setting) -> String {
    match setting.default {
        _ if has_plain_default(setting) => format!("`{}`", toml_value(setting)),
        Default::ControlSocket => "`$XDG_RUNTIME_DIR/gunicorn.ctl` or `$HOME/.gunicorn/gunicorn.ctl`".to_owned(),
        _ => setting.default_text(),
    }
}

/// What may be written, in words.
fn value(setting: &Setting) -> String {
    let listed = |values: &[&str]| values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    match setting.kind {
        Kind::PosInt => "integer, not negative".to_owned(),
        Kind::Between(low, i64::MAX) => format!("integer from {low}"),
        Kind::Between(low, high) => format!("integer from {low} to {high}"),
        Kind::Surge => "integer from 1, or `all`".to_owned(),
        Kind::Size => "bytes, or a size such as `512M`".to_owned(),
        Kind::Bool => "boolean".to_owned(),
        Kind::Text | Kind::StatsdAddress => "string".to_owned(),
        Kind::TextList | Kind::FileList => "list of strings, or one string".to_owned(),
        Kind::CommaList | Kind::AddressList | Kind::Protocols => {
            "string with commas; in TOML also an array of strings".to_owned()
        }
        Kind::Choice { values, .. } | Kind::ExactChoice(values) => listed(values),
        Kind::ProxyProtocol => listed(&["off", "v1", "v2", "auto"]),
        Kind::Http2Cleartext => listed(&["off", "prior-knowledge", "upgrade", "both"]),
        Kind::Dict => "dict; in TOML a table".to_owned(),
        Kind::Class => "name or dotted name; in Python also a class".to_owned(),
        Kind::Callable(_) | Kind::PostRequest => "dotted name; in Python also a callable".to_owned(),
        Kind::User => "name or number of a user".to_owned(),
        Kind::Group => "name or number of a group".to_owned(),
        Kind::Directory => "directory".to_owned(),
        Kind::SslVersion => "anything".to_owned(),
    }
}

const HEAD: &str = "# Settings

Every setting that rgunicorn knows: Gunicorn's, under Gunicorn's names, and at the end its own. This page is made from
the table in `src/settings/table`.

A value is looked for in these places, and a later one wins: the default, which an environment variable may move; the
file of `--paste`; the config file; `$GUNICORN_CMD_ARGS`; the command line. `rgunicorn --explain-config` tells for each
value which of them it came from, with file and line.

The config file is the one that `-c` names, else the first that exists of `./rgunicorn.toml`, `./gunicorn.conf.py` and
`/etc/rgunicorn.toml`. A Python file is executed, and every variable that has the name of a setting sets it; other names
are ignored. Its values are as loose as Gunicorn takes them: `\"4\"` for a number, `\"true\"` for a boolean, a string for
a list of one. A TOML file is strict: an unknown name or a wrong type is an error, with its line.
";
