//! How everything ends: workers finish, or are made to; then the forkserver runs `on_exit`; then the process ends.

use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::Order;

use super::core::{Core, Phase};
use super::event::Action;
use super::fleet;
use super::generation::{Generation, Stage};
use super::upgrade::Upgrade;
use crate::exit::Exit;
use crate::sys::process::Kill;

/// How and why the arbiter ends.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Workers may finish what they do.
    pub graceful: bool,
    /// When what is left is killed.
    pub until: Duration,
    /// What the process ends with.
    pub exit: Exit,
    /// Logged at the end, when the server ends by itself.
    pub reason: Option<&'static str>,
}

/// After a second INT or QUIT, and for those who hold no request.
pub(super) const HURRY: Duration = Duration::from_secs(2);
/// A forkserver that never served has no `on_exit` to run.
const UNUSED_GRACE: Duration = Duration::from_secs(1);

impl Core {
    /// A stop that was asked for by a signal.
    pub(super) fn begin_stop(&mut self, graceful: bool, now: Duration) {
        let until = now + self.plan().graceful_timeout;
        self.stop(Ending { graceful, until, exit: Exit::Done, reason: None }, now);
    }

    /// Load balancers get their time to notice.
    pub(super) fn begin_drain(&mut self, now: Duration) {
        let delay = self.plan().drain_delay;
        self.drain_until = Some(now + delay);
        self.log(Level::Info, format!("Stopping in {} s (drain_delay); a second TERM stops at once", delay.as_secs()));
        self.out.push(Action::AnnounceStop);
        self.reload_asked = false;
        if let Some(candidate) = self.candidate {
            self.discard_candidate(candidate, "the server stops", now);
        }
        self.disappoint_waiting();
        self.out.push(Action::Drain);
    }

    pub(super) fn look_at_drain(&mut self, now: Duration) {
        if self.drain_until.is_some_and(|at| at <= now) && matches!(self.phase, Phase::Running) {
            self.begin_stop(true, now);
        }
    }

    /// The start failed; why has been said.
    pub(super) fn fail_start(&mut self, exit: Exit, now: Duration) {
        self.stop(Ending { graceful: false, until: now + HURRY, exit, reason: None }, now);
    }

    /// No worker could boot.
    pub(super) fn give_up_start(&mut self, exit: i32, now: Duration) {
        let (exit, reason) = match exit {
            4 => (Exit::AppLoad, "App failed to load."),
            _ => (Exit::WorkerBoot, "Worker failed to boot."),
        };
        self.stop(Ending { graceful: false, until: now + HURRY, exit, reason: Some(reason) }, now);
    }

    fn stop(&mut self, ending: Ending, now: Duration) {
        match self.upgrade {
            Some(Upgrade::Started { pid, .. }) => self.out.push(Action::HandOver { pid }),
            _ if self.drain_until.is_some() => {}
            _ => self.out.push(Action::AnnounceStop),
        }
        // With another arbiter at the same sockets, nobody is to be kept out of them, and no queue is to be emptied.
        let alone = !self.shares_listeners();
        if alone {
            self.out.push(Action::StopAccepting);
        }
        self.renewal = None;
        let graceful = ending.graceful;
        self.phase = Phase::Stopping(ending);
        self.disinherit(alone);
        for age in self.fleet.ages() {
            let Some(worker) = self.fleet.get(age) else { continue };
            if worker.pid.is_none() {
                // Should it still come, it finds its link closed, and leaves.
                self.lose_order(age);
            } else if graceful {
                self.retire(age, alone, now);
            } else {
                self.quit(age, now);
            }
        }
        (self.candidate, self.roll, self.when_ready_due, self.reload_asked) = (None, None, None, false);
        self.disappoint_waiting();
        let unused: Vec<u32> = self.generations.values().filter(|g| g.comes_up()).map(|g| g.number).collect();
        for number in unused {
            self.end_generation(number, now);
        }
    }

