//! Everything that can happen to the arbiter, and everything it can do. Closed on purpose: what is not here does not
//! exist, and `match` finds what was forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::message::{Environment, FileSetting};
use rgunicorn_wire::{Order, PyValue, Report, WorkerSays};

use super::generation::Purpose;
use super::wish::{Answer, Wish};
use crate::exit::Exit;
use crate::sys::process::Kill;
use crate::sys::{Pid, Signal, Status};

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// A signal came in.
    Signal(Signal),
    /// A child was reaped: a forkserver, a worker, or a stranger that fell to us.
    Exited {
        /// Which.
        pid: Pid,
        /// How it ended.
        status: Status,
    },
    /// A forkserver was started.
    Started {
        /// For which generation.
        generation: u32,
        /// Its pid.
        pid: Pid,
        /// The interpreter, and where that was set, for messages.
        interpreter: String,
    },
    /// A forkserver was told to read this file or module.
    Reads {
        /// Of which generation.
        generation: u32,
        /// Its name.
        name: String,
    },
    /// A forkserver spoke.
    Reported {
        /// Of which generation.
        generation: u32,
        /// What it said.
        report: Report,
    },
    /// A forkserver's link is closed.
    Unlinked {
        /// Of which generation.
        generation: u32,
    },
    /// A generation's settings are merged and checked.
    Settled {
        /// Which.
        generation: u32,
        /// What the core needs of them.
        plan: Plan,
    },
    /// A reload is asked for, by other means than a signal.
    Reload,
    /// A file that is watched has changed.
    FileChanged(String),
    /// The control socket has a wish.
    Wished {
        /// What its answer goes by.
        ticket: u64,
        /// What is asked for.
        wish: Wish,
    },
    /// The program that is to take over was started.
    UpgradeStarted {
        /// Its pid.
        pid: Pid,
    },
    /// It could not be started.
    UpgradeFailed(String),
    /// Its first worker is ready.
    UpgradeReady,
    /// The arbiter that this one takes over from is gone.
    Promoted,
    /// Hooks have changed a generation's settings.
    Amended {
        /// Which.
        generation: u32,
        /// What the core needs of them now.
        plan: Plan,
    },
    /// All addresses are bound.
    Bound {
        /// As they are logged.
        addresses: Vec<String>,
    },
    /// An address could not be bound.
    BindFailed(BindFailure),
    /// An action could not be carried out for a generation: it cannot come up.
    Failed {
        /// Which.
        generation: u32,
        /// For the operator.
        message: String,
        /// What the process would end with.
        exit: Exit,
    },
    /// A worker spoke, or the kernel did for a fork order that could not be sent.
    Worker {
        /// `worker.age`, as ordered.
        age: u64,
        /// What it said.
        said: FromWorker,
    },
    /// A deadline of the core's has passed.
    Due,
}

/// What comes over a worker's link.
#[derive(Debug)]
pub enum FromWorker {
    /// A message, and whose it is, as the kernel says.
    Said(WorkerSays, Option<Pid>),
    /// Nobody holds its end any more. That it is dead, only waitpid says.
    Closed,
}

/// Why an address could not be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindFailure {
    /// The address, as configured.
    pub address: String,
    /// The operating system's words.
    pub error: String,
    /// Somebody else has it: he may be about to leave.
    pub in_use: bool,
    /// Trying again cannot help: the address is none, the path is taken by a file, the descriptor does not exist.
    pub hopeless: bool,
}

/// What the core needs to know of a generation's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many workers to keep.
    pub workers: u32,
    /// Silence after which a worker is ended; `None`: never.
    pub timeout: Option<Duration>,
    /// How long a worker may take to finish what it does.
    pub graceful_timeout: Duration,
    /// How long it may take to get ready.
    pub boot_timeout: Duration,
    /// How long it goes on taking connections after a TERM.
    pub drain_delay: Duration,
    /// Bytes of memory above which a worker is replaced, and how much more by chance; 0: none.
    pub max_rss: [u64; 2],
    /// Time after which a worker is replaced, and how much more by chance; zero: never.
    pub max_lifetime: [Duration; 2],
    /// What chance is made of.
    pub seed: u64,
    /// This process is a daemon, and WINCH means something.
    pub daemon: bool,
    /// How many workers a reload may have more than there should be.
    pub reload_surge: u32,
    /// For "Using worker".
    pub worker_class: String,
    /// Lines to log once the logs are open: settings that have no effect, and the like.
    pub warnings: Vec<String>,
}

