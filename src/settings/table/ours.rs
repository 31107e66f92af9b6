//! What Gunicorn does not have.

use super::{Action, Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "python",
        section: Section::Ours,
        long: &["python"],
        metavar: Some("INTERPRETER"),
        env: &["VIRTUAL_ENV"],
        summary: "The Python interpreter that runs the app: a path, or a name on `$PATH`.",
        doc: "Without it: the interpreter of the environment that rgunicorn is installed in, else that of \
              `$VIRTUAL_ENV`, else `python3`. A Python config file cannot set it, since the interpreter has to be \
              there to read the file.",
        ..PLAIN
    },
    Setting {
        name: "explain_config",
        section: Section::Ours,
        long: &["explain-config"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Print each value that is no default, where it was set, and what it overrode.",
        doc: "Then exit as `--check-config` does.",
        ..PLAIN
    },
    Setting {
        name: "reload_surge",
        section: Section::Ours,
        long: &["reload-surge"],
        metavar: Some("INT|all"),
        default: Default::Text("1"),
        summary: "How many workers more than `workers` there may be during a reload.",
        doc: "A new worker is ready before an old one is told to leave, so many at a time. `all` starts all new ones at \
              once, which needs memory for twice as many.",
        ..PLAIN
    },
];
