//! What the arbiter decides: `(phase, event, now) -> actions`. No system call, no clock of its own.
//!
//! Boot, running and stop are phases of the one loop, so every event is answered in each of them. How a generation comes
//! up is in `boot`, how workers are kept is in `keep`, how everything ends is in `stop`.

use std::collections::BTreeMap;
use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::Order;

use super::event::{Action, Event, FromWorker, Plan};
use super::fleet::Fleet;
use super::generation::{Backoff, Generation, Purpose};
use super::renewal::Renewal;
use super::stop::Ending;
use super::upgrade::{Origin, Upgrade};
use super::wish::Waiting;
use crate::sys::process::Kill;
use crate::sys::{Pid, Signal, Status};

/// What can be seen of workers from outside.
pub trait Board {
    /// When the worker in this slot of the scoreboard last showed life; `None` if its slot cannot be read.
    fn heartbeat(&self, generation: u32, slot: u32) -> Option<Duration>;
    /// Bytes of memory that a process has; `None` if it is gone.
    fn resident(&self, pid: Pid) -> Option<u64>;
}

/// Where the arbiter is.
#[derive(Debug)]
pub enum Phase {
    /// The first generation comes up.
    Booting,
    /// It serves.
    Running,
    /// It was told to stop: workers finish.
    Stopping(Ending),
    /// The workers are gone: the forkserver runs `on_exit`.
    Leaving(Ending),
}

/// See the module's head.
#[derive(Debug)]
pub struct Core {
    pub(super) phase: Phase,
    pub(super) generations: BTreeMap<u32, Generation>,
    /// The generation that forks; `None` while there is none.
    pub(super) serving: Option<u32>,
    pub(super) last_generation: u32,
    pub(super) fleet: Fleet,
    /// How many workers there should be.
    pub(super) target: u32,
    /// Whether a worker was ever ready: from then on a boot failure stops nothing.
    pub(super) ever_ready: bool,
    /// The generation of a reload that has not taken over yet.
    pub(super) candidate: Option<u32>,
    /// One of its workers could not boot.
    pub(super) candidate_failed: bool,
    /// Another reload was asked for while one was under way.
    pub(super) reload_asked: bool,
    /// Reloads that were begun.
    pub(super) reloads: u64,
    /// Who waits for the end of one.
    pub(super) waiting: Vec<Waiting>,
    /// The reload that the serving generation belongs to.
    pub(super) epoch: u32,
    /// The generation that has taken over, until all workers are its own and ready.
    pub(super) roll: Option<u32>,
    /// The generation whose `when_ready` has to wait for the end of the old forkserver.
    pub(super) when_ready_due: Option<u32>,
    /// The workers that generations which stay have been told of last.
    pub(super) told_workers: Vec<(i32, u64)>,
    /// Exit code of the first worker that could not boot, while none was ever ready.
    pub(super) boot_failure: Option<i32>,
    /// Workers that ended otherwise before any was ready.
    pub(super) boot_deaths: u32,
    /// For workers that do not get ready.
    pub(super) boot_backoff: Backoff,
    /// For workers that end right after they got ready.
    pub(super) crash_backoff: Backoff,
    pub(super) forkserver_backoff: Backoff,
    /// The logs are open, and say that the server started.
    pub(super) was_up: bool,
    /// Forkservers that ended before any worker was ready.
    pub(super) forkserver_deaths: u32,
    /// A worker that has reached `max_requests`, and the one that is to take its place.
    pub(super) renewal: Option<Renewal>,
    /// When the workers' memory is to be looked at.
    pub(super) sample_at: Option<Duration>,
    /// A graceful stop was asked for, and begins at this time.
    pub(super) drain_until: Option<Duration>,
    /// `child_exit` of workers whose forkserver died before them; for the next one.
    pub(super) orphans: Vec<Order>,
    /// Heartbeats count as this fresh at least: after a pause of the whole machine, every worker gets a new period.
    pub(super) fresh_since: Duration,
    /// Where this arbiter comes from.
    pub(super) origin: Origin,
    /// The one that is to take over from it.
    pub(super) upgrade: Option<Upgrade>,
    due_at: Option<Duration>,
    pub(super) out: Vec<Action>,
}

/// An arbiter that wakes later than this after its deadline was itself stopped.
const LATE: Duration = Duration::from_secs(1);

