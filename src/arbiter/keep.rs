//! Keeping the workers: as many as there should be, ready, and none of them silent.

use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::{Order, WorkerSays};

use super::core::{Board, Core, Phase};
use super::event::Action;
use super::fleet::{Stage, Worker};
use super::stop::HURRY;
use crate::sys::process::Kill;
use crate::sys::signals::name_of;
use crate::sys::{Pid, Status};

/// Slots of a generation's scoreboard. Memory that no worker touches does not exist.
pub const SLOTS: u32 = 4096;
/// Orders to fork that may be open at once.
const MAX_OPEN_ORDERS: usize = 8;
/// A worker that is about to be killed has so long to write its stacks.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long a worker that got an ABRT has for `worker_abort`.
const ABORT_GRACE: Duration = Duration::from_secs(1);
/// A TERM from outside may be one for the whole group: ours is then on its way.
const GROUP_GRACE: Duration = Duration::from_millis(200);
/// So many workers that die before any was ever ready are a start that has failed.
const MAX_BOOT_DEATHS: u32 = 8;
/// A worker that served for less than this counts as one that could not boot, should it end.
const STEADY: Duration = Duration::from_secs(1);

impl Core {
    /// The number of workers was changed by hand.
    pub(super) fn resize(&mut self, target: u32) {
        let old = std::mem::replace(&mut self.target, target);
        if let Some(number) = self.serving {
            self.tell(number, Order::NumWorkers { new: target, old });
        }
    }

    pub(super) fn on_said(&mut self, age: u64, message: WorkerSays, sender: Option<Pid>, now: Duration) {
        let Some(generation) = self.fleet.get(age).map(|worker| worker.generation) else { return };
        let boot_until = now + self.plan_of(generation).boot_timeout;
        let stopping = self.stops();
        match message {
            WorkerSays::Hello => {
                let Some(pid) = sender else { return };
                if let Some(status) = self.fleet.greet(age, pid, boot_until) {
                    self.worker_ended(age, status, now);
                } else if stopping {
                    // It holds no request, and cannot take one any more.
                    self.quit(age, now);
                }
            }
            WorkerSays::Ready => self.worker_ready(age, now),
            WorkerSays::Failed { exit, reason } => {
                if let Some(worker) = self.fleet.get_mut(age).filter(|worker| !worker.booted) {
                    (worker.failure, worker.reason) = (Some(exit), Some(reason));
                }
            }
            WorkerSays::StopAsked if !stopping => {
                if let Some(worker) = self.fleet.get_mut(age).filter(|worker| worker.counts() && !worker.asked) {
                    worker.asked = true;
                    worker.stage = Stage::Asked { at: now + GROUP_GRACE };
                }
            }
            WorkerSays::Recycle => {
                if let Some(worker) = self.fleet.get_mut(age) {
                    worker.recycle = true;
                }
            }
            WorkerSays::Silent { for_ms } => self.worker_silent(age, &format!("silent for {for_ms} ms"), now),
            // Files were taken out on the way here.
            WorkerSays::StopAsked | WorkerSays::Bye | WorkerSays::Files { .. } => {}
        }
    }

    fn worker_ready(&mut self, age: u64, now: Duration) {
        let Some(grace) = self.fleet.get(age).map(|worker| self.plan_of(worker.generation).graceful_timeout) else {
            return;
        };
        // What has not said hello has no pid, and could be neither watched nor ended.
        let Some(worker) = self.fleet.get_mut(age).filter(|worker| worker.pid.is_some()) else { return };
        worker.booted = true;
        let generation = worker.generation;
        match &mut worker.stage {
            Stage::Ordered { .. } | Stage::Booting { .. } => worker.stage = Stage::Ready { since: now },
            // It has begun to serve before it heard that it is to leave: what it has taken, it may finish.
            Stage::Retiring { until } => {
                *until = match &self.phase {
                    Phase::Stopping(ending) | Phase::Leaving(ending) => ending.until,
                    Phase::Booting | Phase::Running => *until + grace,
                }
            }
            _ => {}
        }
        let serves = worker.is_ready();
        self.boot_failure = None;
        self.boot_backoff.succeed();
        if !std::mem::replace(&mut self.ever_ready, true) {
            self.out.push(Action::AnnounceReady);
        }
        if !serves {
            // It was told to leave meanwhile.
            return;
        }
        if let Some(candidate) = self.candidate.filter(|candidate| *candidate == generation) {
            self.commit(candidate, now);
        }
        if let Some(renewal) = self.renewal.filter(|renewal| renewal.new == Some(age)) {
            self.renewal = None;
            self.retire(renewal.old, false, now);
        }
    }

