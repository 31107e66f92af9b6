//! Doing what the core has decided. Whatever fails here comes back to it as an event.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rgunicorn_logs::Level;
use rgunicorn_wire::message::{FileSetting, Fork};
use rgunicorn_wire::{ArbiterSays, Order, PyValue};

use super::event::{Action, Event, FromWorker};
use super::wait::{WorkerLink, forkserver_token, worker_token};
use super::{Arbiter, Outcome};
use crate::config::Config;
use crate::exit::Exit;
use crate::forkserver::{self, Forkserver};
use crate::listen::{Listener, Opening};
use crate::logging::{self, Kind, Target};
use crate::pidfile::Pidfile;
use crate::settings::{FileLayer, Mode, merge};
use crate::sys::clock::{nanos, now};
use crate::sys::process::{self, Kill};
use crate::sys::{Pid, files, link, memory, signals};
use crate::systemd;

/// A forkserver that is let go before the process detaches may take so long.
const LET_GO_MS: u64 = 2000;
/// More of a worker's stacks than this says nothing more.
const MAX_STACKS: usize = 256 * 1024;

/// The descriptors of the logs, for workers.
#[derive(Debug, Default)]
pub struct Logs {
    error: Option<OwnedFd>,
    access: Option<OwnedFd>,
    /// The operator sees the error log where he started us.
    on_terminal: bool,
}

impl Arbiter {
    /// Performs one action. An outcome ends the loop.
    pub(super) fn perform(&mut self, action: Action) -> Option<Outcome> {
        match action {
            Action::StartForkserver { generation } => self.start_forkserver(generation),
            Action::Settle { generation, settings } => return self.settle(generation, settings),
            Action::Configure { generation, first, replacement, num_workers } => {
                self.configure(generation, first, replacement, num_workers);
            }
            Action::Amend { generation, changed } => self.amend(generation, changed),
            Action::Bind { generation } => self.bind(generation),
            Action::Tell { generation, order } => self.tell(generation, &order, &[]),
            Action::Fork { generation, age, slot } => {
                if let Err(error) = self.fork(generation, age, slot) {
                    self.workers.remove(&age);
                    match error.kind() {
                        // The forkserver has ended, which we are about to hear of.
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => {
                            self.events.push_back(Event::Unlinked { generation });
                        }
                        _ => self.log.write(Level::Error, &format!("a worker could not be ordered: {error}")),
                    }
                    self.events.push_back(Event::Worker { age, said: FromWorker::Closed });
                }
            }
            Action::Retire { age, pid, drain } => self.retire(age, pid, drain),
            Action::Signal { pid, what } => self.signal(pid, what),
            Action::Report { age, level, text } => self.report(age, level, text),
            Action::Bury { age } => self.bury(age),
            Action::Discard { generation } => {
                self.forkservers.remove(&generation);
                self.forget_generation(generation);
            }
            Action::StopAccepting => self.listeners.iter_mut().for_each(Listener::stop_accepting),
            Action::AnnounceReady => {
                systemd::notify("READY=1\nSTATUS=rgunicorn serves");
                if let Some(herald) = self.start.herald.take() {
                    herald.tell(Exit::Done.code(), "");
                }
            }
            Action::AnnounceStop => systemd::notify("STOPPING=1"),
            Action::Log(level, text) => self.log.write(level, &text),
            Action::Complain(text) => self.complain(&text),
            Action::RemovePidfile => {
                if let Some(pidfile) = self.pidfile.take() {
                    pidfile.remove();
                }
            }
            Action::Exit(exit) => return Some(self.end(exit)),
        }
        None
    }

