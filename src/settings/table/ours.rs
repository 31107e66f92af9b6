//! What Gunicorn does not have.

use super::{Action, Argument, Default, PLAIN, Section, Setting};
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
        kind: Kind::Surge,
        default: Default::Int(1),
        summary: "How many workers more than `workers` there may be during a reload.",
        doc: "A new worker is ready before an old one is told to leave, so many at a time. `all` starts all new ones at \
              once, which needs memory for twice as many.",
        ..PLAIN
    },
    Setting {
        name: "boot_timeout",
        section: Section::Ours,
        long: &["boot-timeout"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Seconds that a worker may take to get ready.",
        doc: "0 means the larger of 60 and `timeout`. Loading the application does not count for `timeout`.",
        ..PLAIN
    },
    Setting {
        name: "drain_delay",
        section: Section::Ours,
        long: &["drain-delay"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Seconds that the server goes on taking connections after a TERM.",
        doc: "Load balancers have their time to notice: systemd is told at once that the server stops, and every response closes \
              its connection. A second TERM, or INT or QUIT, ends the wait.",
        ..PLAIN
    },
    Setting {
        name: "max_rss",
        section: Section::Ours,
        long: &["max-rss"],
        metavar: Some("SIZE"),
        kind: Kind::Size,
        default: Default::Int(0),
        summary: "Memory of a worker above which it is replaced; 0 means no limit.",
        doc: "Resident memory, shared pages included. Looked at every few seconds. The worker serves on until its replacement is ready; one at a time.",
        ..PLAIN
    },
    Setting {
        name: "max_rss_jitter",
        section: Section::Ours,
        long: &["max-rss-jitter"],
        metavar: Some("SIZE"),
        kind: Kind::Size,
        default: Default::Int(0),
        summary: "A random part of this is added to `max_rss`, for each worker another one.",
        doc: "",
        ..PLAIN
    },
    Setting {
        name: "max_lifetime",
        section: Section::Ours,
        long: &["max-lifetime"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Seconds after which a worker is replaced; 0 means never.",
        doc: "The worker serves on until its replacement is ready; one at a time.",
        ..PLAIN
    },
    Setting {
        name: "max_lifetime_jitter",
        section: Section::Ours,
        long: &["max-lifetime-jitter"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "A random part of this is added to `max_lifetime`, for each worker another one.",
        doc: "",
        ..PLAIN
    },
    Setting {
        name: "request_head_timeout",
        section: Section::Ours,
        long: &["request-head-timeout"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(30),
        summary: "Seconds that a client has to send a request's head; 0 means no limit.",
        doc: "Counted from its first byte, or from the connection's beginning. A client that has sent a part is \
              answered 408.",
        ..PLAIN
    },
    Setting {
        name: "limit_request_body",
        section: Section::Ours,
        long: &["limit-request-body"],
        metavar: Some("BYTES"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Most bytes of a request's body; 0 means no limit.",
        doc: "A longer one is answered 413, before the app is called where its length was announced, and before \
              `100 Continue` in any case.",
        ..PLAIN
    },
    Setting {
        name: "request_buffer",
        section: Section::Ours,
        long: &["request-buffer"],
        metavar: Some("BYTES"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(1 << 20),
        summary: "Bytes of a request's body that are read before the app is called.",
        doc: "A client that sends slowly holds no thread for as long. What is longer is read while the app asks for it.",
        ..PLAIN
    },
    Setting {
        name: "response_buffer",
        section: Section::Ours,
        long: &["response-buffer"],
        metavar: Some("BYTES"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(1 << 20),
        summary: "Bytes of a response that are kept for a slow client before the app waits.",
        doc: "",
        ..PLAIN
    },
    Setting {
        name: "request_timeout",
        section: Section::Ours,
        long: &["request-timeout"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Seconds that one request may take, in any worker class; 0 means no limit.",
        doc: "Then the client is answered 504, where no head was sent, and the log says which request it was and where \
              it was stuck. Other threads of the worker go on. (`timeout` watches the worker, and ends a request only \
              in the sync class.)",
        ..PLAIN
    },
    Setting {
        name: "max_queue_wait",
        section: Section::Ours,
        long: &["max-queue-wait"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Seconds that a request may wait for a worker; 0 means no limit.",
        doc: "One that waited longer is answered 503 with `Retry-After`: its client has probably given it up.",
        ..PLAIN
    },
];
