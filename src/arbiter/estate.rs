//! What a generation has: its settings, its logs, its listeners. A reload makes a new estate beside the one that serves,
//! and lets it take over or go.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rgunicorn_logs::Level;
use rgunicorn_wire::message::{self, Configure, FileSetting};
use rgunicorn_wire::{ArbiterSays, Order, PyValue};

use super::event::Event;
use super::generation::Purpose;
use super::{Arbiter, Outcome};
use crate::config::Config;
use crate::exit::Exit;
use crate::listen::{Listener, Opening};
use crate::logging::{self, Kind, Target};
use crate::pidfile::Pidfile;
use crate::settings::{FileLayer, Mode, merge};
use crate::sys::clock::{nanos, now};
use crate::sys::{files, link, process, signals};

/// A forkserver that is let go before the process detaches may take so long.
const LET_GO_MS: u64 = 2000;

/// See the module's head.
#[derive(Debug)]
pub struct Estate {
    /// The settings.
    pub config: Config,
    /// Where its logs go.
    pub logs: Rc<Logs>,
    /// Where it listens, once that is bound.
    pub listeners: Vec<Rc<Listener>>,
    opening: Option<Opening>,
}

/// The descriptors of the logs, for workers.
#[derive(Debug)]
pub struct Logs {
    pub(super) error: Option<OwnedFd>,
    access: Option<OwnedFd>,
    /// The operator sees the error log where he started us.
    pub(super) on_terminal: bool,
}

impl Logs {
    fn open(config: &Config, detached: bool) -> Result<Logs, String> {
        let owner = config.listen.owner;
        Ok(Logs {
            error: logging::open(Kind::Error, &config.error_log, owner)?,
            access: logging::open(Kind::Access, &config.access_log, owner)?,
            on_terminal: config.error_log == Target::Standard && !detached,
        })
    }

    /// What is passed.
    fn passed(&self, captured: bool) -> message::Logs {
        message::Logs { error: self.error.is_some(), access: self.access.is_some(), captured }
    }

    /// In the order in which they are passed.
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        [&self.error, &self.access].into_iter().flatten().map(AsFd::as_fd).collect()
    }
}

impl Estate {
    /// Standard output and standard error go to the error log's file.
    fn captures(&self) -> bool {
        self.config.capture_output && matches!(self.config.error_log, Target::File(_))
    }
}

impl Arbiter {
    /// The estate that serves.
    pub(super) fn current(&self) -> Option<&Estate> {
        self.estates.get(&self.current)
    }

    /// Merges and checks a generation's settings, and opens what can be opened without anybody noticing.
    pub(super) fn settle(&mut self, generation: u32, settings: BTreeMap<String, FileSetting>) -> Option<Outcome> {
        let first = self.current == 0;
        let source = self.start.invocation.config_source();
        let file = source.and_then(|source| FileLayer::read(source, settings));
        let merged = file.and_then(|file| merge(&self.start.invocation, file));
        if first && merged.as_ref().is_ok_and(|settings| settings.mode() != Mode::Serve) {
            self.let_go(generation);
            return Some(Outcome::Check);
        }
        let mut config = match merged.and_then(Config::resolve) {
            Ok(config) => config,
            Err(error) => {
                self.fail(generation, error.to_string(), Exit::Failure);
                return None;
            }
        };
        // A server that runs in the foreground stays there, whatever its file says by now.
        if first && config.daemon && self.start.inheritance.is_some() {
            // The old one was one, and started this one.
            self.start.detached = true;
        }
        if first && config.daemon && !self.start.detached {
            self.let_go(generation);
            return Some(Outcome::Detach { keep_stdio: config.keep_stdio });
        }
        config.plan.daemon = self.start.detached;
        config.plan.seed = nanos(now());
        let plan = config.plan.clone();
        match self.make_estate(generation, config) {
            Ok(estate) => {
                self.estates.insert(generation, estate);
                self.watch_generation(generation);
                self.events.push_back(Event::Settled { generation, plan });
            }
            Err(message) => self.fail(generation, format!("Error: {message}"), Exit::Failure),
        }
        None
    }