    /// Its end of the link is closed. If it never said hello it never will: the forkserver is gone, or gave the order up.
    /// Else waitpid will tell.
    pub(super) fn worker_unlinked(&mut self, age: u64, now: Duration) {
        let Some(worker) = self.fleet.get(age).filter(|worker| worker.pid.is_none()) else { return };
        if self.serving == Some(worker.generation) || self.candidate == Some(worker.generation) {
            self.fork_failed(age, "it ended before it could say so, or the forkserver dropped the order", now);
        } else {
            self.lose_order(age);
        }
    }

    /// An order to fork was not carried out.
    pub(super) fn fork_failed(&mut self, age: u64, why: &str, now: Duration) {
        let Some(generation) = self.fleet.get(age).filter(|worker| worker.pid.is_none()).map(|w| w.generation) else {
            return;
        };
        self.lose_order(age);
        if self.candidate == Some(generation) {
            return self.candidate_worker_lost(generation, &format!("a worker could not be forked: {why}"), now);
        }
        if matches!(self.phase, Phase::Running) {
            self.log(Level::Error, format!("A worker could not be forked: {why}"));
            self.boot_failed(Some(3), now);
        }
    }

    pub(super) fn lose_order(&mut self, age: u64) {
        self.fleet.remove(age);
        self.out.push(Action::Bury { age });
    }

    /// A worker was reaped.
    pub(super) fn worker_ended(&mut self, age: u64, status: Status, now: Duration) {
        let Some(worker) = self.fleet.remove(age) else { return };
        self.log_end(&worker, status);
        self.out.push(Action::Bury { age });
        if let Some(pid) = worker.pid {
            let order = Order::ChildExit { pid: pid.0, age, status: status.raw() };
            let forked_by_the_living = self.generations.contains_key(&worker.generation);
            match self.serving {
                _ if forked_by_the_living => self.tell(worker.generation, order),
                Some(serving) => self.tell(serving, order),
                None => self.orphans.push(order),
            }
        }
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        if self.candidate == Some(worker.generation) {
            let how = match (worker.reason, status) {
                (Some(reason), _) => format!("its worker could not boot: {reason}"),
                (None, Status::Exited(code)) => format!("its worker exited with code {code}"),
                (None, Status::Signaled(signal)) => format!("its worker was ended by {}", name_of(signal)),
            };
            return self.candidate_worker_lost(worker.generation, &how, now);
        }
        match worker.stage {
            Stage::Retiring { .. } if worker.asked && !worker.booted => self.boot_failed(None, now),
            // It was told to, or was replaced already.
            Stage::Retiring { .. } | Stage::Asked { .. } => {}
            Stage::Ready { since } if now < since + STEADY => self.crashed(now),
            Stage::Ready { .. } => self.crash_backoff.succeed(),
            Stage::Aborting { .. } | Stage::Condemned { .. } | Stage::Killed if worker.booted => {}
            // Only with these two it says that it could not boot. What was killed, or left when told to, may do better.
            _ => match (worker.failure, status) {
                (Some(exit), _) | (None, Status::Exited(exit @ (3 | 4))) => self.boot_failed(Some(exit), now),
                _ => self.boot_failed(None, now),
            },
        }
    }

