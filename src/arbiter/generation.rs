//! A generation's way from its forkserver's start to serving, as states. Pure.

use std::time::Duration;

use super::event::Plan;
use crate::sys::Pid;

/// One forkserver and what it was configured with.
#[derive(Debug)]
pub struct Generation {
    /// Counts up; the first is 1.
    pub number: u32,
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
    /// Known once its settings were settled.
    pub plan: Option<Plan>,
    /// It stands in for one whose forkserver died.
    pub replacement: bool,
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its forkserver reads the configuration.
    Loading,
    /// The daemon merges the settings.
    Settling,
    /// The forkserver builds `cfg`, preloads the app, runs `on_starting`.
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
    /// It forks workers.
    Serving {
        /// Since when.
        since: Duration,
    },
    /// It was told to leave, and is killed at this time.
    Ending {
        /// Then.
        until: Duration,
    },
}

impl Generation {
    /// One whose forkserver is about to be started.
    pub fn new(number: u32, replacement: bool) -> Generation {
        Generation {
            number,
            stage: Stage::Loading,
            pid: None,
            interpreter: String::new(),
            reads: None,
            said_hello: false,
            plan: None,
            replacement,
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
            Stage::Starting => "loading the application or running on_starting",
            Stage::Binding { .. } => "waiting for its addresses",
            Stage::Readying => "running when_ready",
            Stage::Serving { .. } => "serving",
            Stage::Ending { .. } => "leaving",
        };
        text.to_owned()
    }
}

/// Waits between tries, longer each time.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    until: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);

    /// A try failed; returns how long to wait.
    pub fn fail(&mut self, now: Duration) -> Duration {
        let wait = (Backoff::FIRST * 2u32.pow(self.failures.min(10))).min(Backoff::LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.until = now + wait;
        wait
    }

    /// A try succeeded.
    pub fn succeed(&mut self) {
        *self = Backoff::default();
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
        let mut backoff = Backoff::default();
        let now = Duration::from_secs(100);
        assert_eq!(backoff.waits(now), None);
        let waits: Vec<u64> = (0..8).map(|_| backoff.fail(now).as_millis() as u64).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(backoff.waits(now), Some(now + Backoff::LONGEST));
        assert_eq!(backoff.waits(now + Backoff::LONGEST), None);
        backoff.succeed();
        assert_eq!(backoff.fail(now), Backoff::FIRST);
    }
}