    /// Whether the server stops.
    pub fn stops(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_) | Phase::Leaving(_))
    }

    /// The other arbiter at the same sockets is gone: if this one stops, nobody takes what waits there any more.
    pub(super) fn alone_in_stop(&mut self) {
        if matches!(&self.phase, Phase::Stopping(ending) if ending.graceful) {
            self.out.push(Action::StopAccepting);
            self.disinherit(true);
        }
    }

    /// Tells a worker to leave at once.
    pub(super) fn quit(&mut self, age: u64, now: Duration) {
        let Some(worker) = self.fleet.get_mut(age) else { return };
        let until = match &self.phase {
            // One that was never ready holds no request.
            Phase::Stopping(ending) | Phase::Leaving(ending) if worker.booted => ending.until,
            Phase::Stopping(ending) | Phase::Leaving(ending) => ending.until.min(now + HURRY),
            Phase::Booting | Phase::Running => now + HURRY,
        };
        if let fleet::Stage::Aborting { .. } | fleet::Stage::Condemned { .. } | fleet::Stage::Killed = worker.stage {
            return;
        }
        worker.stage = fleet::Stage::Retiring { until };
        if let Some(pid) = worker.pid {
            self.out.push(Action::Signal { pid, what: Kill::Quit });
        }
    }

    /// A second INT or QUIT.
    pub(super) fn hasten(&mut self, now: Duration) {
        let hurried = match &mut self.phase {
            Phase::Stopping(ending) => {
                ending.graceful = false;
                ending.until = ending.until.min(now + HURRY);
                true
            }
            Phase::Leaving(ending) => {
                ending.until = now;
                false
            }
            Phase::Booting | Phase::Running => false,
        };
        if hurried {
            self.log(Level::Info, "Quick shutdown requested");
            for age in self.fleet.ages() {
                self.quit(age, now);
            }
        }
    }

    pub(super) fn stop_deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Stopping(ending) | Phase::Leaving(ending) => Some(ending.until),
            Phase::Booting | Phase::Running => self.drain_until,
        }
    }

    /// Goes on with a stop as far as it can go on now.
    pub(super) fn proceed_with_stop(&mut self, now: Duration) {
        if let Phase::Stopping(ending) = &self.phase {
            let ending = ending.clone();
            if ending.until <= now {
                self.kill_the_rest(now);
            }
            if self.fleet.is_empty() {
                self.leave(ending, now);
            }
        }
        if let Phase::Leaving(ending) = &self.phase {
            let exit = ending.exit;
            if ending.until <= now {
                let left: Vec<_> = self.generations.values().filter_map(|generation| generation.pid).collect();
                if !left.is_empty() {
                    self.log(Level::Warning, "The forkserver did not leave in time (on_exit?): killed");
                }
                self.out.extend(left.into_iter().map(|pid| Action::Signal { pid, what: Kill::Kill }));
                if let Phase::Leaving(ending) = &mut self.phase {
                    // Only waitpid is missing now.
                    ending.until = now + Duration::from_secs(3600);
                }
            }
            if self.generations.is_empty() {
                self.out.push(Action::Exit(exit));
            }
        }
    }

    fn kill_the_rest(&mut self, now: Duration) {
        for age in self.fleet.ages() {
            let Some(worker) = self.fleet.get(age) else { continue };
            match worker.stage {
                fleet::Stage::Killed | fleet::Stage::Condemned { .. } => {}
                fleet::Stage::Aborting { .. } => self.kill_and_tell(age),
                _ => self.condemn(age, now),
            }
        }
        if let Phase::Stopping(ending) = &mut self.phase {
            ending.until += HURRY;
        }
    }

    /// The workers are gone.
    fn leave(&mut self, ending: Ending, now: Duration) {
        if self.was_up {
            self.log(Level::Info, format!("Shutting down: {}", self.title()));
        }
        if let Some(reason) = ending.reason {
            self.log(Level::Error, format!("Reason: {reason}"));
        }
        self.out.push(Action::RemovePidfile);
        let grace = self.plan().graceful_timeout.max(UNUSED_GRACE);
        match self.serving {
            Some(number) => self.tell(number, Order::Exit { on_exit: true }),
            None if self.ever_ready => self.log(Level::Warning, "on_exit does not run: the forkserver had just ended"),
            None => {}
        }
        let leave_too = |g: &&Generation| Some(g.number) != self.serving && !matches!(g.stage, Stage::Ending { .. });
        for number in self.generations.values().filter(leave_too).map(|g| g.number).collect::<Vec<_>>() {
            self.tell(number, Order::Exit { on_exit: false });
        }
        self.phase = Phase::Leaving(Ending { until: now + grace, ..ending });
    }
}
