//! Numbers, and users and groups, which are numbers in the end.

use rgunicorn_wire::PyValue;

use super::Input;
use crate::settings::python_int::python_int;

pub(super) fn between(input: Input<'_>, low: i64, high: i64) -> Result<PyValue, String> {
    let number = match input.value {
        PyValue::Int(number) => Some(*number),
        // A boolean is an integer in Python.
        PyValue::Bool(truth) => Some(i64::from(*truth)),
        PyValue::Str(text) => python_int(text, 0),
        _ => None,
    };
    let quoted = input.quoted();
    match number {
        None => Err(format!("{quoted} is not an integer")),
        Some(number) if (low..=high).contains(&number) => Ok(PyValue::Int(number)),
        Some(_) if low == 0 && high == i64::MAX => Err(format!("{quoted} is negative")),
        Some(_) if high == i64::MAX => Err(format!("{quoted} is below {low}")),
        Some(_) => Err(format!("{quoted} is not between {low} and {high}")),
    }
}

pub(super) fn surge(input: Input<'_>) -> Result<PyValue, String> {
    match input.value {
        PyValue::Str(word) if word.trim().eq_ignore_ascii_case("all") => Ok(PyValue::Str("all".to_owned())),
        _ => between(input, 1, i64::from(u32::MAX))
            .map_err(|_| format!("{} is neither a number of workers from 1 on nor 'all'", input.quoted())),
    }
}

/// Less than this is a number without its unit.
const LEAST_SIZE: i64 = 1 << 20;

pub(super) fn size(input: Input<'_>) -> Result<PyValue, String> {
    let quoted = input.quoted();
    let bytes = match input.value {
        PyValue::Int(number) => Some(*number),
        PyValue::Str(text) => bytes(text.trim()),
        _ => None,
    };
    match bytes {
        None | Some(i64::MIN..=-1) => Err(format!("{quoted} is no size: say 512M, 2G or a number of bytes")),
        Some(few @ 1..LEAST_SIZE) => Err(format!("{quoted} is less than a megabyte: did you mean '{few}M'?")),
        Some(bytes) => Ok(PyValue::Int(bytes)),
    }
}

fn bytes(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

/// A user or group: `None` is `own`, digits are the id itself, anything else is looked up.
pub(super) fn id(input: Input<'_>, own: u32, what: &str, look_up: fn(&str) -> Option<u32>) -> Result<PyValue, String> {
    let quoted = input.quoted();
    let id = match input.value {
        PyValue::None => i64::from(own),
        PyValue::Int(number) => *number,
        // A boolean is an integer in Python, and Gunicorn keeps it as it is.
        PyValue::Bool(_) => return Ok(input.value.clone()),
        PyValue::Str(text) if !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit()) => {
            text.parse().map_err(|_| format!("{quoted} is too large for a {what} id"))?
        }
        PyValue::Str(name) => look_up(name).map(i64::from).ok_or_else(|| format!("there is no {what} {quoted}"))?,
        _ => return Err(format!("{quoted} is neither the name nor the id of a {what}")),
    };
    // The highest id means "no change" to the kernel.
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(PyValue::Int(i64::from(id))),
        _ => Err(format!("{quoted} cannot be a {what} id")),
    }
}