    /// A worker could not boot. If none ever did, and none still may, the server ends; else it goes on with those it has.
    /// `exit`: the failure is final, for a server that has just been started.
    fn boot_failed(&mut self, exit: Option<i32>, now: Duration) {
        if !self.ever_ready {
            self.boot_deaths += 1;
            let exit = exit.or((self.boot_deaths >= MAX_BOOT_DEATHS).then_some(3));
            if let Some(exit) = exit {
                self.boot_failure.get_or_insert(exit);
                return;
            }
        }
        if let Some(wait) = self.boot_backoff.fail(now) {
            let text = format!("A worker ended before it was ready; next try in {:.1} s", wait.as_secs_f64());
            self.log(Level::Warning, text);
        }
        self.overtake_roll();
    }

    /// A worker ended right after it got ready. Once is an accident, and it is replaced at once; again and again is a loop.
    fn crashed(&mut self, now: Duration) {
        let steady = |worker: &Worker| matches!(worker.stage, Stage::Ready { since } if since + STEADY <= now);
        if self.fleet.iter().any(steady) {
            self.crash_backoff.succeed();
        }
        if let Some(wait) = self.crash_backoff.fail(now) {
            let text = format!("A worker ended right after it got ready; the next one in {:.1} s", wait.as_secs_f64());
            self.log(Level::Warning, text);
        }
    }

    fn log_end(&mut self, worker: &Worker, status: Status) {
        let name = worker.name();
        let killed_by_us = matches!(worker.stage, Stage::Killed);
        match status {
            Status::Exited(0) => self.log(Level::Debug, format!("{name} exited")),
            Status::Exited(code) => self.log(Level::Error, format!("{name} exited with code {code}.")),
            _ if status.by_term() => self.log(Level::Info, format!("{name} was sent SIGTERM!")),
            _ if status.by_kill() && killed_by_us => self.log(Level::Debug, format!("{name} was killed")),
            _ if status.by_kill() => {
                self.obituary(worker, Level::Error, format!("{name} was sent SIGKILL! Perhaps out of memory?"));
            }
            Status::Signaled(signal) => {
                self.obituary(worker, Level::Warning, format!("{name} was sent {}!", name_of(signal)));
            }
        }
    }

    fn obituary(&mut self, worker: &Worker, level: Level, text: String) {
        if let Some(pid) = worker.pid {
            self.out.push(Action::Obituary { age: worker.age, pid, level, text });
        }
    }

    /// It did nothing for too long: say what it was doing, let it run `worker_abort`, then kill it.
    fn worker_silent(&mut self, age: u64, why: &str, now: Duration) {
        let Some(worker) = self.fleet.get_mut(age) else { return };
        let Some(pid) = worker.pid else { return };
        if let Stage::Aborting { .. } | Stage::Condemned { .. } | Stage::Killed = worker.stage {
            return;
        }
        worker.stage = Stage::Aborting { until: now + ABORT_GRACE };
        let text = format!("WORKER TIMEOUT (pid:{pid}): {why}");
        self.out.push(Action::Report { age, level: Level::Critical, text });
        self.out.push(Action::Signal { pid, what: Kill::Abort });
    }

    /// Tells a worker to leave, within the graceful timeout.
    pub(super) fn retire(&mut self, age: u64, drain: bool, now: Duration) {
        let Some(generation) = self.fleet.get(age).map(|worker| worker.generation) else { return };
        let goes_on = !matches!(self.phase, Phase::Stopping(_)) && self.target > 0;
        let heirs = goes_on && self.fleet.iter().any(|other| other.age != age && other.counts());
        let grace = self.plan_of(generation).graceful_timeout;
        let Some(worker) = self.fleet.get_mut(age) else { return };
        // One that was never ready holds no request, and leaves at once; whether it is, it knows best.
        let until = now + if worker.booted { grace } else { grace.min(HURRY) };
        if let Stage::Retiring { .. } | Stage::Aborting { .. } | Stage::Condemned { .. } | Stage::Killed = worker.stage
        {
            return;
        }
        worker.stage = Stage::Retiring { until };
        let pid = worker.pid;
        self.out.push(Action::Retire { age, pid, drain, heirs });
    }