    fn start_forkserver(&mut self, generation: u32) {
        let started = Forkserver::start(&self.start.home, &self.start.directory).and_then(|forkserver| {
            self.poller
                .watch(&forkserver, forkserver_token(generation))
                .map_err(|error| format!("can't watch the forkserver: {error}"))?;
            Ok(forkserver)
        });
        match started {
            Ok(forkserver) => {
                let home = &self.start.home;
                let interpreter = format!("'{}' (from {})", home.python.display(), home.python_from);
                self.events.push_back(Event::Started { generation, pid: forkserver.pid, interpreter });
                self.forkservers.insert(generation, forkserver);
                match self.start.invocation.config_source() {
                    Ok(source) => {
                        if let Some(name) = Some(source.name()).filter(|name| !name.is_empty()) {
                            self.events.push_back(Event::Reads { generation, name: name.to_owned() });
                        }
                        let load = forkserver::load(&self.start.invocation, source, generation);
                        self.tell(generation, &Order::Load(load), &[]);
                    }
                    // It was there when we started.
                    Err(error) => self.fail(generation, error.to_string(), Exit::Failure),
                }
            }
            Err(message) => self.fail(generation, format!("Error: {message}"), Exit::Failure),
        }
    }

    fn fail(&mut self, generation: u32, message: String, exit: Exit) {
        self.events.push_back(Event::Failed { generation, message, exit });
    }

    fn settle(&mut self, generation: u32, settings: BTreeMap<String, FileSetting>) -> Option<Outcome> {
        let file = self.file_layer(settings);
        let merged = file.and_then(|file| merge(&self.start.invocation, file));
        if generation == 1 && merged.as_ref().is_ok_and(|settings| settings.mode() != Mode::Serve) {
            self.let_go(generation);
            return Some(Outcome::Check);
        }
        let config = match merged.and_then(Config::resolve) {
            Ok(config) => config,
            Err(error) => {
                self.fail(generation, error.to_string(), Exit::Failure);
                return None;
            }
        };
        // A server that runs in the foreground stays there, whatever its file says by now.
        if generation == 1 && config.daemon && !self.start.detached {
            self.let_go(generation);
            return Some(Outcome::Detach { keep_stdio: config.keep_stdio });
        }
        if generation == 1
            && let Err(message) = self.open_for(&config)
        {
            self.fail(generation, format!("Error: {message}"), Exit::Failure);
            return None;
        }
        if let Err(error) = self.boards.add(generation, config.threads) {
            self.fail(generation, format!("Error: can't make the scoreboard: {error}"), Exit::Failure);
            return None;
        }
        let plan = config.plan.clone();
        self.configs.insert(generation, config);
        self.events.push_back(Event::Settled { generation, plan });
        None
    }

    fn file_layer(&self, settings: BTreeMap<String, FileSetting>) -> Result<FileLayer, crate::settings::Error> {
        let source = self.start.invocation.config_source()?;
        FileLayer::read(source, settings)
    }

    /// Opens what the first generation's settings name: the directory to work in, the logs, the pidfile.
    fn open_for(&mut self, config: &Config) -> Result<(), String> {
        std::env::set_current_dir(&config.chdir)
            .map_err(|error| format!("can't chdir to '{}': {error}", config.chdir.display()))?;
        if let Some(path) = &config.pidfile {
            Pidfile::check(path)?;
        }
        let owner = config.listen.owner;
        self.logs = Logs {
            error: logging::open(Kind::Error, &config.error_log, owner)?,
            access: logging::open(Kind::Access, &config.access_log, owner)?,
            on_terminal: config.error_log == Target::Standard && !self.start.detached,
        };
        let copy = logging::share(&self.logs.error).map_err(|error| format!("can't copy a descriptor: {error}"))?;
        self.log.open(copy, config.level);
        if let (true, Target::File(_), Some(fd)) = (config.capture_output, &config.error_log, &self.logs.error) {
            files::capture_output(fd).map_err(|error| format!("can't redirect the output: {error}"))?;
        }
        if let Some(path) = &config.pidfile {
            self.pidfile = Some(Pidfile::create(path)?);
        }
        self.set_title(config.settings.proc_name());
        Ok(())
    }

