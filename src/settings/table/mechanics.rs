//! The server as a process.

use super::{Action, Argument, Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "preload_app",
        section: Section::ServerMechanics,
        long: &["preload"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Import the app once, before workers are forked.",
        doc: "Workers then start faster and share its memory. A reload imports it anew. Threads and connections that \
              the import opens are not usable in the workers: open them in `post_fork`.",
        ..PLAIN
    },
    Setting {
        name: "sendfile",
        section: Section::ServerMechanics,
        long: &["no-sendfile"],
        action: Action::StoreFalse,
        kind: Kind::Bool,
        env: &["SENDFILE"],
        summary: "Send files with sendfile(2); the flag turns that off.",
        doc: "As in Gunicorn, any value in a file turns it off, even true. When it is not set, `$SENDFILE` decides \
              (`y`, `yes`, `1` and `true` mean on), else it is on.",
        ..PLAIN
    },
    Setting {
        name: "reuse_port",
        section: Section::ServerMechanics,
        long: &["reuse-port"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Set SO_REUSEPORT on the listening sockets.",
        doc: "Another server of the same user can then listen on the same address.",
        ..PLAIN
    },
    Setting {
        name: "chdir",
        section: Section::ServerMechanics,
        long: &["chdir"],
        kind: Kind::Directory,
        default: Default::StartDir,
        summary: "Enter this directory before the app is loaded.",
        doc: "A relative path counts from the directory that the server is started in. The directory is also put on \
              `sys.path`.",
        ..PLAIN
    },
    Setting {
        name: "daemon",
        section: Section::ServerMechanics,
        short: Some('D'),
        long: &["daemon"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Detach from the terminal and run in the background.",
        doc: "Under a service manager leave this off. `errorlog` and `accesslog` should name files, since the \
              terminal is gone.",
        ..PLAIN
    },
    Setting {
        name: "raw_env",
        section: Section::ServerMechanics,
        short: Some('e'),
        long: &["env"],
        metavar: Some("ENV"),
        action: Action::Append,
        kind: Kind::TextList,
        default: Default::List(&[]),
        summary: "Environment variables for the app, each `NAME=VALUE`.",
        doc: "The flag can be repeated.",
        ..PLAIN
    },
    Setting {
        name: "pidfile",
        section: Section::ServerMechanics,
        short: Some('p'),
        long: &["pid"],
        metavar: Some("FILE"),
        summary: "Write the pid of the master to this file.",
        doc: "A file that holds the pid of a living process stops the start.",
        ..PLAIN
    },
    Setting {
        name: "worker_tmp_dir",
        section: Section::ServerMechanics,
        long: &["worker-tmp-dir"],
        metavar: Some("DIR"),
        summary: "Gunicorn's directory for heartbeat files; accepted and not needed here.",
        doc: "Heartbeats are kept in memory.",
        ..PLAIN
    },
    Setting {
        name: "user",
        section: Section::ServerMechanics,
        short: Some('u'),
        long: &["user"],
        metavar: Some("USER"),
        kind: Kind::User,
        default: Default::EffectiveUser,
        summary: "User that workers switch to: a name or a number.",
        doc: "The master keeps the user that started it, so that it can open ports below 1024 and log files.",
        ..PLAIN
    },
    Setting {
        name: "group",
        section: Section::ServerMechanics,
        short: Some('g'),
        long: &["group"],
        metavar: Some("GROUP"),
        kind: Kind::Group,
        default: Default::EffectiveGroup,
        summary: "Group that workers switch to: a name or a number.",
        ..PLAIN
    },
    Setting {
        name: "umask",
        section: Section::ServerMechanics,
        short: Some('m'),
        long: &["umask"],
        metavar: Some("INT"),
        argument: Argument::AutoInt,
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Mode bits to take away from unix sockets that the server makes.",
        doc: "The flag reads `022` and `0o22` as octal and `18` as decimal. In files write a number: `0o022`.",
        ..PLAIN
    },
    Setting {
        name: "initgroups",
        section: Section::ServerMechanics,
        long: &["initgroups"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Give workers all groups that `user` is a member of, besides `group`.",
        ..PLAIN
    },
    Setting {
        name: "tmp_upload_dir",
        section: Section::ServerMechanics,
        metavar: Some("DIR"),
        summary: "Reserved by Gunicorn for uploads; accepted and without meaning.",
        ..PLAIN
    },
    Setting {
        name: "pythonpath",
        section: Section::ServerMechanics,
        long: &["pythonpath"],
        metavar: Some("STRING"),
        summary: "Directories to put in front of `sys.path`, divided by commas.",
        doc: "The last one ends up first. Not applied by `--check-config` and `--print-config`.",
        ..PLAIN
    },
    Setting {
        name: "paste",
        section: Section::ServerMechanics,
        long: &["paste", "paster"],
        metavar: Some("STRING"),
        summary: "Serve the app of a PasteDeploy file: `FILE` or `FILE#NAME`.",
        doc: "Acts on the command line only. If the file has a `[loggers]` section, it becomes the default of \
              `logconfig`.",
        ..PLAIN
    },
    Setting {
        name: "raw_paste_global_conf",
        section: Section::ServerMechanics,
        long: &["paste-global"],
        metavar: Some("CONF"),
        action: Action::Append,
        kind: Kind::TextList,
        default: Default::List(&[]),
        summary: "Global variables for the PasteDeploy file, each `NAME=VALUE`.",
        doc: "`\\=` stands for an equals sign inside a name or value. The flag can be repeated.",
        ..PLAIN
    },
];
