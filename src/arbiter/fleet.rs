//! The registry of workers: who is ordered, booting, ready, leaving. Bookkeeping only, no system calls, so that the life
//! of a fleet can be tested with made-up pids.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::sys::{Pid, Status};

/// One worker, from the order to fork it to its burial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// `worker.age`: the order of birth.
    pub age: u64,
    /// Who forked it.
    pub generation: u32,
    /// Which reload that belongs to.
    pub epoch: u32,
    /// Its place in its generation's scoreboard.
    pub slot: u32,
    /// Known from its hello on.
    pub pid: Option<Pid>,
    /// Where it is in life.
    pub stage: Stage,
    /// It was ready once.
    pub booted: bool,
    /// What it said about why it could not boot: exit code.
    pub failure: Option<i32>,
    /// Why it could not, in one line.
    pub reason: Option<String>,
    /// It got a TERM that was not ours.
    pub asked: bool,
    /// It has reached `max_requests` and serves on until its replacement is ready.
    pub recycle: bool,
}

/// Where a worker is in life. Deadlines are points of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The forkserver has the order; nothing was heard of the worker.
    Ordered {
        /// When the order counts as failed.
        until: Duration,
    },
    /// It loads the app.
    Booting {
        /// When it is ended.
        until: Duration,
    },
    /// It serves.
    Ready {
        /// Since when.
        since: Duration,
    },
    /// Somebody else than us sent it a TERM: it will be told to leave, unless the whole server was meant.
    Asked {
        /// When it is told.
        at: Duration,
    },
    /// It was told to leave.
    Retiring {
        /// When it is killed.
        until: Duration,
    },
    /// It was silent for too long and got an ABRT.
    Aborting {
        /// When it is killed.
        until: Duration,
    },
    /// It was killed; only waitpid is missing.
    Killed,
}

impl Worker {
    /// Whether it counts towards the number of workers that there should be.
    pub fn counts(&self) -> bool {
        matches!(self.stage, Stage::Ordered { .. } | Stage::Booting { .. } | Stage::Ready { .. } | Stage::Asked { .. })
    }

    /// Whether it serves, and is to go on.
    pub fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. })
    }

    /// `worker (pid:17)`, or what can be said before its pid is known.
    pub fn name(&self) -> String {
        match self.pid {
            Some(pid) => format!("Worker (pid:{pid})"),
            None => format!("Worker (age {}, never seen)", self.age),
        }
    }
}

/// Exits kept at most. The app's orphans are among them.
const MAX_UNCLAIMED: usize = 1024;

/// All workers, and the exits that cannot be told apart yet.
#[derive(Debug, Default)]
pub struct Fleet {
    workers: BTreeMap<u64, Worker>,
    last_age: u64,
    /// Exits of unknown pids, kept while a worker that has not said hello may be one of them: one that died at once is
    /// reaped before its hello has been read.
    unclaimed: Vec<(Pid, Status)>,
}

impl Fleet {
    /// A new worker of this generation and epoch, or `None` if its scoreboard (of so many slots) is full.
    pub fn order(&mut self, generation: u32, epoch: u32, slots: u32, until: Duration) -> Option<&Worker> {
        let taken: BTreeSet<u32> = self.of(generation).map(|worker| worker.slot).collect();
        let slot = (0..slots).find(|slot| !taken.contains(slot))?;
        self.last_age += 1;
        let age = self.last_age;
        let stage = Stage::Ordered { until };
        let worker = Worker {
            age,
            generation,
            epoch,
            slot,
            pid: None,
            stage,
            booted: false,
            failure: None,
            reason: None,
            asked: false,
            recycle: false,
        };
        Some(self.workers.entry(age).or_insert(worker))
    }

    /// How many workers were ever ordered.
    pub fn ordered(&self) -> u64 {
        self.last_age
    }