    /// Has a forkserver end before the process forks.
    fn let_go(&mut self, generation: u32) {
        self.tell(generation, &Order::Exit { on_exit: false }, &[]);
        if let Some(forkserver) = self.forkservers.remove(&generation) {
            let pid = forkserver.pid;
            drop(forkserver);
            process::end_child(pid, LET_GO_MS);
        }
        signals::unblock_all();
    }

    fn configure(&mut self, generation: u32, first: bool, replacement: bool, num_workers: u32) {
        let Some(config) = self.configs.get(&generation) else { return };
        let mut configure = config.for_forkserver();
        configure.first = first;
        configure.replacement = replacement;
        configure.num_workers = num_workers;
        configure.has_error_log = self.logs.error.is_some();
        configure.has_access_log = self.logs.access.is_some();
        let fds: Vec<BorrowedFd<'_>> =
            [&self.logs.error, &self.logs.access].into_iter().flatten().map(AsFd::as_fd).collect();
        let order = Order::Configure(configure);
        let Some(forkserver) = self.forkservers.get_mut(&generation) else { return };
        if forkserver.say(&order, &fds).is_err() {
            self.events.push_back(Event::Unlinked { generation });
        }
    }

    fn amend(&mut self, generation: u32, changed: BTreeMap<String, PyValue>) {
        let Some(config) = self.configs.remove(&generation) else { return };
        match config.amended(changed) {
            Ok(config) => {
                self.events.push_back(Event::Amended { generation, plan: config.plan.clone() });
                self.configs.insert(generation, config);
            }
            Err(error) => self.fail(generation, error.to_string(), Exit::Failure),
        }
    }

    fn bind(&mut self, generation: u32) {
        let Some(config) = self.configs.get(&generation) else { return };
        let mut opening = self.opening.take().unwrap_or_else(|| Opening::new(&config.binds, self.start.passed));
        let failure = match opening.proceed(&config.listen) {
            Err(failure) => (opening, failure),
            Ok(()) => match opening.publish() {
                Ok(listeners) => {
                    let addresses = listeners.iter().map(|listener| listener.shown.clone()).collect();
                    self.listeners = listeners;
                    return self.events.push_back(Event::Bound { addresses });
                }
                Err(failure) => failure,
            },
        };
        self.opening = Some(failure.0);
        self.events.push_back(Event::BindFailed(failure.1));
    }