    fn make_estate(&mut self, generation: u32, config: Config) -> Result<Estate, String> {
        if self.current == 0 {
            std::env::set_current_dir(&config.chdir)
                .map_err(|error| format!("can't chdir to '{}': {error}", config.chdir.display()))?;
        }
        if let Some(path) = &config.pidfile {
            Pidfile::try_out(&self.pidfile_path(path))?;
        }
        let logs = Rc::new(Logs::open(&config, self.start.detached)?);
        self.make_board(generation, &config)?;
        let estate = Estate { config, logs, listeners: Vec::new(), opening: None };
        if self.current == 0 {
            self.use_logs(&estate)?;
            self.use_pidfile(&estate.config)?;
            self.set_title(estate.config.settings.proc_name());
        }
        Ok(estate)
    }

    fn make_board(&mut self, generation: u32, config: &Config) -> Result<(), String> {
        self.boards.add(generation, config.threads).map_err(|error| format!("can't make the scoreboard: {error}"))
    }

    fn use_logs(&mut self, estate: &Estate) -> Result<(), String> {
        let copy = logging::share(&estate.logs.error).map_err(|error| format!("can't copy a descriptor: {error}"))?;
        self.log.open(copy, estate.config.level);
        self.log_on_terminal = estate.logs.on_terminal;
        if let (true, Some(fd)) = (estate.captures(), &estate.logs.error) {
            files::capture_output(fd).map_err(|error| format!("can't redirect the output: {error}"))?;
        }
        Ok(())
    }

    /// If the new one cannot be written, the old one stays.
    fn use_pidfile(&mut self, config: &Config) -> Result<(), String> {
        let path = config.pidfile.as_ref().map(|path| self.pidfile_path(path));
        let new = path.map(|path| Pidfile::create(&path)).transpose()?;
        let old = std::mem::replace(&mut self.pidfile, new);
        if let Some(old) = old
            && !self.pidfile.as_ref().is_some_and(|new| new.is_same_as(&old))
        {
            old.remove();
        }
        Ok(())
    }

    /// Until it is promoted, an arbiter has a pidfile beside that of the one it is to take over from.
    fn pidfile_path(&self, path: &Path) -> PathBuf {
        let mut path = path.as_os_str().to_owned();
        if !self.core.is_promoted() {
            path.push(".2");
        }
        path.into()
    }

    /// Opens the log files again, and hands them to everybody who has the old ones. Where that fails, the old ones are
    /// written on.
    pub(super) fn reopen_logs(&mut self) {
        let mut renewed: Vec<(Rc<Logs>, Rc<Logs>)> = Vec::new();
        let mut failures = Vec::new();
        for estate in self.estates.values_mut() {
            let known = renewed.iter().find(|(old, _)| Rc::ptr_eq(old, &estate.logs)).map(|(_, new)| Rc::clone(new));
            let new = match known.map_or_else(|| Logs::open(&estate.config, self.start.detached).map(Rc::new), Ok) {
                Ok(new) => new,
                Err(message) => {
                    failures.push(message);
                    continue;
                }
            };
            renewed.push((std::mem::replace(&mut estate.logs, Rc::clone(&new)), new));
        }
        if let Some(copy) = self.current().map(|estate| logging::share(&estate.logs.error)) {
            match copy {
                Ok(Some(file)) => self.log.reopen(file),
                Ok(None) => {}
                Err(error) => failures.push(format!("can't copy a descriptor: {error}")),
            }
        }
        if let Some(estate) = self.current()
            && let (true, Some(file)) = (estate.captures(), &estate.logs.error)
            && let Err(error) = files::capture_output(file)
        {
            failures.push(format!("can't redirect the output: {error}"));
        }
        for message in failures {
            self.log.write(Level::Error, &format!("Log file not opened again: {message}"));
        }
        self.hand_out_logs();
    }

