//! Limits on requests; reload and inspection.

use super::{Action, Argument, Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "limit_request_line",
        section: Section::Security,
        long: &["limit-request-line"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(4094),
        summary: "Longest request line in bytes, at most 8190; 0 stands for 1 MiB.",
        doc: "The request line holds method, target and version, so this bounds the length of URLs.",
        ..PLAIN
    },
    Setting {
        name: "limit_request_fields",
        section: Section::Security,
        long: &["limit-request-fields"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(100),
        summary: "Most header fields a request may have; 0 or more than 32768 mean 32768.",
        ..PLAIN
    },
    Setting {
        name: "limit_request_field_size",
        section: Section::Security,
        long: &["limit-request-field_size"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(8190),
        summary: "Longest header field in bytes; 0 means 8190.",
        doc: "The flag is spelt with one underscore, as Gunicorn spells it.",
        ..PLAIN
    },
    Setting {
        name: "reload",
        section: Section::Debugging,
        long: &["reload"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Restart workers when the code of the app changes; for development.",
        doc: "More files can be watched with `reload_extra_files`.",
        ..PLAIN
    },
    Setting {
        name: "reload_engine",
        section: Section::Debugging,
        long: &["reload-engine"],
        metavar: Some("STRING"),
        kind: Kind::ExactChoice(&["auto", "poll", "inotify"]),
        default: Default::Text("auto"),
        summary: "How `reload` notices changes: `auto`, `poll` or `inotify`.",
        doc: "`poll` helps on network file systems, which send no events.",
        part_of: Some("reload"),
        ..PLAIN
    },
    Setting {
        name: "reload_extra_files",
        section: Section::Debugging,
        long: &["reload-extra-file"],
        metavar: Some("FILES"),
        action: Action::Append,
        kind: Kind::FileList,
        default: Default::List(&[]),
        summary: "More files that `reload` watches: templates, translations, specifications.",
        doc: "A name with `*`, `?` or `[` is a pattern, where `**` stands for any depth; it is looked at again and \
              again, so it may match nothing at first. A plain name has to exist. Both count from the directory that \
              the server is started in. The flag can be repeated.",
        part_of: Some("reload"),
        ..PLAIN
    },
    Setting {
        name: "spew",
        section: Section::Debugging,
        long: &["spew"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Print every line of Python that is executed.",
        doc: "Slow and loud: for a mystery on your own machine, not for production.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "check_config",
        section: Section::Debugging,
        long: &["check-config"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Check the configuration, import the app, and exit: 0 if both are right, else 1.",
        doc: "No socket is opened and no hook is run. `pythonpath` and `raw_env` are not applied.",
        ..PLAIN
    },
    Setting {
        name: "print_config",
        section: Section::Debugging,
        long: &["print-config"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Print every setting with its final value, then go on as `check_config` does.",
        doc: "`--explain-config` also tells where each value was set.",
        ..PLAIN
    },
];
