//! A reload: a new generation comes up beside the one that serves, proves itself with its first workers, and takes over.
//!
//! Until the first of its workers is ready, nothing has changed and everything can be thrown away. Then comes the commit,
//! and after it there is no way back: workers are replaced one for one, ready first, then retire; what fails is tried
//! again, and the old ones stay for as long.

use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::Order;

use super::core::{Core, Phase};
use super::event::Action;
use super::fleet::Worker;
use super::generation::{Generation, Purpose, Stage};

/// A superseded forkserver that was told to leave has so long to run what was registered with `atexit`.
const FAREWELL: Duration = Duration::from_secs(10);

impl Core {
    /// HUP, or a changed file, or the control socket.
    pub(super) fn reload(&mut self, now: Duration) {
        if let Some(candidate) = self.candidate {
            // None of its workers is ready yet: the newer wish counts.
            self.reload_asked = true;
            self.discard_candidate(candidate, "another reload was asked for", now);
        } else if self.serving.is_none() || self.is_rolling() && !self.boot_backoff.has_failed() {
            self.log(Level::Info, "A reload is under way; another one will follow it");
            self.reload_asked = true;
        } else {
            self.start_reload();
        }
    }

    /// With `reload`: a file of the app's, or one that it was told to look at.
    pub(super) fn file_changed(&mut self, name: &str, now: Duration) {
        match self.phase {
            Phase::Booting | Phase::Running if self.drain_until.is_none() => {}
            _ => return,
        }
        self.log(Level::Info, format!("Reloading: {name} modified"));
        match self.phase {
            Phase::Running => self.reload(now),
            // Remembered: it may just have been read.
            _ => self.reload_asked = true,
        }
    }

    fn start_reload(&mut self) {
        self.reload_asked = false;
        self.candidate = Some(self.start_generation(Purpose::Reload));
        self.reloads += 1;
        self.out.push(Action::AnnounceReload);
    }

    /// Whether workers of an earlier epoch still serve, or those of this one are not all ready.
    pub(super) fn is_rolling(&self) -> bool {
        self.roll.is_some()
    }

    /// The candidate's addresses are bound: now its first workers.
    pub(super) fn begin_to_prove(&mut self, number: u32, now: Duration) {
        let Some(generation) = self.generations.get_mut(&number) else { return };
        generation.stage = Stage::Proving;
        generation.deadline = None;
        if generation.plan.as_ref().is_none_or(|plan| plan.workers == 0) {
            self.commit(number, now);
        }
    }

    /// Orders the candidate's first workers.
    pub(super) fn maintain_candidate(&mut self, now: Duration) {
        let Some(number) = self.candidate else { return };
        let Some(generation) = self.generations.get(&number).filter(|g| g.stage == Stage::Proving) else { return };
        let plan = generation.plan.as_ref();
        let batch = plan.map_or(1, |plan| plan.reload_surge.min(plan.workers).max(1)) as usize;
        while !self.candidate_failed && self.fleet.of(number).count() < batch && self.order(number, now) {}
    }

    /// A worker of the candidate ended before any of its kind was ready.
    pub(super) fn candidate_worker_lost(&mut self, number: u32, why: &str, now: Duration) {
        self.candidate_failed = true;
        if !self.fleet.of(number).any(Worker::counts) {
            self.discard_candidate(number, why, now);
        }
    }

    /// The candidate cannot take over. The one that serves goes on as if nothing had happened.
    pub(super) fn discard_candidate(&mut self, number: u32, why: &str, now: Duration) {
        if self.candidate != Some(number) {
            return;
        }
        self.candidate = None;
        self.candidate_failed = false;
        let why = why.trim_start_matches("Error: ");
        if self.reload_asked {
            self.log(Level::Info, format!("The reload that was under way is given up: {why}"));
        } else {
            self.log(Level::Error, format!("Reload failed, nothing has changed: {why}"));
        }
        let workers: Vec<u64> = self.fleet.of(number).map(|worker| worker.age).collect();
        for age in workers {
            self.retire(age, false, now);
        }
        self.out.push(Action::Abandon { generation: number });
        self.end_generation(number, now);
        if self.reload_asked {
            // Whoever waited for this one means the newer one, too.
            self.out.push(Action::ReloadEnded { failure: Some(why.to_owned()) });
            if let Some(given_up) = self.generations.get_mut(&number)
                && let Stage::Ending { until } = &mut given_up.stage
            {
                // Wishes that come one after the other must not leave an interpreter each.
                *until = now;
            }
            self.start_reload();
        } else {
            self.reload_ended(Some(why.to_owned()));
        }
    }

