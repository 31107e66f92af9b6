//! Hooks: callables that the server calls at its turning points.
//!
//! Server hooks run in the forkserver, worker hooks in the worker. `server` and `worker` are objects with the attributes
//! of Gunicorn's.

use super::{Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "on_starting",
        section: Section::ServerHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("OnStarting.on_starting"),
        summary: "Called with (server) once, before the listeners are opened.",
        doc: "What it changes with `server.cfg.set` counts.",
        ..PLAIN
    },
    Setting {
        name: "on_reload",
        section: Section::ServerHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("OnReload.on_reload"),
        summary: "Called with (server) at a reload, before new workers are forked.",
        ..PLAIN
    },
    Setting {
        name: "when_ready",
        section: Section::ServerHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("WhenReady.when_ready"),
        summary: "Called with (server) when the listeners are open, before the first fork.",
        ..PLAIN
    },
    Setting {
        name: "pre_fork",
        section: Section::ServerHooks,
        kind: Kind::Callable(2),
        default: Default::Hook("Prefork.pre_fork"),
        summary: "Called with (server, worker) just before a worker is forked.",
        doc: "Attributes that it sets on the worker are there after the fork.",
        ..PLAIN
    },
    Setting {
        name: "post_fork",
        section: Section::ServerHooks,
        kind: Kind::Callable(2),
        default: Default::Hook("Postfork.post_fork"),
        summary: "Called with (server, worker) in a new worker, before the app is loaded.",
        doc: "The worker still has the user of the master. An exception ends the start.",
        ..PLAIN
    },
    Setting {
        name: "post_worker_init",
        section: Section::ServerHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("PostWorkerInit.post_worker_init"),
        summary: "Called with (worker) once it has loaded the app.",
        ..PLAIN
    },
    Setting {
        name: "worker_int",
        section: Section::ServerHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("WorkerInt.worker_int"),
        summary: "Called with (worker) when it gets INT or QUIT.",
        ..PLAIN
    },
    Setting {
        name: "worker_abort",
        section: Section::ServerHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("WorkerAbort.worker_abort"),
        summary: "Called with (worker) when it gets ABRT, as after a `timeout`.",
        ..PLAIN
    },
    Setting {
        name: "pre_exec",
        section: Section::ServerHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("PreExec.pre_exec"),
        summary: "Called with (server) before USR2 starts a new master.",
        ..PLAIN
    },
    Setting {
        name: "pre_request",
        section: Section::ServerHooks,
        kind: Kind::Callable(2),
        default: Default::Hook("PreRequest.pre_request"),
        summary: "Called with (worker, req) before the environ of a request is made.",
        ..PLAIN
    },
    Setting {
        name: "post_request",
        section: Section::ServerHooks,
        kind: Kind::PostRequest,
        default: Default::Hook("PostRequest.post_request"),
        summary: "Called with (worker, req, environ, resp) after a request.",
        doc: "It may also take two or three of them.",
        ..PLAIN
    },
    Setting {
        name: "child_exit",
        section: Section::ServerHooks,
        kind: Kind::Callable(2),
        default: Default::Hook("ChildExit.child_exit"),
        summary: "Called with (server, worker) when a worker has ended, on the server's side.",
        ..PLAIN
    },
    Setting {
        name: "worker_exit",
        section: Section::ServerHooks,
        kind: Kind::Callable(2),
        default: Default::Hook("WorkerExit.worker_exit"),
        summary: "Called with (server, worker) in a worker that is about to end.",
        ..PLAIN
    },
    Setting {
        name: "nworkers_changed",
        section: Section::ServerHooks,
        kind: Kind::Callable(3),
        default: Default::Hook("NumWorkersChanged.nworkers_changed"),
        summary: "Called with (server, new, old) when the number of workers is set.",
        doc: "The first call comes before everything else; old is then None.",
        ..PLAIN
    },
    Setting {
        name: "on_exit",
        section: Section::ServerHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("OnExit.on_exit"),
        summary: "Called with (server) last of all.",
        ..PLAIN
    },
    Setting {
        name: "ssl_context",
        section: Section::ServerHooks,
        kind: Kind::Callable(2),
        default: Default::Hook("NewSSLContext.ssl_context"),
        summary: "Called with (config, default_ssl_context_factory); returns the TLS context.",
        doc: "It can start from what the factory returns and make it stricter.",
        built: false,
        part_of: Some("certfile"),
        ..PLAIN
    },
];
