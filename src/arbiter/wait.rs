//! Waiting: what has happened, as events, in the order in which it must be looked at.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::Arbiter;
use super::event::{Event, FromWorker};
use crate::forkserver;
use crate::sys::clock::now;
use crate::sys::link::{Received, discard, receive};
use crate::sys::{Pid, Signal, Status, cgroup, process};
use crate::systemd::Watchdog;
use crate::upgrade;
use rgunicorn_logs::Level;
use rgunicorn_wire::{Report, WorkerSays};

/// The tokens of the arbiter before this one and the one after it.
pub const PREDECESSOR: u64 = 1;
pub const HEIR: u64 = 2;
/// The token of the thread that watches files.
pub const WATCHER: u64 = 16;
/// The token of the signals; a generation's forkserver and a worker's link have their numbers behind these bits.
pub const SIGNALS: u64 = 0;
/// The control socket; its clients have their numbers behind it.
pub const CONTROL: u64 = 1 << 61;
const FORKSERVER: u64 = 1 << 62;
const WORKER: u64 = 1 << 63;

/// No worker has more to say at once.
const MAX_FROM_WORKER: usize = 8 * 1024;
/// After a wait that failed, which nothing here can mend: a pause, so that it does not fill the log.
const PAUSE: Duration = Duration::from_secs(1);
/// Messages read from one link at a time, so that one that floods us does not keep us from the others.
const AT_ONCE: usize = 64;

/// Deaths remembered for their log line, which is written a moment later. Strangers' are among them.
const MAX_DEATHS: usize = 1024;

/// What is known of a process that a signal ended.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    /// The most memory it ever had.
    pub peak: u64,
    /// The kernel killed it for want of memory; `None` if it does not tell.
    pub by_oom_killer: Option<bool>,
}

/// The arbiter's end of a worker's link.
#[derive(Debug)]
pub struct WorkerLink {
    /// The socket; `None` once its end was seen.
    pub link: Option<OwnedFd>,
    /// Which generation's board it is on, and where.
    pub place: (u32, u32),
    /// Where its stacks are written to.
    pub stacks: File,
}

/// A worker says who it is, or that it serves.
fn introduces(event: &Event) -> bool {
    matches!(event, Event::Worker { said: FromWorker::Said(WorkerSays::Hello | WorkerSays::Ready, _), .. })
}

pub fn forkserver_token(generation: u32) -> u64 {
    FORKSERVER | u64::from(generation)
}

pub fn worker_token(age: u64) -> u64 {
    WORKER | age
}

impl Arbiter {
    /// The next event. Idle, the arbiter sleeps in here until something happens.
    pub(super) fn wait(&mut self) -> Event {
        loop {
            self.feed_watchdog();
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.look_at_control();
            let due = [self.core.deadline(), self.desk.deadline(), self.watchdog.as_ref().map(Watchdog::deadline)]
                .into_iter()
                .flatten()
                .min();
            let limit = due.map(|due| due.saturating_sub(now()));
            let ready = match self.poller.wait(limit) {
                Ok(ready) => ready,
                Err(error) => {
                    self.log.write(Level::Error, &format!("waiting for events failed: {error}"));
                    std::thread::sleep(PAUSE);
                    vec![SIGNALS]
                }
            };
            self.gather(&ready);
            if self.events.is_empty() && self.core.deadline().is_some_and(|due| due <= now()) {
                return Event::Due;
            }
        }
    }

