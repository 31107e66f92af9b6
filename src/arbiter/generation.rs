//! A generation's way from its forkserver's start to its end, as states. Pure.

use std::time::Duration;

use super::event::Plan;
use crate::sys::Pid;

/// One forkserver and what it was configured with.
#[derive(Debug)]
pub struct Generation {
    /// Counts up; the first is 1.
    pub number: u32,
    /// What it was started for.
    pub purpose: Purpose,
    /// Which reload it belongs to: one that stands in for a dead forkserver has the one of that.
    pub epoch: u32,
    /// How far it is.
    pub stage: Stage,
    /// Its forkserver's pid, once that was started.
    pub pid: Option<Pid>,
    /// The interpreter, for messages.
    pub interpreter: String,
    /// The file or module that it reads, for messages.
    pub reads: Option<String>,
    /// The interpreter runs our code.
    pub said_hello: bool,
    /// When its forkserver is killed if it has got no further; `None`: never.
    pub deadline: Option<Duration>,
    /// Known once its settings were settled.
    pub plan: Option<Plan>,
}

/// What a generation is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To begin with.
    First,
    /// To take over, with everything read anew.
    Reload,
    /// To fork in place of one that died; the workers stay.
    Replacement,
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its forkserver reads the configuration.
    Loading,
    /// The daemon merges the settings.
    Settling,
    /// The forkserver builds `cfg`, preloads the app, runs `on_starting` or `on_reload`.
    Starting,
    /// Addresses are being bound.
    Binding {
        /// Tries that failed.
        failed: u32,
        /// When to try again.
        retry_at: Option<Duration>,
    },
    /// `when_ready` runs.
    Readying,
    /// Of a reload: its first workers boot. Until one is ready, nothing has changed.
    Proving,
    /// It forks workers.
    Serving {
        /// Since when.
        since: Duration,
    },
    /// Another one serves; its workers finish.
    Superseded,
    /// Its last worker is gone; it was asked whether it can leave.
    Asked,
    /// It has threads or children of its own (a metrics server), so it stays until the stop.
    Staying,
    /// It was told to leave, and is killed at this time.
    Ending {
        /// Then.
        until: Duration,
    },
}

impl Generation {
    /// One whose forkserver is about to be started.
    pub fn new(number: u32, purpose: Purpose, epoch: u32) -> Generation {
        Generation {
            number,
            purpose,
            epoch,
            stage: Stage::Loading,
            pid: None,
            interpreter: String::new(),
            reads: None,
            said_hello: false,
            deadline: None,
            plan: None,
        }
    }

    /// Whether it is still to become the one that serves.
    pub fn comes_up(&self) -> bool {
        match self.stage {
            Stage::Loading
            | Stage::Settling
            | Stage::Starting
            | Stage::Binding { .. }
            | Stage::Readying
            | Stage::Proving => true,
            Stage::Serving { .. } | Stage::Superseded | Stage::Asked | Stage::Staying | Stage::Ending { .. } => false,
        }
    }

    /// What it is doing, for messages.
    pub fn doing(&self) -> String {
        let text = match self.stage {
            Stage::Loading => match &self.reads {
                Some(name) => return format!("reading {name}"),
                None => "starting",
            },
            Stage::Settling => "having its settings checked",
            Stage::Starting => "loading the application or running on_starting or on_reload",
            Stage::Binding { .. } => "waiting for its addresses",
            Stage::Readying => "running when_ready",
            Stage::Proving => "booting its first workers",
            Stage::Serving { .. } => "running a hook",
            Stage::Superseded | Stage::Asked | Stage::Staying => "being asked whether it can leave",
            Stage::Ending { .. } => "leaving",
        };
        text.to_owned()
    }
}

/// Waits between tries, longer each time.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    until: Duration,
}

impl Backoff {
    /// The first wait, and the one that it does not grow beyond.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, failures: 0, until: Duration::ZERO }
    }

    /// A try failed; returns how long to wait. `None` if there is a wait already: what fails during it was tried together
    /// with what it is for.
    pub fn fail(&mut self, now: Duration) -> Option<Duration> {
        if self.waits(now).is_some() {
            return None;
        }
        let wait = (self.first * 2u32.pow(self.failures.min(16))).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        self.until = now + wait;
        Some(wait)
    }

    /// Whether the last try failed.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// A try succeeded.
    pub fn succeed(&mut self) {
        (self.failures, self.until) = (0, Duration::ZERO);
    }

    /// Until when to wait, if that is still to come.
    pub fn waits(&self, now: Duration) -> Option<Duration> {
        (self.until > now).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_a_limit_and_is_forgotten_after_success() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(30));
        let mut now = seconds(100);
        assert_eq!(backoff.waits(now), None);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let wait = backoff.fail(now).unwrap();
            assert_eq!(backoff.fail(now), None, "one failure a wait");
            assert_eq!(backoff.waits(now), Some(now + wait));
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.waits(now), None);
        backoff.succeed();
        assert_eq!(backoff.fail(now), Some(seconds(1)));
    }
}