    /// Nobody stays for whom those that leave could leave a connection: it is said anew to those that were told before.
    pub(super) fn disinherit(&mut self, drain: bool) {
        let told = self.fleet.iter().filter(|worker| matches!(worker.stage, Stage::Retiring { .. }));
        let again = told.map(|worker| Action::Retire { age: worker.age, pid: None, drain, heirs: false });
        self.out.extend(again);
    }

    pub(super) fn look_at_workers(&mut self, now: Duration, board: &dyn Board) {
        for age in self.fleet.ages() {
            let Some(worker) = self.fleet.get(age) else { continue };
            match worker.stage {
                Stage::Ordered { until } if until <= now => {
                    let generation = worker.generation;
                    self.lose_order(age);
                    // It may still carry out what it was told, into a place that is somebody else's by then.
                    self.end_stuck_forkserver(generation, "does not carry out its orders");
                }
                Stage::Booting { until } if until <= now => {
                    let limit = self.plan_of(worker.generation).boot_timeout.as_secs();
                    if !self.ever_ready {
                        // As good as reported: another one would only keep the operator waiting as long again.
                        self.boot_failure.get_or_insert(3);
                    }
                    let why = format!("not ready within {limit} s");
                    self.worker_silent(age, &why, now);
                    if let Some(worker) = self.fleet.get_mut(age) {
                        worker.reason = Some(why);
                    }
                }
                Stage::Ready { .. } => {
                    let overdue = self.overdue_at(worker, now, board).is_some_and(|at| at <= now);
                    if overdue {
                        self.worker_silent(age, "no sign of life, the process itself seems to be stopped", now);
                    }
                }
                Stage::Asked { at } if at <= now => self.retire(age, false, now),
                Stage::Retiring { until } if until <= now && worker.pid.is_none() => self.lose_order(age),
                Stage::Retiring { until } if until <= now => self.condemn(age, now),
                Stage::Condemned { until } if until <= now => self.kill_and_tell(age),
                Stage::Aborting { until } if until <= now => self.kill(age),
                _ => {}
            }
        }
    }

    /// A worker had its time to leave: it is asked where it hangs, and killed when it had a moment to say so.
    pub(super) fn condemn(&mut self, age: u64, now: Duration) {
        let Some(worker) = self.fleet.get_mut(age) else { return };
        worker.stage = Stage::Condemned { until: now + LAST_WORDS };
        if let Some(pid) = worker.pid {
            self.out.push(Action::Signal { pid, what: Kill::Stacks });
        }
    }

    /// Kills a worker that had its time to leave.
    pub(super) fn kill_and_tell(&mut self, age: u64) {
        let Some(worker) = self.fleet.get(age) else { return };
        let text = format!("{} did not leave in time: killed", worker.name());
        self.out.push(Action::Report { age, level: Level::Warning, text });
        self.kill(age);
    }

    /// Kills a worker. One whose pid is not known yet is left to its order's deadline.
    pub(super) fn kill(&mut self, age: u64) {
        if let Some(worker) = self.fleet.get_mut(age)
            && let Some(pid) = worker.pid
        {
            worker.stage = Stage::Killed;
            self.out.push(Action::Signal { pid, what: Kill::Kill });
        }
    }

    /// When a ready worker counts as frozen: its sentinel beats as long as the process runs at all.
    fn overdue_at(&self, worker: &Worker, now: Duration, board: &dyn Board) -> Option<Duration> {
        let timeout = self.plan_of(worker.generation).timeout?;
        let heartbeat = board.heartbeat(worker.generation, worker.slot).unwrap_or(now);
        // The sentinel beats once a second at least: what is shorter than its period says nothing.
        Some(heartbeat.max(self.fresh_since) + timeout.max(Duration::from_secs(3)))
    }

    pub(super) fn workers_deadline(&self, now: Duration, board: &dyn Board) -> Option<Duration> {
        let deadlines = self.fleet.iter().filter_map(|worker| match worker.stage {
            Stage::Ordered { until }
            | Stage::Booting { until }
            | Stage::Retiring { until }
            | Stage::Condemned { until }
            | Stage::Aborting { until } => Some(until),
            Stage::Asked { at } => Some(at),
            Stage::Ready { .. } => self.overdue_at(worker, now, board),
            Stage::Killed => None,
        });
        deadlines.min()
    }

