//! What only means something inside the interpreter: hooks, classes, dicts of live objects.
//!
//! Dotted names are imported by the forkserver; here they only have to look like some.

use rgunicorn_wire::PyValue;

use super::Input;
use super::text::text;

pub(super) fn dict(input: Input<'_>) -> Result<PyValue, String> {
    match input.value {
        PyValue::Map(_) => Ok(input.value.clone()),
        // A dict with live objects in it stays where it is; `OrderedDict({...})` is one too.
        PyValue::Live { shown, arity: None } if shown.contains('{') && !shown.starts_with(['[', '(']) => {
            Ok(input.value.clone())
        }
        _ => Err(format!("{} is not a dictionary", input.quoted())),
    }
}

pub(super) fn class(input: Input<'_>) -> Result<PyValue, String> {
    match input.value {
        PyValue::Live { shown, arity } if arity.is_some() || shown.ends_with("()>") => Ok(input.value.clone()),
        PyValue::Live { .. } => Err(format!("{} is neither a class nor the name of one", input.quoted())),
        _ => text(input),
    }
}

pub(super) fn callable(input: Input<'_>, arities: &[u32]) -> Result<PyValue, String> {
    match input.value {
        PyValue::Live { arity: Some(arity), .. } if arities.contains(arity) => Ok(input.value.clone()),
        PyValue::Live { arity: Some(arity), .. } => {
            let accepted = arities.iter().rev().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let parameters = if *arity == 1 { "parameter" } else { "parameters" };
            Err(format!("{} takes {arity} positional {parameters}; it has to take {accepted}", input.quoted()))
        }
        PyValue::Str(name) if is_dotted(name) => Ok(input.value.clone()),
        PyValue::Str(name) => Err(format!("Value '{name}' is not import string. Write module.object")),
        _ => Err(format!("{} is not callable", input.quoted())),
    }
}

/// Python takes everything before the last dot for the module.
fn is_dotted(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(module, object)| !module.is_empty() && !object.is_empty())
}
