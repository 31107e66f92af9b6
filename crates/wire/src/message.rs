//! The messages. One JSON object a datagram, `{"type": "...", ...}`; descriptors travel beside it (SCM_RIGHTS) in the
//! order that each message's doc names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::PyValue;

/// Arbiter to forkserver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Order {
    /// First of all: read the Python config file, if there is one. Answered by `loaded` or `failed`.
    Load(Load),
    /// The merged settings. The forkserver builds `cfg`, then runs `nworkers_changed`, the preload import and
    /// `on_starting`, in this order. Answered by `started` or `failed`.
    /// Descriptors: `[error log, access log]`, each only if its `has_*` is true.
    Configure(Configure),
    /// `--check-config` and `--print-config`: build `cfg`, which imports what dotted names stand for, then import the
    /// app; no hook runs, and neither `pythonpath` nor `raw_env` is applied, as in Gunicorn. Answered by `validated` and
    /// then `checked`, or by `failed` in place of either.
    Check(Configure),
    /// Listeners are up: run `when_ready`. Answered by `ready_done` or `failed`.
    Bound {
        /// Addresses as logged, for `server.address` and `server.LISTENERS`.
        addresses: Vec<String>,
    },
    /// Fork a worker. Descriptors: `[link, scoreboard, stacks, arbiter pidfd, hand-off to receive, hand-off to send,
    /// listeners...]`. Answered by `forked` or `fork_failed`; the worker's own hello on its link is what counts.
    Fork(Fork),
    /// A worker of this forkserver was reaped: run `child_exit` and forget it. Not answered.
    ChildExit {
        /// Its pid.
        pid: i32,
        /// Its `worker.age`.
        age: u64,
        /// Raw wait status.
        status: i32,
    },
    /// The number of workers changed (TTIN, TTOU): run `nworkers_changed`. Not answered.
    NumWorkers {
        /// New number.
        new: u32,
        /// Old number.
        old: u32,
    },
    /// The log files were opened again (USR1). Descriptors: `[error log, access log]`, each only if its flag is true. Not
    /// answered.
    Logs(Logs),
    /// Another arbiter is about to be started (USR2): run `pre_exec`. Answered by `pre_exec_done` or `failed`.
    PreExec,
    /// Another generation serves, and this one's last worker is gone. Answered by `superseded`.
    Superseded,
    /// To a forkserver that stays although superseded: the workers of the one that serves, for `server.WORKERS`. Not
    /// answered.
    Workers {
        /// Pid and age of each.
        workers: Vec<(i32, u64)>,
    },
    /// Last message: run `on_exit` and leave. The forkserver answers by closing its end.
    Exit {
        /// Whether this is the arbiter's own stop, so that `on_exit` is due.
        on_exit: bool,
    },
}

/// What to read, and what the interpreter must look like while it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The generation that this forkserver serves; the first is 1.
    pub generation: u32,
    /// The real command line, for `sys.argv`; element 0 ends in `gunicorn`, whatever the binary is called.
    pub argv: Vec<String>,
    /// `None`: no Python config file.
    pub config: Option<PythonConfig>,
    /// `chdir` as far as it is known before the file is read; entered and put on `sys.path` before the file runs. It is
    /// the start directory unless the framework layer said otherwise.
    pub chdir: String,
    /// The names of all settings; other names of the file are ignored.
    pub names: Vec<String>,
    /// Files are watched: what is loaded is to be reported. Later `reload` says so.
    pub watch: bool,
}

/// Where the Python configuration is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", content = "name", rename_all = "snake_case")]
pub enum PythonConfig {
    /// A file, executed as `__config__`; absolute or relative to the start directory, shown as given.
    File(String),
    /// A module, imported (`-c python:module`).
    Module(String),
}

/// One value from the Python config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileSetting {
    /// The value.
    pub value: PyValue,
    /// Line of the last assignment at module level, when it could be told.
    pub line: Option<u32>,
    /// `repr()`-free text as Python's `print` shows it; error messages quote it.
    pub shown: String,
}

/// The settled configuration of one generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configure {
    /// Every setting of the table with its final value. `Live` means: keep the object that the config file defined; a
    /// `Str` for a callable or class setting is a dotted name for the forkserver to import.
    pub settings: BTreeMap<String, PyValue>,
    /// Names of the settings that hold callables, with the number of positional parameters Gunicorn asks for.
    pub callables: BTreeMap<String, u32>,
    /// Where the server will listen, as Gunicorn's `cfg.address`: `["127.0.0.1", 8000]` or a path.
    pub address: Vec<PyValue>,
    /// The application, `module[:expr]`; empty with `--paste`.
    pub app_uri: String,
    /// Directory to enter (absolute).
    pub chdir: String,
    /// Worker implementation after Gunicorn's promotion (`sync` with threads > 1 is `gthread`).
    pub worker_class: String,
    /// Process name for titles: `proc_name` or the app's URI.
    pub proc_name: String,
    /// Pid of the arbiter.
    pub arbiter_pid: i32,
    /// Number of workers to be started.
    pub num_workers: u32,
    /// The number before a reload, for `nworkers_changed`.
    pub old_num_workers: Option<u32>,
    /// This generation is the first: `on_starting` is due.
    pub first: bool,
    /// This forkserver stands in for one that died: only the hooks that are due then run.
    pub replacement: bool,
    /// A descriptor for the error log is passed; else it goes to fd 2.
    pub has_error_log: bool,
    /// A descriptor for the access log is passed; else there is no access log.
    pub has_access_log: bool,
}

