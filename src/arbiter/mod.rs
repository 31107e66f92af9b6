//! The arbiter: keeps the sockets and the fleet, whatever apps, hooks and C extensions do.
//!
//! The loop waits for one event, lets `core` decide, and performs what it says. Everything else is in the parts: `core`
//! (with `boot`, `keep`, `stop`) decides and touches nothing, `perform` does and decides nothing.

mod board;
mod boot;
mod control;
mod core;
mod estate;
pub mod event;
mod fleet;
mod generation;
mod keep;
#[cfg(test)]
mod model;
mod perform;
mod reload;
mod renewal;
mod stop;
#[cfg(test)]
mod tests;
mod upgrade;
mod wait;
mod watch;
mod wish;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::exit::Exit;
use crate::forkserver::Forkserver;
use crate::home::Home;
use crate::listen::{Inherited, Listener};
use crate::logging::Log;
use crate::pidfile::Pidfile;
use crate::settings::Invocation;
use crate::sys::clock::now;
use crate::sys::daemon::Herald;
use crate::sys::poll::Poller;
use crate::sys::signals::Signals;
use crate::sys::{Pid, cgroup, process, title};
use crate::systemd::Watchdog;
use crate::upgrade::{Heir, Inheritance};

pub use keep::SLOTS;

use board::Boards;
use control::Desk;
use core::Core;
use estate::Estate;
use event::{Action, Event};
use upgrade::Origin;
use wait::{Death, WorkerLink};
use watch::Watch;

/// What an arbiter is started with.
#[derive(Debug)]
pub struct Start {
    /// The command line and environment.
    pub invocation: Invocation,
    /// Interpreter, package, extension.
    pub home: Home,
    /// The directory that the program was started in.
    pub directory: PathBuf,
    /// Sockets that this process inherited.
    pub inherited: Inherited,
    /// The arbiter that this one is to take over from.
    pub inheritance: Option<Inheritance>,
    /// How often systemd wants to hear of it.
    pub watchdog: Option<Duration>,
    /// In the background: who waits for the start to be done.
    pub herald: Option<Herald>,
    /// This process is the daemon already.
    pub detached: bool,
}

impl Start {
    /// For a second start, in the background. Whom to tell is not copied: there is one daemon.
    pub fn copy(&self) -> Start {
        Start {
            invocation: self.invocation.clone(),
            home: self.home.clone(),
            directory: self.directory.clone(),
            inherited: self.inherited.clone(),
            inheritance: None,
            watchdog: self.watchdog,
            herald: None,
            detached: self.detached,
        }
    }
}

/// How the loop ends.
#[derive(Debug)]
pub enum Outcome {
    /// The process ends.
    Exit(Exit),
    /// The configuration file asks for a check only (`check_config = True`). No child is left.
    Check,
    /// The configuration asks for a daemon, and this process is none yet: detach, and start anew. No thread and no child
    /// is left.
    Detach {
        /// `enable_stdio_inheritance`
        keep_stdio: bool,
    },
}

/// The arbiter, as far as it touches the world.
#[derive(Debug)]
pub struct Arbiter {
    start: Start,
    core: Core,
    poller: Poller,
    signals: Signals,
    /// Readable when this process has ended: for workers to watch.
    own_end: OwnedFd,
    /// Events that were found and not yet taken.
    events: VecDeque<Event>,
    forkservers: BTreeMap<u32, Forkserver>,
    /// By generation.
    estates: BTreeMap<u32, Estate>,
    /// The generation whose estate serves; 0 before the first is bound.
    current: u32,
    boards: Boards,
    workers: BTreeMap<u64, WorkerLink>,
    /// The arbiter that is to take over.
    heir: Option<Heir>,
    /// Of processes that a signal ended, until it is logged.
    deaths: BTreeMap<Pid, Death>,
    /// What the out-of-memory killer had done when it was last looked at.
    oom_kills: Option<u64>,
    /// A pidfd of the arbiter that this one is to take over from.
    predecessor: Option<OwnedFd>,
    /// Inherited from it, and at none of this one's addresses.
    surplus: Vec<Listener>,
    pidfile: Option<Pidfile>,
    watchdog: Option<Watchdog>,
    /// Of `reload`.
    watch: Watch,
    desk: Desk,
    started: Duration,
    log: Log,
    /// The operator sees the error log where he started us.
    log_on_terminal: bool,
    complained: bool,
}

impl Arbiter {
    /// Takes the signals over. No other thread may run yet.
    pub fn new(start: Start) -> io::Result<(Arbiter, Vec<Action>)> {
        process::become_subreaper()?;
        let signals = Signals::take_over()?;
        let poller = Poller::new()?;
        poller.watch(&signals, wait::SIGNALS)?;
        let old = start.inheritance.as_ref().map(|inheritance| inheritance.old);
        let watchdog = start.watchdog.map(|period| Watchdog::new(period, now()));
        let (core, first) = Core::new(Origin { old, is_init: process::own_pid().0 == 1 }, now());
        let mut arbiter = Arbiter {
            start,
            core,
            poller,
            signals,
            own_end: process::pidfd_of_self()?,
            events: VecDeque::new(),
            forkservers: BTreeMap::new(),
            estates: BTreeMap::new(),
            current: 0,
            boards: Boards::new()?,
            workers: BTreeMap::new(),
            heir: None,
            deaths: BTreeMap::new(),
            oom_kills: cgroup::oom_kills(),
            predecessor: None,
            surplus: Vec::new(),
            pidfile: None,
            watchdog,
            watch: Watch::default(),
            desk: Desk::default(),
            started: now(),
            log: Log::default(),
            log_on_terminal: false,
            complained: false,
        };
        if let Some(old) = old {
            arbiter.watch_predecessor(old);
        }
        Ok((arbiter, first))
    }

    /// Runs to the end.
    pub fn run(mut self, first: Vec<Action>) -> Outcome {
        let mut actions = first;
        loop {
            for action in actions {
                if let Some(outcome) = self.perform(action) {
                    return outcome;
                }
            }
            let event = self.wait();
            actions = self.core.on(event, now(), &self.boards);
        }
    }

    fn set_title(&self, name: &str) {
        let suffix = if self.core.is_promoted() { "" } else { ".2" };
        title::set(&format!("rgunicorn: master [{name}{suffix}]"));
    }
}