/// What a generation that was never settled is treated as having.
static NO_PLAN: Plan = Plan {
    workers: 0,
    timeout: None,
    graceful_timeout: Duration::from_secs(1),
    boot_timeout: Duration::from_secs(60),
    drain_delay: Duration::ZERO,
    max_rss: [0; 2],
    max_lifetime: [Duration::ZERO; 2],
    seed: 0,
    reload_surge: 1,
    daemon: false,
    worker_class: String::new(),
    warnings: Vec::new(),
};

impl Core {
    /// An arbiter that is about to start, and the first thing to do.
    pub fn new(origin: Origin, now: Duration) -> (Core, Vec<Action>) {
        let mut core = Core {
            phase: Phase::Booting,
            generations: BTreeMap::new(),
            serving: None,
            last_generation: 0,
            fleet: Fleet::default(),
            target: 0,
            ever_ready: false,
            candidate: None,
            candidate_failed: false,
            reload_asked: false,
            reloads: 0,
            waiting: Vec::new(),
            epoch: 1,
            roll: None,
            when_ready_due: None,
            told_workers: Vec::new(),
            boot_failure: None,
            boot_deaths: 0,
            boot_backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
            crash_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            forkserver_backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
            was_up: false,
            forkserver_deaths: 0,
            renewal: None,
            sample_at: None,
            drain_until: None,
            orphans: Vec::new(),
            fresh_since: now,
            origin,
            upgrade: None,
            due_at: None,
            out: Vec::new(),
        };
        core.start_generation(Purpose::First);
        let actions = std::mem::take(&mut core.out);
        (core, actions)
    }

    /// Takes one event and says what to do about it.
    pub fn on(&mut self, event: Event, now: Duration, board: &dyn Board) -> Vec<Action> {
        if self.due_at.is_some_and(|due| now > due + LATE) {
            self.fresh_since = now;
        }
        match event {
            Event::Signal(signal) => self.on_signal(signal, now),
            Event::Exited { pid, status } => self.on_exit(pid, status, now),
            Event::Started { generation, pid, interpreter } => {
                self.forkserver_started(generation, pid, interpreter, now)
            }
            Event::Reads { generation, name } => self.forkserver_reads(generation, name),
            Event::Reported { generation, report } => self.on_report(generation, report, now),
            Event::Unlinked { generation } => self.forkserver_unlinked(generation),
            Event::Settled { generation, plan } => self.on_settled(generation, plan),
            Event::Reload => self.reload(now),
            Event::FileChanged(name) => self.file_changed(&name, now),
            Event::Wished { ticket, wish } => self.on_wish(ticket, wish, now),
            Event::UpgradeStarted { pid } => self.upgrade_started(pid),
            Event::UpgradeFailed(why) => self.upgrade_failed(&why),
            Event::UpgradeReady => self.upgrade_ready(),
            Event::Promoted => self.promoted(now),
            Event::Amended { generation, plan } => {
                if let Some(amended) = self.generations.get_mut(&generation) {
                    if generation == 1 {
                        self.target = plan.workers;
                    }
                    amended.plan = Some(plan);
                }
            }
            Event::Bound { addresses } => self.on_bound(&addresses, now),
            Event::BindFailed(failure) => self.on_bind_failed(&failure, now),
            Event::Failed { generation, message, exit } => self.generation_failed(generation, &message, exit, now),
            Event::Worker { age, said: FromWorker::Said(message, sender) } => self.on_said(age, message, sender, now),
            Event::Worker { age, said: FromWorker::Closed } => self.worker_unlinked(age, now),
            Event::Due => {}
        }
        self.look_at_deadlines(now, board);
        self.maintain(now);
        self.maintain_candidate(now);
        self.proceed_with_roll();
        self.dismiss_superseded(now);
        self.update_staying();
        self.run_when_ready();
        self.proceed_with_stop(now);
        self.due_at = self.next_deadline(now, board);
        std::mem::take(&mut self.out)
    }

    /// When [`Event::Due`] is due; never if nothing is waited for.
    pub fn deadline(&self) -> Option<Duration> {
        self.due_at
    }