/// Which logs' descriptors are passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// The error log's.
    pub error: bool,
    /// The access log's.
    pub access: bool,
    /// Standard output and standard error go to the error log, too.
    pub captured: bool,
}

/// One worker to fork.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fork {
    /// `worker.age`: counts up over the arbiter's life, never used twice.
    pub age: u64,
    /// Slot in this generation's scoreboard.
    pub slot: u32,
    /// Thread records of each slot: as many threads may serve.
    pub threads: u32,
    /// Number of listeners at the end of the passed descriptors.
    pub listeners: u32,
    /// Their addresses as logged, in the same order.
    pub addresses: Vec<String>,
}

/// Forkserver to arbiter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Report {
    /// First of all.
    Hello {
        /// [`crate::WIRE_VERSION`] of the extension.
        wire: u32,
        /// [`crate::BUILD_ID`] of the extension.
        build: String,
        /// `sys.version_info` as text.
        python: String,
    },
    /// The config file was read.
    Loaded {
        /// What it set, by name. Empty without a file.
        settings: BTreeMap<String, FileSetting>,
    },
    /// Hooks and preload are done.
    Started {
        /// Settings that hooks changed through `server.cfg.set`.
        changed: BTreeMap<String, PyValue>,
    },
    /// Files that were loaded, or that a failure speaks of, and had not been reported (with `reload`).
    Files {
        /// Absolute paths.
        files: Vec<String>,
    },
    /// `when_ready` is done.
    ReadyDone,
    /// `cfg` was built (first answer to `check`).
    Validated {
        /// How `--print-config` shows the callables and classes that were given by a dotted name.
        shown: BTreeMap<String, String>,
    },
    /// The app was imported (second answer to `check`).
    Checked,
    /// Something went wrong; the forkserver goes on living until told to exit.
    Failed(Failure),
    /// `pre_exec` has run.
    PreExecDone {
        /// What it has changed.
        environment: Environment,
    },
    /// Answer to `superseded`.
    Superseded {
        /// What would be lost if it left: names of threads, pids of children that hooks have started.
        keeps: Vec<String>,
    },
    /// A worker was forked. Advisory.
    Forked {
        /// Which.
        age: u64,
        /// Its pid.
        pid: i32,
    },
    /// A worker could not be forked, or `pre_fork` raised.
    ForkFailed {
        /// Which.
        age: u64,
        /// One line.
        why: String,
    },
}

/// Changes of environment variables: new values, or `None` for what is not set any more.
pub type Environment = BTreeMap<String, Option<String>>;

/// Why a forkserver could not do what it was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What it was doing: `config`, `configure` (a dotted name, the worker class), `preload`, `nworkers_changed`,
    /// `on_starting`, `when_ready`, `pre_exec`, `check` (the app).
    pub stage: String,
    /// One line for the operator, without traceback.
    pub message: String,
    /// Python's traceback, or empty.
    pub traceback: String,
    /// Exit code that Gunicorn would have ended with.
    pub exit: i32,
}

/// Worker to arbiter, over its link. The kernel adds the sender's pid (SCM_CREDENTIALS).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WorkerSays {
    /// Sent by the fork function itself, before any Python of the worker runs.
    Hello,
    /// The app is loaded and the worker accepts connections.
    Ready,
    /// It could not boot; it exits with this code next.
    Failed {
        /// 3: failed to boot; 4: the app failed to load.
        exit: i32,
        /// One line.
        reason: String,
    },
    /// Files that its app is made of, and that had not been reported (with `reload`).
    Files {
        /// Absolute paths.
        files: Vec<String>,
    },
    /// It got a TERM from outside and asks to be retired.
    StopAsked,
    /// It has reached `max_requests`: a replacement is wanted; it serves on until told to retire.
    Recycle,
    /// It made no progress for `timeout` (sent by its sentinel, which needs no GIL).
    Silent {
        /// Milliseconds without progress.
        for_ms: u64,
    },
    /// It leaves now.
    Bye,
}

/// Arbiter to worker, over its link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ArbiterSays {
    /// Finish what you are doing and leave. A TERM follows, for apps that wrap its handler.
    Retire {
        /// The whole server stops: nobody else will accept what waits in the listeners' queues, so take it first.
        drain: bool,
        /// Idle connections can be passed on: other workers go on serving. What was said last holds.
        heirs: bool,
    },
    /// The server will stop soon: serve on, but close every connection after its response.
    Drain,
    /// The log files were opened again (USR1). Descriptors: `[error log, access log]`, each only if its flag is true. A
    /// USR1 follows, for the files that Python handlers have.
    Logs(Logs),
}