    /// The first worker of a new generation is ready: from here on it is the one that serves.
    pub(super) fn commit(&mut self, number: u32, now: Duration) {
        self.candidate = None;
        self.candidate_failed = false;
        let Some(generation) = self.generations.get_mut(&number) else { return };
        generation.stage = Stage::Serving { since: now };
        generation.deadline = None;
        self.epoch = generation.epoch;
        self.target = generation.plan.as_ref().map_or(self.target, |plan| plan.workers);
        if let Some(old) = self.serving.replace(number).and_then(|old| self.generations.get_mut(&old)) {
            old.stage = Stage::Superseded;
        }
        // One that was to stand in for the forkserver of before.
        let late: Vec<u32> = self.generations.values().filter(|g| g.comes_up()).map(|g| g.number).collect();
        for other in late {
            self.end_generation(other, now);
        }
        self.boot_backoff.succeed();
        self.crash_backoff.succeed();
        self.forkserver_backoff.succeed();
        self.renewal = None;
        self.roll = Some(number);
        self.when_ready_due = Some(number);
        self.out.push(Action::Commit { generation: number });
        self.log(Level::Info, format!("Reload: generation {number} takes over"));
    }

    /// Looks whether everything is as the reload was to make it.
    pub(super) fn proceed_with_roll(&mut self) {
        let Some(number) = self.roll else { return };
        let ready = self.current_workers().filter(|worker| worker.is_ready()).count();
        if self.old_workers().next().is_some() || ready < self.target as usize {
            return;
        }
        self.roll = None;
        self.log(Level::Info, format!("Reloaded: generation {number} serves with {ready} workers"));
        if self.candidate.is_some() {
            // Whoever waits, waits for the end of that one.
            return;
        }
        self.reload_ended(None);
        if self.reload_asked && matches!(self.phase, Phase::Running) && self.drain_until.is_none() {
            self.start_reload();
        }
    }

    /// Its workers cannot boot, and its settings do not change any more: a reload that was asked for meanwhile must not
    /// wait for the end of this one.
    pub(super) fn overtake_roll(&mut self) {
        let stuck = self.is_rolling() && self.reload_asked && self.candidate.is_none();
        if stuck && matches!(self.phase, Phase::Running) && self.drain_until.is_none() {
            self.log(Level::Info, "The reload that is under way does not get on: the next one begins");
            self.start_reload();
        }
    }

    /// Asks superseded forkservers whose last worker is gone whether they can leave.
    pub(super) fn dismiss_superseded(&mut self, now: Duration) {
        let idle: Vec<u32> = self
            .generations
            .values()
            .filter(|g| g.stage == Stage::Superseded && self.fleet.of(g.number).next().is_none())
            .map(|g| g.number)
            .collect();
        for number in idle {
            let limit = self.plan_of(number).boot_timeout;
            if let Some(generation) = self.generations.get_mut(&number) {
                generation.stage = Stage::Asked;
                // It may hang in a hook.
                generation.deadline = Some(now + limit);
            }
            self.tell(number, Order::Superseded);
        }
    }

    /// Its answer: what it has that would be lost.
    pub(super) fn superseded(&mut self, number: u32, keeps: &[String], now: Duration) {
        let Some(generation) = self.generations.get_mut(&number) else { return };
        if generation.stage != Stage::Asked {
            return;
        }
        if keeps.is_empty() {
            generation.stage = Stage::Ending { until: now + FAREWELL };
            self.tell(number, Order::Exit { on_exit: false });
        } else {
            generation.stage = Stage::Staying;
            self.told_workers.clear();
            // What it keeps may be what when_ready would start a second time.
            self.when_ready_due = None;
            let text =
                format!("Generation {number} stays until the stop, for what its hooks started: {}", keeps.join(", "));
            self.log(Level::Info, text);
        }
    }

    /// What hooks of a superseded generation have started may look at `server.WORKERS`.
    pub(super) fn update_staying(&mut self) {
        let staying = |g: &&Generation| g.stage == Stage::Staying;
        let numbers: Vec<u32> = self.generations.values().filter(staying).map(|g| g.number).collect();
        if numbers.is_empty() {
            return;
        }
        let pair = |worker: &Worker| worker.pid.map(|pid| (pid.0, worker.age));
        let workers: Vec<(i32, u64)> = self.fleet.iter().filter_map(pair).collect();
        if workers != self.told_workers {
            for number in numbers {
                self.tell(number, Order::Workers { workers: workers.clone() });
            }
            self.told_workers = workers;
        }
    }

    /// The old forkserver is gone: `when_ready` of the new generation runs, with nobody in the way.
    pub(super) fn run_when_ready(&mut self) {
        let Some(number) = self.when_ready_due.filter(|number| self.serving == Some(*number)) else { return };
        if self.generations.values().all(|other| other.number == number || other.comes_up()) {
            self.when_ready_due = None;
            self.out.push(Action::Announce { generation: number });
        }
    }
}