    /// The worker said hello. Returns how it ended, if it has already.
    pub fn greet(&mut self, age: u64, pid: Pid, boot_until: Duration) -> Option<Status> {
        let worker = self.workers.get_mut(&age)?;
        // One hello counts: what comes later may be forged by the app.
        if worker.pid.is_some() {
            return None;
        }
        worker.pid = Some(pid);
        if let Stage::Ordered { .. } = worker.stage {
            worker.stage = Stage::Booting { until: boot_until };
        }
        let at = self.unclaimed.iter().position(|(unclaimed, _)| *unclaimed == pid)?;
        let (_, status) = self.unclaimed.swap_remove(at);
        Some(status)
    }

    /// Whose exit it is; kept for later if that cannot be told yet.
    pub fn claim(&mut self, pid: Pid, status: Status) -> Option<u64> {
        let found = self.workers.values().find(|worker| worker.pid == Some(pid)).map(|worker| worker.age);
        if found.is_none() && self.workers.values().any(|worker| worker.pid.is_none()) {
            if self.unclaimed.len() >= MAX_UNCLAIMED {
                self.unclaimed.remove(0);
            }
            self.unclaimed.push((pid, status));
        }
        found
    }

    /// Forgets a worker.
    pub fn remove(&mut self, age: u64) -> Option<Worker> {
        let worker = self.workers.remove(&age);
        if self.workers.values().all(|worker| worker.pid.is_some()) {
            // No order is open: what is left were strangers.
            self.unclaimed.clear();
        }
        worker
    }

    /// By age.
    pub fn get(&self, age: u64) -> Option<&Worker> {
        self.workers.get(&age)
    }

    /// By age.
    pub fn get_mut(&mut self, age: u64) -> Option<&mut Worker> {
        self.workers.get_mut(&age)
    }

    /// How many orders to fork are open.
    pub fn open_orders(&self) -> usize {
        self.iter().filter(|worker| matches!(worker.stage, Stage::Ordered { .. })).count()
    }

    /// From the oldest to the youngest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Worker> {
        self.workers.values()
    }

    /// Those of one generation.
    pub fn of(&self, generation: u32) -> impl Iterator<Item = &Worker> {
        self.iter().filter(move |worker| worker.generation == generation)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Ages of all, from the oldest.
    pub fn ages(&self) -> Vec<u64> {
        self.workers.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    #[test]
    fn a_worker_that_died_before_its_hello_was_read_is_found() {
        let mut fleet = Fleet::default();
        let age = fleet.order(1, 1, 4, SOON).unwrap().age;
        assert_eq!(fleet.claim(Pid(7), Status::Exited(3)), None);
        assert_eq!(fleet.greet(age, Pid(7), SOON), Some(Status::Exited(3)));
    }

    #[test]
    fn strangers_are_forgotten_when_no_order_is_open() {
        let mut fleet = Fleet::default();
        assert_eq!(fleet.claim(Pid(9), Status::Exited(0)), None);
        let first = fleet.order(1, 1, 4, SOON).unwrap().age;
        assert_eq!(fleet.claim(Pid(9), Status::Exited(0)), None);
        fleet.remove(first);
        let second = fleet.order(1, 1, 4, SOON).unwrap().age;
        assert_eq!(fleet.greet(second, Pid(9), SOON), None, "a pid that was used again");
    }

    #[test]
    fn only_the_first_hello_counts() {
        let mut fleet = Fleet::default();
        let age = fleet.order(1, 1, 4, SOON).unwrap().age;
        fleet.greet(age, Pid(7), SOON);
        fleet.greet(age, Pid(8), SOON);
        assert_eq!(fleet.get(age).unwrap().pid, Some(Pid(7)));
        assert_eq!(fleet.claim(Pid(7), Status::Signaled(9)), Some(age));
    }

    #[test]
    fn slots_are_used_again_and_end_somewhere() {
        let mut fleet = Fleet::default();
        let slots: Vec<u32> = (0..2).map(|_| fleet.order(1, 1, 2, SOON).unwrap().slot).collect();
        assert_eq!(slots, [0, 1]);
        assert!(fleet.order(1, 1, 2, SOON).is_none());
        assert_eq!(fleet.order(2, 2, 2, SOON).unwrap().slot, 0, "another generation has its own");
        fleet.remove(1);
        let again = fleet.order(1, 1, 2, SOON).unwrap();
        assert_eq!((again.slot, again.age), (0, 4), "ages are never used twice");
    }
}