    fn hand_out_logs(&mut self) {
        let orders: Vec<(u32, message::Logs, Rc<Logs>)> = self
            .estates
            .iter()
            .map(|(&generation, estate)| (generation, estate.logs.passed(estate.captures()), Rc::clone(&estate.logs)))
            .collect();
        for (generation, passed, logs) in orders {
            self.tell(generation, &Order::Logs(passed), &logs.fds());
            let bytes = rgunicorn_wire::encode(&ArbiterSays::Logs(passed));
            let workers = self.workers.iter().filter(|(_, worker)| worker.place.0 == generation);
            for (&age, link) in workers.filter_map(|(age, worker)| Some((age, worker.link.as_ref()?))) {
                if !link::send(link, &bytes, &logs.fds()).unwrap_or(false) {
                    let text = format!("Worker of age {age} could not be given the log files that were opened again");
                    self.log.write(Level::Warning, &text);
                }
            }
        }
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

    /// What a generation's forkserver is told.
    pub(super) fn configure(
        &mut self,
        generation: u32,
        purpose: Purpose,
        num_workers: u32,
        old_num_workers: Option<u32>,
    ) {
        if purpose == Purpose::Replacement
            && let Some(current) = self.estates.get(&self.current)
        {
            // It stands in: where the server listens and logs to is not its to change.
            let (listeners, logs) = (current.listeners.clone(), Rc::clone(&current.logs));
            if let Some(estate) = self.estates.get_mut(&generation) {
                (estate.listeners, estate.logs) = (listeners, logs);
            }
        }
        let Some(estate) = self.estates.get(&generation) else { return };
        let configure = Configure {
            first: purpose == Purpose::First,
            replacement: purpose == Purpose::Replacement,
            num_workers,
            old_num_workers,
            has_error_log: estate.logs.error.is_some(),
            has_access_log: estate.logs.access.is_some(),
            ..estate.config.for_forkserver()
        };
        let logs = Rc::clone(&estate.logs);
        self.tell(generation, &Order::Configure(configure), &logs.fds());
    }

    pub(super) fn amend(&mut self, generation: u32, changed: BTreeMap<String, PyValue>) {
        let Some(mut estate) = self.estates.remove(&generation) else { return };
        let amended = estate.config.amended(changed).map_err(|error| error.to_string());
        match amended.and_then(|config| self.make_board(generation, &config).map(|()| config)) {
            Ok(config) => {
                estate.config = config;
                self.events.push_back(Event::Amended { generation, plan: estate.config.plan.clone() });
                self.estates.insert(generation, estate);
            }
            Err(message) => self.fail(generation, message, Exit::Failure),
        }
    }

    pub(super) fn bind(&mut self, generation: u32) {
        let kept = self.current().map(|estate| estate.listeners.clone());
        let Some(estate) = self.estates.get_mut(&generation) else { return };
        let binds = &estate.config.binds;
        let first = kept.is_none();
        let opening = estate.opening.get_or_insert_with(|| match kept {
            Some(open) => Opening::anew(binds, &open),
            None => Opening::first(binds, &self.start.inherited),
        });
        if let Err(failure) = opening.proceed(&estate.config.listen) {
            return self.events.push_back(Event::BindFailed(failure));
        }
        estate.listeners = opening.listeners().to_vec();
        let surplus = opening.surplus(&estate.config.listen);
        estate.opening = None;
        if first {
            self.current = generation;
            self.surplus = surplus;
            if self.core.is_promoted() {
                // The old one has gone before anything was bound.
                self.own_listeners();
            }
            if let Err(message) = self.publish(generation) {
                return self.fail(generation, format!("Error: {message}"), Exit::Failure);
            }
        }
        let addresses = self.addresses(generation);
        self.events.push_back(Event::Bound { addresses });
    }

    fn publish(&self, generation: u32) -> Result<(), String> {
        let Some(estate) = self.estates.get(&generation) else { return Ok(()) };
        estate.listeners.iter().try_for_each(|listener| {
            listener.publish().map_err(|error| format!("can't listen at {}: {error}", listener.shown))
        })
    }

    /// Where a generation listens, as it is logged.
    pub(super) fn addresses(&self, generation: u32) -> Vec<String> {
        let listeners = self.estates.get(&generation).map(|estate| &estate.listeners);
        listeners.into_iter().flatten().map(|listener| listener.shown.clone()).collect()
    }

    /// A reload's generation takes over.
    pub(super) fn commit(&mut self, generation: u32) {
        let old = std::mem::replace(&mut self.current, generation);
        let done = self.publish(generation).and_then(|()| {
            let Some(estate) = self.estates.remove(&generation) else { return Ok(()) };
            let used = self.use_logs(&estate).and_then(|()| self.use_pidfile(&estate.config));
            self.set_title(estate.config.settings.proc_name());
            self.estates.insert(generation, estate);
            used
        });
        if let Err(message) = done {
            // There is no way back: what could be done is done, and the rest is for the operator.
            self.log.write(Level::Error, &format!("reload: {message}"));
        }
        self.watch_only(generation);
        self.use_control();
        let new = self.estates.get(&generation).map(|estate| estate.listeners.clone()).unwrap_or_default();
        let removed = self.estates.get(&old).map(|estate| estate.listeners.clone()).unwrap_or_default();
        let changed = removed.len() != new.len() || !removed.iter().all(|listener| contains(&new, listener));
        for listener in removed.into_iter().filter(|listener| !contains(&new, listener)) {
            // Its old workers empty its queue; it is closed when the last of them is gone.
            listener.stop_accepting();
        }
        if changed {
            let addresses = self.addresses(generation).join(",");
            self.log.write(Level::Info, &format!("Listening at: {addresses}"));
        }
        // Of those whose workers went before this, nobody would ask again.
        for old in self.estates.keys().copied().filter(|old| *old < generation).collect::<Vec<_>>() {
            self.forget_generation(old);
        }
    }

    /// A generation does not come up: closes what it has opened, and nobody else uses.
    pub(super) fn abandon(&mut self, generation: u32) {
        self.watch_no_more_than_wanted();
        let Some(estate) = self.estates.remove(&generation) else { return };
        let opened = estate.opening.as_ref().map(|opening| opening.listeners().to_vec()).unwrap_or_default();
        self.close_unused(estate.listeners.into_iter().chain(opened).collect());
    }

    /// Closes listeners that no estate has.
    pub(super) fn close_unused(&self, listeners: Vec<Rc<Listener>>) {
        for listener in listeners {
            if !self.estates.values().any(|estate| contains(&estate.listeners, &listener)) {
                listener.close();
            }
        }
    }

    /// No other arbiter has them any more. What was inherited for addresses that this one does not have is closed.
    pub(super) fn own_listeners(&mut self) {
        self.all_listeners().iter().for_each(|listener| listener.share(false));
        for listener in self.surplus.drain(..) {
            listener.share(false);
            listener.stop_accepting();
            listener.close();
        }
    }

    /// Whether workers of this generation listen where nobody else does any more.
    pub(super) fn alone_somewhere(&self, generation: u32) -> bool {
        let listeners = self.estates.get(&generation).map(|estate| &estate.listeners);
        let current = self.current().map(|estate| &estate.listeners);
        match (listeners, current) {
            (Some(listeners), Some(current)) => !listeners.iter().all(|listener| contains(current, listener)),
            _ => false,
        }
    }

    /// Every listener there is.
    pub(super) fn all_listeners(&self) -> Vec<Rc<Listener>> {
        let opened = self.estates.values().filter_map(|estate| estate.opening.as_ref()).flat_map(Opening::listeners);
        self.estates.values().flat_map(|estate| &estate.listeners).chain(opened).cloned().collect()
    }
}

fn contains(listeners: &[Rc<Listener>], listener: &Rc<Listener>) -> bool {
    listeners.iter().any(|other| Rc::ptr_eq(other, listener))
}