    pub(super) fn backoff_deadline(&self, now: Duration) -> Option<Duration> {
        match self.phase {
            Phase::Running => {
                let waits = [&self.boot_backoff, &self.crash_backoff, &self.forkserver_backoff]
                    .map(|backoff| backoff.waits(now));
                waits.into_iter().flatten().min()
            }
            _ => None,
        }
    }

    /// Retires the workers that are too many, the oldest first, and orders those that are missing.
    pub(super) fn maintain(&mut self, now: Duration) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        if let Some(exit) = self.boot_failure.filter(|_| !self.fleet.iter().any(Worker::counts)) {
            // Every worker of the first batch has reported, and none got ready: the start has failed.
            return self.give_up_start(exit, now);
        }
        self.choose_renewal();
        self.assign_renewal(now);
        let wanted = self.target as usize + usize::from(self.renewal.is_some());
        self.retire_the_old(now);
        let mut count = self.current_workers().count();
        while count > wanted {
            let Some(age) = self.dispensable() else { break };
            self.retire(age, false, now);
            count -= 1;
        }
        let waits = self.boot_failure.is_some()
            || self.boot_backoff.waits(now).is_some()
            || self.crash_backoff.waits(now).is_some();
        let Some(serving) = self.serving.filter(|_| !waits) else { return };
        let old = self.old_workers().count();
        let room = if old > 0 { wanted.saturating_add(self.plan().reload_surge as usize) } else { wanted };
        while count < wanted && count + old < room && self.order(serving, now) {
            count += 1;
        }
        self.assign_renewal(now);
    }

    /// Orders a worker, unless that has to wait: not all at once, since descriptors in flight count for a limit of the
    /// kernel's.
    pub(super) fn order(&mut self, generation: u32, now: Duration) -> bool {
        let until = now + self.plan_of(generation).boot_timeout;
        let Some(epoch) = self.generations.get(&generation).map(|generation| generation.epoch) else { return false };
        if self.fleet.open_orders() >= MAX_OPEN_ORDERS {
            return false;
        }
        let Some(worker) = self.fleet.order(generation, epoch, SLOTS, until) else { return false };
        let (age, slot) = (worker.age, worker.slot);
        self.out.push(Action::Fork { generation, age, slot });
        true
    }

    /// Those that count, of the epoch that serves.
    pub(super) fn current_workers(&self) -> impl DoubleEndedIterator<Item = &Worker> {
        self.fleet.iter().filter(|worker| worker.counts() && worker.epoch == self.epoch)
    }

    /// Those that count, of before the last reload.
    pub(super) fn old_workers(&self) -> impl DoubleEndedIterator<Item = &Worker> {
        self.fleet.iter().filter(|worker| worker.counts() && worker.epoch < self.epoch)
    }

    /// Retires an old worker for each new one that is ready, the oldest first. Those that do not serve are no loss.
    fn retire_the_old(&mut self, now: Duration) {
        let idle: Vec<u64> = self.old_workers().filter(|worker| !worker.is_ready()).map(|worker| worker.age).collect();
        for age in idle {
            self.retire(age, false, now);
        }
        let ready = self.current_workers().filter(|worker| worker.is_ready()).count();
        loop {
            let old = self.old_workers().count();
            let oldest = self.old_workers().next().map(|worker| worker.age);
            match oldest {
                Some(age) if old + ready > self.target as usize => self.retire(age, false, now),
                _ => return,
            }
        }
    }

    /// Who is to go when there are too many: the youngest that does not serve yet, one that leaves anyway, else the oldest.
    fn dispensable(&self) -> Option<u64> {
        let boots = |worker: &&Worker| matches!(worker.stage, Stage::Ordered { .. } | Stage::Booting { .. });
        let youngest_that_boots = self.current_workers().rev().find(boots);
        let other = || self.current_workers().find(|worker| !worker.is_ready()).or(self.current_workers().next());
        youngest_that_boots.or_else(other).map(|worker| worker.age)
    }
}
