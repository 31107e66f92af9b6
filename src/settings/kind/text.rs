//! Strings, lists of them, and words with a meaning.

use std::path::Path;

use glob::Pattern;
use rgunicorn_wire::PyValue;

use super::{Input, Surroundings, list_of};
use crate::pattern::Search;
use crate::settings::python_int::python_strip;

pub(super) fn boolean(input: Input<'_>) -> Result<PyValue, String> {
    let word = match input.value {
        PyValue::None | PyValue::Bool(_) => return Ok(input.value.clone()),
        PyValue::Str(text) => plain_word(text),
        _ => String::new(),
    };
    match word.as_str() {
        "true" => Ok(PyValue::Bool(true)),
        "false" => Ok(PyValue::Bool(false)),
        _ => Err(format!("{} is not a boolean (True or False)", input.quoted())),
    }
}

pub(super) fn text(input: Input<'_>) -> Result<PyValue, String> {
    Ok(stripped(input)?.map_or(PyValue::None, PyValue::Str))
}

pub(super) fn list(input: Input<'_>) -> Result<Vec<PyValue>, String> {
    let not_a_list = || format!("{} is not a list of strings", input.quoted());
    let text = |value: &PyValue| text(Input { value, shown: None }).map_err(|_| not_a_list());
    match input.value {
        PyValue::None | PyValue::Bool(false) | PyValue::Int(0) => Ok(Vec::new()),
        PyValue::Float(0.0) => Ok(Vec::new()),
        PyValue::Str(lone) if lone.is_empty() => Ok(Vec::new()),
        lone @ PyValue::Str(_) => Ok(vec![text(lone)?]),
        PyValue::List(items) => items.iter().map(text).collect(),
        // Going through a dict yields its keys.
        PyValue::Map(pairs) => pairs.iter().map(|(key, _)| text(&PyValue::Str(key.clone()))).collect(),
        _ => Err(not_a_list()),
    }
}

/// A pattern that has matched nothing after so many files and directories may match something.
const MOST_ENTRIES: usize = 10_000;

pub(super) fn files(input: Input<'_>, around: &mut Surroundings<'_>) -> Result<PyValue, String> {
    let entries = list(input)?;
    let mut search = Search::new(MOST_ENTRIES);
    for entry in &entries {
        let PyValue::Str(name) = entry else { return Err(format!("{} is not a list of strings", input.quoted())) };
        if name.contains(['*', '?', '[']) {
            let start = Pattern::escape(&around.environment.start_dir.to_string_lossy());
            let found = search.find(&Path::new(&start).join(name).to_string_lossy(), 1);
            if found.is_empty() && search.is_complete() {
                around.warnings.push(format!("Pattern {name} currently matches no files."));
            }
        } else if name.is_empty() || !around.environment.start_dir.join(name).exists() {
            return Err(format!("there is no file {}", input.quoted_part(name)));
        }
    }
    Ok(PyValue::List(entries))
}

pub(super) fn comma_list(input: Input<'_>) -> Result<Vec<String>, String> {
    let text = stripped(input)?.unwrap_or_default();
    Ok(text.split(',').filter(|item| !item.is_empty()).map(|item| python_strip(item).to_owned()).collect())
}

pub(super) fn protocols(input: Input<'_>) -> Result<PyValue, String> {
    let words = comma_list(input)?.into_iter().map(|item| item.to_lowercase()).filter(|item| !item.is_empty());
    let words: Vec<String> = words.collect();
    for (position, word) in words.iter().enumerate() {
        if !["h1", "h2"].contains(&word.as_str()) {
            return Err(format!("{} is not h1 or h2", input.quoted_part(word)));
        }
        if words[..position].contains(word) {
            return Err(format!("{} names {word} twice", input.quoted()));
        }
    }
    Ok(list_of(if words.is_empty() { vec!["h1".to_owned()] } else { words }))
}

pub(super) fn choice(input: Input<'_>, values: &[&str], none: Option<&str>) -> Result<PyValue, String> {
    let word = match input.value {
        PyValue::None => return Ok(none.map_or(PyValue::None, |word| PyValue::Str(word.to_owned()))),
        PyValue::Str(text) => plain_word(text),
        _ => String::new(),
    };
    one_of(input, values, &word)
}

pub(super) fn exact_choice(input: Input<'_>, values: &[&str]) -> Result<PyValue, String> {
    match input.value {
        PyValue::Str(text) => one_of(input, values, text),
        _ => one_of(input, values, ""),
    }
}

pub(super) fn proxy_protocol(input: Input<'_>) -> Result<PyValue, String> {
    let word = match input.value {
        PyValue::None | PyValue::Bool(false) => "off".to_owned(),
        PyValue::Bool(true) => "auto".to_owned(),
        PyValue::Str(text) => match plain_word(text).as_str() {
            "false" | "0" | "none" => "off".to_owned(),
            "true" | "1" => "auto".to_owned(),
            other => other.to_owned(),
        },
        _ => String::new(),
    };
    one_of(input, &["off", "v1", "v2", "auto"], &word)
}

pub(super) fn http2_cleartext(input: Input<'_>) -> Result<PyValue, String> {
    let word = match input.value {
        PyValue::None | PyValue::Bool(false) => "off".to_owned(),
        PyValue::Bool(true) => "prior-knowledge".to_owned(),
        PyValue::Str(text) => plain_word(text),
        _ => String::new(),
    };
    one_of(input, &["off", "prior-knowledge", "upgrade", "both"], &word)
}

pub(super) fn directory(input: Input<'_>, around: &Surroundings<'_>) -> Result<PyValue, String> {
    let Some(name) = stripped(input)? else { return Err("None is not a directory".to_owned()) };
    let path = around.environment.absolute(&name);
    match path.to_str() {
        Some(text) if path.exists() => Ok(PyValue::Str(text.to_owned())),
        _ => Err(format!("can't chdir to {}: {} does not exist", input.quoted(), path.display())),
    }
}

/// A string without the blanks around it, or `None`.
pub(super) fn stripped(input: Input<'_>) -> Result<Option<String>, String> {
    match input.value {
        PyValue::None => Ok(None),
        PyValue::Str(text) => Ok(Some(python_strip(text).to_owned())),
        _ => Err(format!("{} is not a string", input.quoted())),
    }
}

fn plain_word(text: &str) -> String {
    python_strip(&text.to_lowercase()).to_owned()
}

fn one_of(input: Input<'_>, values: &[&str], word: &str) -> Result<PyValue, String> {
    match values.contains(&word) {
        true => Ok(PyValue::Str(word.to_owned())),
        false => Err(format!("{} is not one of {}", input.quoted(), values.join(", "))),
    }
}