    fn feed_watchdog(&mut self) {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.is_due(now())) {
            self.tell_systemd("WATCHDOG=1");
        }
    }

    /// Who a worker is and that it serves comes first: a signal is about those that there are. Then signals: the exits of a
    /// group that was told to stop are then no failures. What a worker said comes before its exit, which may have been seen
    /// without it.
    ///
    /// A forkserver's end comes before that of the links which it held: its workers' orders have then not failed.
    fn gather(&mut self, ready: &[u64]) {
        let (mut reap, mut signalled) = (false, false);
        if ready.contains(&SIGNALS) {
            while let Some(signal) = self.signals.next() {
                reap |= signal == Signal::Chld;
                signalled = true;
                self.events.push_back(Event::Signal(signal));
            }
        }
        if ready.contains(&PREDECESSOR) && self.predecessor.take().is_some() {
            self.events.push_back(Event::Promoted);
        }
        if ready.contains(&HEIR) {
            self.hear_heir();
        }
        if ready.contains(&WATCHER) {
            self.hear_watcher();
        }
        for token in ready.iter().filter(|token| (CONTROL..FORKSERVER).contains(*token)) {
            self.hear_control(*token);
        }
        let mut exits = VecDeque::new();
        while let Some((pid, status, peak)) = if reap { process::reap() } else { None } {
            self.note_death(pid, status, peak);
            exits.push_back(Event::Exited { pid, status });
        }
        let forkservers = self.forkservers.keys().map(|&number| forkserver_token(number));
        let workers = self.workers.keys().map(|&age| worker_token(age));
        let heard: Vec<u64> = forkservers.chain(workers).filter(|token| signalled || ready.contains(token)).collect();
        for token in heard {
            self.hear(token);
        }
        self.events.append(&mut exits);
        if signalled {
            // Stable: all else stays in its order.
            self.events.make_contiguous().sort_by_key(|event| !introduces(event));
        }
    }

    /// What is to be said of a worker that was ended from outside is known only now.
    fn note_death(&mut self, pid: Pid, status: Status, peak: u64) {
        let Status::Signaled(_) = status else { return };
        let kills = if status.by_kill() { cgroup::oom_kills() } else { self.oom_kills };
        let by_oom_killer = kills.zip(self.oom_kills).map(|(now, before)| now > before);
        self.oom_kills = kills;
        if self.deaths.len() >= MAX_DEATHS {
            self.deaths.clear();
        }
        self.deaths.insert(pid, Death { peak, by_oom_killer: by_oom_killer.filter(|_| status.by_kill()) });
    }

    fn hear(&mut self, token: u64) {
        match token {
            _ if token & WORKER != 0 => self.hear_worker(token & !WORKER),
            _ => self.hear_forkserver((token & !FORKSERVER) as u32),
        }
    }

    fn hear_worker(&mut self, age: u64) {
        let Some(worker) = self.workers.get_mut(&age) else { return };
        for _ in 0..AT_ONCE {
            let Some(link) = &worker.link else { return };
            let said = match receive(link, MAX_FROM_WORKER) {
                Received::Nothing => return,
                Received::Packet(packet) => {
                    discard(packet.fds);
                    match rgunicorn_wire::decode(&packet.bytes) {
                        Ok(WorkerSays::Files { files }) => {
                            self.watch.loaded(self.current, worker.place.0, files);
                            continue;
                        }
                        Ok(message) => FromWorker::Said(message, packet.sender),
                        // An app can write anything there. What we cannot read, we do not heed.
                        Err(_) => continue,
                    }
                }
                Received::Closed => {
                    self.poller.forget(link);
                    worker.link = None;
                    FromWorker::Closed
                }
            };
            self.events.push_back(Event::Worker { age, said });
        }
    }

    fn hear_heir(&mut self) {
        let Some(heir) = &mut self.heir else { return };
        match heir.hear() {
            upgrade::Heard::Ready => self.events.push_back(Event::UpgradeReady),
            upgrade::Heard::Nothing => {}
            // Whether it lives on, waitpid will tell.
            upgrade::Heard::Closed => {
                self.poller.forget(&*heir);
                self.heir = None;
            }
        }
    }

    fn hear_forkserver(&mut self, generation: u32) {
        let Some(forkserver) = self.forkservers.get_mut(&generation) else { return };
        if forkserver.is_full() {
            let emptied = forkserver.flush().is_err() || !forkserver.is_full();
            if emptied {
                let _ = self.poller.want_room(&*forkserver, forkserver_token(generation), false);
            }
        }
        for _ in 0..AT_ONCE {
            let event = match forkserver.hear() {
                forkserver::Heard::Nothing => return,
                forkserver::Heard::Report(Report::Files { files }) => {
                    self.watch.loaded(self.current, generation, files);
                    continue;
                }
                forkserver::Heard::Report(report) => Event::Reported { generation, report },
                forkserver::Heard::Closed => {
                    self.poller.forget(&*forkserver);
                    self.events.push_back(Event::Unlinked { generation });
                    return;
                }
            };
            self.events.push_back(event);
        }
    }
}