    pub(super) fn on_signal(&mut self, signal: Signal, now: Duration) {
        if signal != Signal::Chld {
            self.log(Level::Info, format!("Handling signal: {signal}"));
        }
        match (&self.phase, signal) {
            // The loop has reaped: the exits come as events of their own.
            (_, Signal::Chld) => {}
            (Phase::Running, Signal::Term)
                if self.drain_until.is_none()
                    && !self.plan().drain_delay.is_zero()
                    // With a new arbiter beside this one, the service goes on.
                    && !self.shares_listeners() =>
            {
                self.begin_drain(now);
            }
            (Phase::Booting | Phase::Running, Signal::Term) => self.begin_stop(true, now),
            (Phase::Booting | Phase::Running, Signal::Int | Signal::Quit) => self.begin_stop(false, now),
            (Phase::Stopping(_) | Phase::Leaving(_), Signal::Int | Signal::Quit) => self.hasten(now),
            (Phase::Stopping(_) | Phase::Leaving(_), Signal::Term) => {}
            (Phase::Running, Signal::Ttin) => self.resize(self.target.saturating_add(1)),
            // As in Gunicorn there is always one left.
            (Phase::Running, Signal::Ttou) if self.target > 1 => self.resize(self.target - 1),
            (_, Signal::Ttin | Signal::Ttou) => {}
            (Phase::Running, Signal::Hup | Signal::Usr2) if self.drain_until.is_some() => {}
            (Phase::Running, Signal::Hup) => {
                self.log(Level::Info, format!("Hang up: {}", self.title()));
                self.reload(now);
            }
            // Remembered: the configuration may just have been read.
            (Phase::Booting, Signal::Hup) => self.reload_asked = true,
            (Phase::Stopping(_) | Phase::Leaving(_), Signal::Hup) => {}
            (_, Signal::Usr1) => {
                self.out.push(Action::ReopenLogs);
                // For the files that Python handlers have. Before its hello a worker has opened none.
                let pids = self.fleet.iter().filter_map(|worker| worker.pid);
                self.out.extend(pids.map(|pid| Action::Signal { pid, what: Kill::Usr1 }));
            }
            (Phase::Running, Signal::Usr2) => self.begin_upgrade(now),
            (_, Signal::Usr2) => self.log(Level::Warning, "USR2 signal ignored: the server is not up"),
            (Phase::Running, Signal::Winch) if self.plan().daemon => {
                self.log(Level::Info, "graceful stop of workers");
                self.disinherit(false);
                self.resize(0);
            }
            (_, Signal::Winch) => self.log(Level::Debug, "SIGWINCH ignored. Not daemonized"),
        }
    }

    fn on_exit(&mut self, pid: Pid, status: Status, now: Duration) {
        let forkserver = self.generations.values().find(|generation| generation.pid == Some(pid));
        if let Some(number) = forkserver.map(|generation| generation.number) {
            self.forkserver_ended(number, status, now);
        } else if !self.upgrade_ended(pid, status)
            && let Some(age) = self.fleet.claim(pid, status)
        {
            self.worker_ended(age, status, now);
        }
    }

    /// The plan that counts now: of the generation that serves, or of the youngest.
    pub(super) fn plan(&self) -> &Plan {
        let serving = self.serving.and_then(|number| self.generations.get(&number));
        let any = serving.or_else(|| self.generations.values().next_back());
        any.and_then(|generation| generation.plan.as_ref()).unwrap_or(&NO_PLAN)
    }

    pub(super) fn plan_of(&self, generation: u32) -> &Plan {
        self.generations.get(&generation).and_then(|found| found.plan.as_ref()).unwrap_or_else(|| self.plan())
    }

    pub(super) fn log(&mut self, level: Level, text: impl Into<String>) {
        self.out.push(Action::Log(level, text.into()));
    }

    pub(super) fn tell(&mut self, generation: u32, order: Order) {
        self.out.push(Action::Tell { generation, order });
    }

    fn next_deadline(&self, now: Duration, board: &dyn Board) -> Option<Duration> {
        [
            self.workers_deadline(now, board),
            self.generations_deadline(),
            self.backoff_deadline(now),
            self.stop_deadline(),
            self.limits_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn look_at_deadlines(&mut self, now: Duration, board: &dyn Board) {
        self.look_at_workers(now, board);
        self.look_at_generations(now);
        self.look_at_limits(now, board);
        self.look_at_drain(now);
    }
}
