//! Worker processes.

use super::{Argument, Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "workers",
        section: Section::WorkerProcesses,
        short: Some('w'),
        long: &["workers"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(1),
        env: &["WEB_CONCURRENCY"],
        summary: "How many worker processes to keep running.",
        doc: "Two to four a core is a usual start for apps that wait for databases. The signals TTIN and TTOU change \
              the number at run time; a reload goes back to this one.\n\n\
              When `$WEB_CONCURRENCY` is set, it is the default.",
        ..PLAIN
    },
    Setting {
        name: "worker_class",
        section: Section::WorkerProcesses,
        short: Some('k'),
        long: &["worker-class"],
        metavar: Some("STRING"),
        kind: Kind::Class,
        default: Default::Text("sync"),
        summary: "What kind of worker serves requests.",
        doc: "`sync`, `gthread`, `gevent`, `gevent_wsgi`, `gevent_pywsgi`, `tornado`, `asgi`, or the dotted name of a \
              class. A Python file may also give the class itself. `sync` with `threads` above 1 means `gthread`.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "threads",
        section: Section::WorkerProcesses,
        long: &["threads"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(1),
        summary: "Threads that serve requests in each `gthread` worker.",
        doc: "More than 1 turns the `sync` worker class into `gthread`.",
        ..PLAIN
    },
    Setting {
        name: "worker_connections",
        section: Section::WorkerProcesses,
        long: &["worker-connections"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(1000),
        summary: "How many client connections one worker holds at most.",
        doc: "A worker that has this many open accepts no more until one of them is closed.",
        ..PLAIN
    },
    Setting {
        name: "max_requests",
        section: Section::WorkerProcesses,
        long: &["max-requests"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Replace a worker after this many requests; 0: never.",
        doc: "A remedy for apps that leak memory. The worker asks for a replacement and serves on until that one is \
              ready, so the number is not exact.",
        ..PLAIN
    },
    Setting {
        name: "max_requests_jitter",
        section: Section::WorkerProcesses,
        long: &["max-requests-jitter"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Add a random number up to this to `max_requests`, drawn for each worker.",
        doc: "Keeps workers that were started together from being replaced together.",
        ..PLAIN
    },
    Setting {
        name: "timeout",
        section: Section::WorkerProcesses,
        short: Some('t'),
        long: &["timeout"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(30),
        summary: "Seconds of silence after which a worker is given up; 0: never.",
        doc: "In a `sync` worker a request is silent when it neither sends data nor waits for its client. Its method, \
              path, age and Python stacks go to the error log, the client gets a 504 if no head was sent, and the \
              worker is aborted and replaced.",
        ..PLAIN
    },
    Setting {
        name: "graceful_timeout",
        section: Section::WorkerProcesses,
        long: &["graceful-timeout"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(30),
        summary: "Seconds that requests in progress get at a stop or reload.",
        doc: "Workers that still run after it are killed. Keep it below the time that your service manager waits \
              (`TimeoutStopSec=` of systemd).",
        ..PLAIN
    },
    Setting {
        name: "keepalive",
        section: Section::WorkerProcesses,
        long: &["keep-alive"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(2),
        summary: "Seconds an idle connection is kept for the next request; 0: not at all.",
        doc: "Behind a load balancer that keeps connections open, choose more than its own idle time, so that it is \
              never surprised by a close.",
        ..PLAIN
    },
    Setting {
        name: "asgi_loop",
        section: Section::WorkerProcesses,
        long: &["asgi-loop"],
        metavar: Some("STRING"),
        kind: Kind::Choice { values: &["auto", "asyncio", "uvloop"], none: Some("auto") },
        default: Default::Text("auto"),
        summary: "Event loop of `asgi` workers: `auto`, `asyncio` or `uvloop`.",
        doc: "`auto` takes uvloop where it is installed.",
        built: false,
        part_of: Some("worker_class"),
        ..PLAIN
    },
    Setting {
        name: "asgi_lifespan",
        section: Section::WorkerProcesses,
        long: &["asgi-lifespan"],
        metavar: Some("STRING"),
        kind: Kind::Choice { values: &["auto", "on", "off"], none: Some("auto") },
        default: Default::Text("auto"),
        summary: "Whether `asgi` workers run the lifespan protocol: `auto`, `on` or `off`.",
        doc: "`auto` runs it if the app answers to it; `on` treats an app that does not as failed.",
        built: false,
        part_of: Some("worker_class"),
        ..PLAIN
    },
    Setting {
        name: "asgi_disconnect_grace_period",
        section: Section::WorkerProcesses,
        long: &["asgi-disconnect-grace-period"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(3),
        summary: "Seconds an ASGI app may go on after its client has left.",
        doc: "Then its task is cancelled; 0 cancels at once.",
        built: false,
        part_of: Some("worker_class"),
        ..PLAIN
    },
    Setting {
        name: "websocket_max_message_size",
        section: Section::WorkerProcesses,
        long: &["websocket-max-message-size"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(16 * 1024 * 1024),
        summary: "Largest WebSocket message in bytes; 0: no limit.",
        doc: "It is the whole message that counts, not a frame. A larger one closes the connection with code 1009.",
        built: false,
        part_of: Some("worker_class"),
        ..PLAIN
    },
    Setting {
        name: "http_parser",
        section: Section::WorkerProcesses,
        long: &["http-parser"],
        metavar: Some("STRING"),
        kind: Kind::Choice { values: &["auto", "fast", "python"], none: Some("auto") },
        default: Default::Text("auto"),
        summary: "Gunicorn's choice of HTTP/1 parser; accepted and without meaning here.",
        doc: "There is one parser, in Rust.",
        ..PLAIN
    },
];
