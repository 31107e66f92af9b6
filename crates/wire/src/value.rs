//! A Python value on its way between interpreter and daemon.

use serde::{Deserialize, Serialize};

/// A value of a setting as the interpreter reported it, or as it is told to the interpreter.
///
/// JSON: `{"kind": "int", "value": 3}`, `{"kind": "none"}`, `{"kind": "map", "value": [["KEY", {...}], ...]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum PyValue {
    /// `None`
    None,
    /// `True` or `False`
    Bool(bool),
    /// An `int` (also an `IntEnum`) that fits 64 bits; a bigger one is sent as its [`PyValue::Float`]-less `Live`.
    Int(i64),
    /// A `float`. No setting accepts one, but the error must name it.
    Float(f64),
    /// A `str`
    Str(String),
    /// A `list` or `tuple` of values
    List(Vec<PyValue>),
    /// A `dict` with `str` keys, in its order
    Map(Vec<(String, PyValue)>),
    /// Anything that cannot leave the interpreter (a hook, a class, a dict of live objects): it stays in the forkserver
    /// under the setting's name, and this is how `--print-config` shows it.
    Live {
        /// What Python's `print` would show; for callables `<qualname()>` as Gunicorn prints them.
        shown: String,
        /// How many positional parameters a callable takes; `None` when it is no callable.
        arity: Option<u32>,
    },
}