    fn tell(&mut self, generation: u32, order: &Order, fds: &[BorrowedFd<'_>]) {
        let Some(forkserver) = self.forkservers.get_mut(&generation) else { return };
        if forkserver.say(order, fds).is_err() {
            // An order is lost, and with it the two are out of step. A link that is broken is about to be noticed anyway.
            return self.events.push_back(Event::Unlinked { generation });
        }
        if forkserver.is_full() {
            let _ = self.poller.want_room(&*forkserver, forkserver_token(generation), true);
        }
    }

    fn fork(&mut self, generation: u32, age: u64, slot: u32) -> io::Result<()> {
        let (ours, theirs) = link::pair()?;
        let stacks = memory::scratch()?;
        let Some(forkserver) = self.forkservers.get_mut(&generation) else {
            return Err(io::Error::other("the forkserver is gone"));
        };
        let common = self.boards.common(generation, slot);
        let [board, receive, send] = common.ok_or_else(|| io::Error::other("there is no scoreboard"))?;
        let mut fds = vec![theirs.as_fd(), board, stacks.as_fd(), self.own_end.as_fd(), receive, send];
        fds.extend(self.listeners.iter().map(AsFd::as_fd));
        let threads = self.configs.get(&generation).map_or(1, |config| config.threads);
        let order = Order::Fork(Fork { age, slot, threads, listeners: self.listeners.len() as u32 });
        self.poller.watch(&ours, worker_token(age))?;
        forkserver.say(&order, &fds)?;
        if forkserver.is_full() {
            let _ = self.poller.want_room(&*forkserver, forkserver_token(generation), true);
        }
        self.workers.insert(age, WorkerLink { link: Some(ours), place: (generation, slot), stacks });
        Ok(())
    }

    fn retire(&mut self, age: u64, pid: Option<Pid>, drain: bool) {
        if let Some(link) = self.workers.get(&age).and_then(|worker| worker.link.as_ref()) {
            // Should the link be full or broken, the TERM says the same.
            let _ = link::send(link, &rgunicorn_wire::encode(&ArbiterSays::Retire { drain }), &[]);
        }
        if let Some(pid) = pid {
            self.signal(pid, Kill::Term);
        }
    }

    /// Not to a pid whose exit is among the events to come: it was reaped, and may be somebody else's by now.
    fn signal(&self, pid: Pid, what: Kill) {
        let ended = self.events.iter().any(|event| matches!(event, Event::Exited { pid: ended, .. } if *ended == pid));
        if !ended {
            process::signal(pid, what);
        }
    }

    /// The question that every operator asks of a worker that had to be ended: what was it doing?
    fn report(&mut self, age: u64, level: Level, mut text: String) {
        if let Some(worker) = self.workers.get(&age) {
            let (generation, slot) = worker.place;
            let now = nanos(now());
            for request in self.boards.in_flight(generation, slot) {
                let seconds = |since: u64| now.saturating_sub(since) as f64 / 1e9;
                let waits = if request.waits_for_client { ", waiting for its client" } else { "" };
                text.push_str(&format!(
                    "\n  {}: in hand for {:.1} s, silent for {:.1} s{waits}",
                    request.target,
                    seconds(request.started),
                    seconds(request.progress),
                ));
            }
            let stacks = memory::contents(&worker.stacks, MAX_STACKS).unwrap_or_default();
            if !stacks.is_empty() {
                text.push('\n');
                text.push_str(String::from_utf8_lossy(&stacks).trim_end());
            }
        }
        self.log.write(level, &text);
    }

    fn bury(&mut self, age: u64) {
        let Some(worker) = self.workers.remove(&age) else { return };
        if let Some(link) = &worker.link {
            self.poller.forget(link);
        }
        let (generation, slot) = worker.place;
        self.boards.bury(generation, slot);
        self.forget_generation(generation);
    }

    /// A generation's board and settings are needed until its forkserver and its last worker are gone.
    fn forget_generation(&mut self, generation: u32) {
        let in_use = self.forkservers.contains_key(&generation)
            || self.workers.values().any(|worker| worker.place.0 == generation);
        if !in_use {
            self.boards.remove(generation);
            self.configs.remove(&generation);
        }
    }

    /// Tells the operator where he started us, or the process that waits there for us.
    fn complain(&mut self, text: &str) {
        self.complained = true;
        match self.start.herald.take() {
            Some(herald) => herald.tell(Exit::Failure.code(), &format!("{text}\n")),
            None => {
                files::tell_operator(&format!("{text}\n"));
            }
        }
        if self.log.is_open() && !self.logs.on_terminal {
            self.log.write(Level::Error, text);
        }
    }

    fn end(&mut self, exit: Exit) -> Outcome {
        if exit != Exit::Done && !self.complained {
            let text = format!("Error: {}", self.log.last_error().unwrap_or("the start failed"));
            if let Some(herald) = self.start.herald.take() {
                herald.tell(exit.code(), &format!("{text}\n"));
            } else if !self.logs.on_terminal {
                files::tell_operator(&format!("{text}\n"));
            }
        }
        if let Some(herald) = self.start.herald.take() {
            herald.tell(exit.code(), "");
        }
        if let Some(opening) = self.opening.take() {
            opening.abandon();
        }
        for listener in std::mem::take(&mut self.listeners) {
            listener.close();
        }
        if let Some(pidfile) = self.pidfile.take() {
            pidfile.remove();
        }
        self.log.flush();
        Outcome::Exit(exit)
    }
}
