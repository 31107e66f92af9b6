//! The TOML config file: flat keys, named as the settings, strict about types and names.

use std::fs;
use std::path::Path;

use rgunicorn_wire::PyValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Error;
use super::kind::Kind;
use super::origin::Origin;
use super::python_text::python_repr;
use super::table::{self, Setting};

/// A TOML file whose keys and types are right; the values themselves are looked at when layers are merged.
#[derive(Debug, Clone, Default)]
pub struct TomlFile {
    pub(super) settings: Vec<(&'static Setting, PyValue, Origin)>,
}

impl TomlFile {
    /// Reads the file; `name` is what messages call it.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or holds a key or a type that does not belong there.
    pub fn read(path: &Path, name: &str) -> Result<Self, Error> {
        let unreadable = |why: String| Error::Unreadable { file: name.to_owned(), why };
        let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
        Self::parse(&text, name)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As for [`TomlFile::read`].
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let origin = |offset: usize| Origin::File { name: name.to_owned(), line: Some(line_of(text, offset)) };
        let document = DeTable::parse(text).map_err(|error| Error::Toml {
            origin: origin(error.span().map_or(0, |span| span.start)),
            why: error.message().trim().replace('\n', "; "),
        })?;
        let mut settings = Vec::new();
        for (key, value) in in_file_order(document.get_ref()) {
            let origin = origin(key.span().start);
            let Some(setting) = table::find(key.get_ref()).filter(|setting| setting.in_toml_file()) else {
                return Err(unknown(key.get_ref(), value.get_ref(), origin));
            };
            match converted(setting.kind, value.get_ref()) {
                Ok(value) => settings.push((setting, value, origin)),
                Err(why) => return Err(Error::Value { setting: setting.name.to_owned(), why, origin }),
            }
        }
        Ok(TomlFile { settings })
    }
}

fn in_file_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>)> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    pairs
}

fn line_of(text: &str, offset: usize) -> u32 {
    let before = text.as_bytes().iter().take(offset);
    u32::try_from(before.filter(|byte| **byte == b'\n').count() + 1).unwrap_or(u32::MAX)
}

fn converted(kind: Kind, value: &DeValue<'_>) -> Result<PyValue, String> {
    let wanted = match (kind, value) {
        (Kind::PosInt | Kind::Between(..), DeValue::Integer(_)) => return python_value(value),
        (Kind::PosInt | Kind::Between(..), _) => "an integer",
        (Kind::Surge | Kind::Size, DeValue::Integer(_) | DeValue::String(_)) => return python_value(value),
        (Kind::Surge, _) => "a number or \"all\"",
        (Kind::Size, _) => "a number of bytes, or a size such as \"512M\"",
        (Kind::Bool, DeValue::Boolean(_)) => return python_value(value),
        (Kind::Bool, _) => "true or false",
        (Kind::User | Kind::Group, DeValue::Integer(_) | DeValue::String(_)) => return python_value(value),
        (Kind::User | Kind::Group, _) => "a name or a number",
        (Kind::TextList | Kind::FileList, DeValue::String(_)) => return python_value(value),
        (Kind::TextList | Kind::FileList, DeValue::Array(_)) if strings(value).is_some() => return python_value(value),
        (Kind::TextList | Kind::FileList, _) => "an array of strings",
        (Kind::CommaList | Kind::AddressList | Kind::Protocols, DeValue::String(_)) => return python_value(value),
        (Kind::CommaList | Kind::AddressList | Kind::Protocols, _) => match strings(value) {
            Some(items) => return Ok(PyValue::Str(items.join(","))),
            None => "an array of strings, or a string with commas",
        },
        (Kind::Dict, DeValue::Table(_)) => return python_value(value),
        (Kind::Dict, _) => "a table",
        (Kind::ProxyProtocol | Kind::Http2Cleartext, DeValue::String(_) | DeValue::Boolean(_)) => {
            return python_value(value);
        }
        (Kind::SslVersion, DeValue::String(_) | DeValue::Integer(_)) => return python_value(value),
        (_, DeValue::String(_)) => return python_value(value),
        _ => "a string",
    };
    let shown = python_value(value).map(|value| python_repr(&value)).unwrap_or_default();
    Err(format!("{shown} is {}; {wanted} is wanted", with_article(value)))
}

fn with_article(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}

fn strings(value: &DeValue<'_>) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
}

fn python_value(value: &DeValue<'_>) -> Result<PyValue, String> {
    Ok(match value {
        DeValue::String(text) => PyValue::Str(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            PyValue::Int(parsed.map_err(|_| format!("{number} is too large"))?)
        }
        DeValue::Float(number) => PyValue::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => PyValue::Bool(*truth),
        DeValue::Datetime(moment) => PyValue::Live { shown: moment.to_string(), arity: None },
        DeValue::Array(items) => {
            PyValue::List(items.iter().map(|item| python_value(item.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => PyValue::Map(
            in_file_order(table)
                .into_iter()
                .map(|(key, value)| Ok((key.get_ref().to_string(), python_value(value.get_ref())?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}

fn unknown(key: &str, value: &DeValue<'_>, origin: Origin) -> Error {
    let advice = match table::find(key) {
        Some(setting) if setting.name == "config" => "it acts on the command line and in GUNICORN_CMD_ARGS only".into(),
        Some(setting) => format!("it is the flag --{}", setting.long.first().unwrap_or(&setting.name)),
        None => match nearest(key) {
            Some(name) => format!("did you mean '{name}'?"),
            None if value.is_table() => "settings stand at the top level, not in tables".into(),
            None => "no setting has a similar name".into(),
        },
    };
    Error::UnknownKey { key: key.to_owned(), origin, advice }
}

/// The setting that somebody who wrote `key` may have meant: also by the name of its flag, and with a few slips.
fn nearest(key: &str) -> Option<&'static str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let key = plain(key.trim_start_matches('-'));
    let spellings = |setting: &'static Setting| {
        let names = std::iter::once(setting.name).chain(setting.long.iter().copied());
        names.map(move |name| (plain(name), setting.name))
    };
    let candidates = table::all().filter(|setting| setting.in_toml_file()).flat_map(spellings);
    let scored = candidates.map(|(spelling, name)| (strsim::damerau_levenshtein(&key, &spelling), name));
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= (key.len() / 4).max(1)).then_some(name)
}