/// Something to do, in this order.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Start a generation's forkserver and have it read the configuration. Answered by `Started`, or `Failed`.
    StartForkserver {
        /// Which.
        generation: u32,
    },
    /// Merge what the config file said with the other layers. Answered by `Settled` or `Failed`.
    Settle {
        /// Which.
        generation: u32,
        /// The file's settings.
        settings: BTreeMap<String, FileSetting>,
    },
    /// Tell a forkserver the settled configuration.
    Configure {
        /// Which.
        generation: u32,
        /// Which hooks are due.
        purpose: Purpose,
        /// Workers to be started.
        num_workers: u32,
        /// Their number before.
        old_num_workers: Option<u32>,
    },
    /// Hooks changed settings. Answered by `Failed` if that cannot be.
    Amend {
        /// Which.
        generation: u32,
        /// The new values.
        changed: BTreeMap<String, PyValue>,
    },
    /// Bind the addresses. Answered by `Bound` or `BindFailed`.
    Bind {
        /// Whose.
        generation: u32,
    },
    /// Send a forkserver an order.
    Tell {
        /// Whose.
        generation: u32,
        /// What.
        order: Order,
    },
    /// Have a worker forked. Answered over its link.
    Fork {
        /// By which generation.
        generation: u32,
        /// `worker.age`
        age: u64,
        /// Its place in that generation's scoreboard.
        slot: u32,
    },
    /// Tell a forkserver where the server listens: `when_ready` is due.
    Announce {
        /// Whose.
        generation: u32,
    },
    /// A reload's generation takes over: its addresses, pidfile, title and logs are the server's from now on.
    Commit {
        /// Which.
        generation: u32,
    },
    /// A reload's generation does not take over: what it has opened is closed.
    Abandon {
        /// Which.
        generation: u32,
    },
    /// A reload begins: tell whoever wants to know.
    AnnounceReload,
    /// A reload is over, well or with a reason: tell whoever waits for it.
    ReloadEnded {
        /// Why nothing has changed.
        failure: Option<String>,
    },
    /// Answer a wish.
    Answer {
        /// Whose.
        ticket: u64,
        /// What.
        answer: Answer,
    },
    /// Tell a worker to finish and leave.
    Retire {
        /// Which.
        age: u64,
        /// Its pid, for the TERM that follows; none does where only what was said before has changed.
        pid: Option<Pid>,
        /// It is to empty the listeners' queues first.
        drain: bool,
        /// Its idle connections may go to other workers, of whatever generation.
        heirs: bool,
    },
    /// Send a signal.
    Signal {
        /// To whom.
        pid: Pid,
        /// Which.
        what: Kill,
    },
    /// Log this about a worker, and what it is doing: the requests in hand and every thread's stack.
    Report {
        /// Which.
        age: u64,
        /// How bad it is.
        level: Level,
        /// What happened.
        text: String,
    },
    /// Log this about a worker that a signal ended, with what is known of that and what it was doing.
    Obituary {
        /// Which.
        age: u64,
        /// Its pid.
        pid: Pid,
        /// How bad it is.
        level: Level,
        /// What happened.
        text: String,
    },
    /// A worker is gone: close its link, add up its counters, free its slot.
    Bury {
        /// Which.
        age: u64,
    },
    /// A generation is gone: close what is left of its forkserver.
    Discard {
        /// Which.
        generation: u32,
    },
    /// Start the program that is to take over, with these changes of its environment.
    Upgrade {
        /// What `pre_exec` has changed.
        environment: Environment,
    },
    /// The new arbiter is gone: the listeners are this one's alone.
    UpgradeOver,
    /// The old arbiter is gone: its pidfile, title and listeners are this one's.
    Promote {
        /// This one's first worker is ready, or was, and it goes on serving.
        ready: bool,
    },
    /// This process leaves, and that one goes on: tell whoever supervises us.
    HandOver {
        /// The new arbiter.
        pid: Pid,
    },
    /// Open the log files again, everywhere.
    ReopenLogs,
    /// Responses are to close their connections: clients have to look for another server.
    Drain,
    /// Take no new connections any more; what is queued is served.
    StopAccepting,
    /// The service is up: tell whoever waits for that.
    AnnounceReady,
    /// The service is about to end: tell whoever wants to know.
    AnnounceStop,
    /// Log a line.
    Log(Level, String),
    /// Say to the operator, on the terminal, why the start failed.
    Complain(String),
    /// Remove the pidfile.
    RemovePidfile,
    /// End the process.
    Exit(Exit),
}
