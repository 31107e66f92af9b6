//! Doing what the core has decided. Whatever fails here comes back to it as an event.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use rgunicorn_logs::Level;
use rgunicorn_wire::message::{Environment, Fork};
use rgunicorn_wire::{ArbiterSays, Order};

use super::event::{Action, Event, FromWorker};
use super::wait::{HEIR, PREDECESSOR, WorkerLink, forkserver_token, worker_token};
use super::{Arbiter, Outcome};
use crate::exit::Exit;
use crate::forkserver::{self, Forkserver};
use crate::sys::clock::{nanos, now};
use crate::sys::process::{self, Kill};
use crate::sys::{Pid, files, link, memory};
use crate::systemd;
use crate::upgrade::{Heir, Inheritance};

/// More of a worker's stacks than this says nothing more.
const MAX_STACKS: usize = 256 * 1024;

impl Arbiter {
    /// Performs one action. An outcome ends the loop.
    pub(super) fn perform(&mut self, action: Action) -> Option<Outcome> {
        match action {
            Action::StartForkserver { generation } => self.start_forkserver(generation),
            Action::Settle { generation, settings } => return self.settle(generation, settings),
            Action::Configure { generation, purpose, num_workers, old_num_workers } => {
                self.configure(generation, purpose, num_workers, old_num_workers);
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
            Action::Announce { generation } => {
                let addresses = self.addresses(generation);
                self.tell(generation, &Order::Bound { addresses }, &[]);
                self.use_control();
            }
            Action::Commit { generation } => self.commit(generation),
            Action::Abandon { generation } => self.abandon(generation),
            Action::AnnounceReload => self.tell_systemd(&systemd::reloading(now())),
            Action::ReloadEnded { failure } => {
                let status = failure.map_or("rgunicorn serves".into(), |why| format!("reload failed: {why}"));
                // Before that there is nothing to be ready with.
                let ready = if self.core.ever_ready { "READY=1\n" } else { "" };
                self.tell_systemd(&format!("{ready}STATUS={}", status.lines().next().unwrap_or_default()));
            }
            Action::Answer { ticket, answer } => self.answer(ticket, answer),
            Action::Retire { age, pid, drain, heirs } => self.retire(age, pid, drain, heirs),
            Action::Signal { pid, what } => {
                self.desk.killed += u64::from(what == Kill::Kill);
                self.signal(pid, what);
            }
            Action::Report { age, level, text } => self.report(age, level, text),
            Action::Obituary { age, pid, level, text } => self.obituary(age, pid, level, text),
            Action::Bury { age } => self.bury(age),
            Action::Discard { generation } => {
                self.forkservers.remove(&generation);
                self.forget_generation(generation);
            }
            Action::Upgrade { environment } => self.start_heir(environment),
            Action::UpgradeOver => self.all_listeners().iter().for_each(|listener| listener.share(false)),
            Action::Promote { ready } => self.promote(ready),
            Action::HandOver { pid } => self.hand_over(pid),
            Action::ReopenLogs => self.reopen_logs(),
            Action::Drain => {
                let bytes = rgunicorn_wire::encode(&ArbiterSays::Drain);
                for link in self.workers.values().filter_map(|worker| worker.link.as_ref()) {
                    let _ = link::send(link, &bytes, &[]);
                }
            }
            Action::StopAccepting => self.all_listeners().iter().for_each(|listener| listener.stop_accepting()),
            Action::AnnounceReady => {
                match &mut self.start.inheritance {
                    // Until then the old one is the service's main process.
                    Some(inheritance) => inheritance.tell_ready(),
                    None => systemd::notify("READY=1\nSTATUS=rgunicorn serves"),
                }
                if let Some(herald) = self.start.herald.take() {
                    herald.tell(Exit::Done.code(), "");
                }
            }
            Action::AnnounceStop => self.tell_systemd("STOPPING=1\nSTATUS=stopping"),
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
        self.generation_begins(generation);
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
                        let load = forkserver::load(&self.start.invocation, source, generation, self.is_watching());
                        self.tell(generation, &Order::Load(load), &[]);
                    }
                    // It was there when we started.
                    Err(error) => self.fail(generation, error.to_string(), Exit::Failure),
                }
            }
            Err(message) => self.fail(generation, format!("Error: {message}"), Exit::Failure),
        }
    }

    pub(super) fn fail(&mut self, generation: u32, message: String, exit: Exit) {
        self.events.push_back(Event::Failed { generation, message, exit });
    }

    pub(super) fn tell(&mut self, generation: u32, order: &Order, fds: &[BorrowedFd<'_>]) {
        let Some(forkserver) = self.forkservers.get_mut(&generation) else { return };
        if forkserver.say(order, fds).is_err() {
            // An order is lost, and with it the two are out of step. A link that is broken is about to be noticed anyway.
            return self.events.push_back(Event::Unlinked { generation });
        }
        if forkserver.is_full() {
            let _ = self.poller.want_room(&*forkserver, forkserver_token(generation), true);
        }
    }

    fn start_heir(&mut self, environment: Environment) {
        let listeners = self.current().map(|estate| estate.listeners.clone()).unwrap_or_default();
        let event = match Heir::start(&self.start.invocation, environment, &listeners, self.start.watchdog) {
            Ok((pid, heir)) => {
                listeners.iter().for_each(|listener| listener.share(true));
                // Should it not be watched, it is only not heard of when it is ready.
                if let Err(error) = self.poller.watch(&heir, HEIR) {
                    self.log.write(Level::Warning, &format!("can't watch the new arbiter: {error}"));
                }
                self.heir = Some(heir);
                Event::UpgradeStarted { pid }
            }
            Err(message) => Event::UpgradeFailed(message),
        };
        self.events.push_back(event);
    }

    pub(super) fn watch_predecessor(&mut self, old: Pid) {
        let watched = process::pidfd(old).and_then(|fd| self.poller.watch(&fd, PREDECESSOR).map(|()| fd));
        match watched {
            Ok(fd) => self.predecessor = Some(fd),
            // It is gone already.
            Err(_) => self.events.push_back(Event::Promoted),
        }
    }

    /// Only the process that systemd takes for the service has something to say: one that was started to take over is that
    /// once the old one says so.
    pub(super) fn tell_systemd(&mut self, state: &str) {
        if self.start.inheritance.as_mut().is_none_or(Inheritance::is_handed_over) {
            systemd::notify(state);
        }
    }

    fn hand_over(&mut self, pid: Pid) {
        if self.watchdog.take().is_some() {
            // The last time: the new one has a whole period to begin.
            systemd::notify("WATCHDOG=1");
        }
        systemd::notify(&format!("MAINPID={}\nSTATUS=upgraded", pid.0));
        if let Some(heir) = self.heir.take() {
            self.poller.forget(&heir);
        }
    }

    fn promote(&mut self, ready: bool) {
        self.start.inheritance = None;
        self.own_listeners();
        if let Some(estate) = self.estates.get(&self.current) {
            self.set_title(estate.config.settings.proc_name());
            if let (Some(pidfile), Some(path)) = (&mut self.pidfile, &estate.config.pidfile)
                && let Err(message) = pidfile.rename(path)
            {
                self.log.write(Level::Error, &message);
            }
        }
        if !self.core.stops() {
            self.use_control();
        }
        if ready {
            systemd::notify("READY=1\nSTATUS=rgunicorn serves");
        }
    }

    fn fork(&mut self, generation: u32, age: u64, slot: u32) -> io::Result<()> {
        let (ours, theirs) = link::pair()?;
        let stacks = memory::scratch()?;
        let addresses = self.addresses(generation);
        let Some(forkserver) = self.forkservers.get_mut(&generation) else {
            return Err(io::Error::other("the forkserver is gone"));
        };
        let common = self.boards.common(generation, slot);
        let [board, receive, send] = common.ok_or_else(|| io::Error::other("there is no scoreboard"))?;
        let mut fds = vec![theirs.as_fd(), board, stacks.as_fd(), self.own_end.as_fd(), receive, send];
        let estate = self.estates.get(&generation).ok_or_else(|| io::Error::other("there are no settings"))?;
        fds.extend(estate.listeners.iter().map(AsFd::as_fd));
        let (threads, listeners) = (estate.config.threads, estate.listeners.len() as u32);
        let order = Order::Fork(Fork { age, slot, threads, listeners, addresses });
        self.poller.watch(&ours, worker_token(age))?;
        forkserver.say(&order, &fds)?;
        if forkserver.is_full() {
            let _ = self.poller.want_room(&*forkserver, forkserver_token(generation), true);
        }
        self.workers.insert(age, WorkerLink { link: Some(ours), place: (generation, slot), stacks });
        Ok(())
    }

    fn retire(&mut self, age: u64, pid: Option<Pid>, drain: bool, heirs: bool) {
        // What waits at an address that was given up, only this generation's workers can take.
        let drain = drain || self.workers.get(&age).is_some_and(|worker| self.alone_somewhere(worker.place.0));
        if let Some(link) = self.workers.get(&age).and_then(|worker| worker.link.as_ref()) {
            // Should the link be full or broken, the TERM says the same.
            let _ = link::send(link, &rgunicorn_wire::encode(&ArbiterSays::Retire { drain, heirs }), &[]);
        }
        if let Some(pid) = pid {
            self.desk.killed += 1;
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

    /// Who ended it, for want of what, and in the midst of what.
    fn obituary(&mut self, age: u64, pid: Pid, level: Level, mut text: String) {
        if let Some(death) = self.deaths.remove(&pid) {
            match death.by_oom_killer {
                Some(true) => text.push_str(" The kernel's OOM killer did it."),
                Some(false) => text.push_str(" (The kernel's OOM killer did not do it.)"),
                None => {}
            }
            text.push_str(&format!(" Peak memory: {} MB.", death.peak >> 20));
        }
        self.describe_requests(age, &mut text);
        self.log.write(level, &text);
    }

    fn describe_requests(&self, age: u64, text: &mut String) {
        let Some(worker) = self.workers.get(&age) else { return };
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
    }

    /// The question that every operator asks of a worker that had to be ended: what was it doing?
    fn report(&mut self, age: u64, level: Level, mut text: String) {
        self.describe_requests(age, &mut text);
        if let Some(worker) = self.workers.get(&age) {
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

    /// A generation's listeners are needed until its last worker is gone, its board and settings until its forkserver is
    /// gone, too.
    pub(super) fn forget_generation(&mut self, generation: u32) {
        if self.workers.values().any(|worker| worker.place.0 == generation) {
            return;
        }
        // One that was superseded forks no more, even if its forkserver stays for what its hooks have started.
        if generation < self.current
            && let Some(estate) = self.estates.get_mut(&generation)
        {
            let given_up = std::mem::take(&mut estate.listeners);
            self.close_unused(given_up);
        }
        if !self.forkservers.contains_key(&generation) {
            self.boards.remove(generation);
            if generation != self.current
                && let Some(estate) = self.estates.remove(&generation)
            {
                self.close_unused(estate.listeners);
            }
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
        if self.log.is_open() && !self.log_on_terminal {
            self.log.write(Level::Error, text);
        }
    }

    fn end(&mut self, exit: Exit) -> Outcome {
        if exit != Exit::Done && !self.complained {
            let text = format!("Error: {}", self.log.last_error().unwrap_or("the start failed"));
            if let Some(herald) = self.start.herald.take() {
                herald.tell(exit.code(), &format!("{text}\n"));
            } else if !self.log_on_terminal {
                files::tell_operator(&format!("{text}\n"));
            }
        }
        if let Some(herald) = self.start.herald.take() {
            herald.tell(exit.code(), "");
        }
        self.close_control();
        self.all_listeners().iter().for_each(|listener| listener.close());
        if let Some(pidfile) = self.pidfile.take() {
            pidfile.remove();
        }
        self.log.flush();
        Outcome::Exit(exit)
    }
}
