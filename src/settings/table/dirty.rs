//! Workers for long jobs (Gunicorn's "dirty arbiters"), and the control socket.

use super::{Action, Argument, Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "dirty_apps",
        section: Section::DirtyArbiters,
        long: &["dirty-app"],
        metavar: Some("STRING"),
        action: Action::Append,
        kind: Kind::TextList,
        default: Default::List(&[]),
        summary: "Apps for long jobs, each `MODULE:CLASS` or `MODULE:CLASS:WORKERS`.",
        doc: "They are loaded in `dirty_workers` processes beside the web workers. The flag can be repeated.",
        built: false,
        part_of: Some("dirty_workers"),
        ..PLAIN
    },
    Setting {
        name: "dirty_workers",
        section: Section::DirtyArbiters,
        long: &["dirty-workers"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "How many processes run `dirty_apps`; 0: none.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "dirty_timeout",
        section: Section::DirtyArbiters,
        long: &["dirty-timeout"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(300),
        summary: "Seconds after which a long job is given up; 0: never.",
        built: false,
        part_of: Some("dirty_workers"),
        ..PLAIN
    },
    Setting {
        name: "dirty_threads",
        section: Section::DirtyArbiters,
        long: &["dirty-threads"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(1),
        summary: "Threads in each process of `dirty_workers`.",
        built: false,
        part_of: Some("dirty_workers"),
        ..PLAIN
    },
    Setting {
        name: "dirty_graceful_timeout",
        section: Section::DirtyArbiters,
        long: &["dirty-graceful-timeout"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(30),
        summary: "Seconds that long jobs in progress get at a stop.",
        built: false,
        part_of: Some("dirty_workers"),
        ..PLAIN
    },
    Setting {
        name: "on_dirty_starting",
        section: Section::DirtyArbiterHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("OnDirtyStarting.on_dirty_starting"),
        summary: "Called with (arbiter) when the manager of `dirty_workers` starts.",
        built: false,
        part_of: Some("dirty_workers"),
        ..PLAIN
    },
    Setting {
        name: "dirty_post_fork",
        section: Section::DirtyArbiterHooks,
        kind: Kind::Callable(2),
        default: Default::Hook("DirtyPostFork.dirty_post_fork"),
        summary: "Called with (arbiter, worker) in a new process of `dirty_workers`.",
        built: false,
        part_of: Some("dirty_workers"),
        ..PLAIN
    },
    Setting {
        name: "dirty_worker_init",
        section: Section::DirtyArbiterHooks,
        kind: Kind::Callable(1),
        default: Default::Hook("DirtyWorkerInit.dirty_worker_init"),
        summary: "Called with (worker) once a process of `dirty_workers` has its apps ready.",
        built: false,
        part_of: Some("dirty_workers"),
        ..PLAIN
    },
    Setting {
        name: "dirty_worker_exit",
        section: Section::DirtyArbiterHooks,
        kind: Kind::Callable(2),
        default: Default::Hook("DirtyWorkerExit.dirty_worker_exit"),
        summary: "Called with (arbiter, worker) when a process of `dirty_workers` ends.",
        built: false,
        part_of: Some("dirty_workers"),
        ..PLAIN
    },
    Setting {
        name: "control_socket",
        section: Section::Control,
        long: &["control-socket"],
        metavar: Some("PATH"),
        default: Default::ControlSocket,
        env: &["XDG_RUNTIME_DIR", "HOME"],
        summary: "Unix socket by which a running server can be asked and told things.",
        ..PLAIN
    },
    Setting {
        name: "control_socket_mode",
        section: Section::Control,
        long: &["control-socket-mode"],
        metavar: Some("INT"),
        argument: Argument::AutoInt,
        kind: Kind::PosInt,
        default: Default::Int(0o600),
        summary: "Permission bits of `control_socket`.",
        doc: "The flag reads `0660` as octal. In files write a number: `0o660`.",
        part_of: Some("control_socket"),
        ..PLAIN
    },
    Setting {
        name: "control_socket_disable",
        section: Section::Control,
        long: &["no-control-socket"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Open no control socket.",
        ..PLAIN
    },
];
