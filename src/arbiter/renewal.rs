//! Workers that have served long enough, or use too much: each serves on until another one is ready in its place, one at a
//! time.

use std::time::Duration;

use rgunicorn_logs::Level;

use super::core::{Board, Core, Phase};
use super::fleet::Stage;

/// How often the workers' memory is looked at. One that has just got ready is given as long.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// A replacement under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// Who is to be replaced.
    pub old: u64,
    /// By whom; `None` until one is ordered, or when it died.
    pub new: Option<u64>,
}

impl Core {
    /// One at a time, the oldest first.
    pub(super) fn choose_renewal(&mut self) {
        let gone = |age: u64| self.fleet.get(age).is_none_or(|worker| !worker.counts());
        self.renewal = self
            .renewal
            .filter(|renewal| !gone(renewal.old))
            .map(|renewal| Renewal { new: renewal.new.filter(|new| !gone(*new)), ..renewal });
        if self.renewal.is_none() {
            let due = self.current_workers().find(|worker| worker.recycle && worker.is_ready());
            self.renewal = due.map(|worker| Renewal { old: worker.age, new: None });
        }
    }

    /// Says which worker is the replacement: one that there is beyond the number that there should be. If those all serve
    /// already, there are to be fewer by now, and the old one goes without.
    pub(super) fn assign_renewal(&mut self, now: Duration) {
        let Some(renewal) = self.renewal.filter(|renewal| renewal.new.is_none()) else { return };
        if self.current_workers().count() <= self.target as usize {
            return;
        }
        let new = self.current_workers().rev().find(|worker| !worker.is_ready()).map(|worker| worker.age);
        if new.is_some() {
            self.renewal = Some(Renewal { new, ..renewal });
        } else {
            self.renewal = None;
            self.retire(renewal.old, false, now);
        }
    }

    /// Marks workers that have reached `max_lifetime` or `max_rss`.
    pub(super) fn look_at_limits(&mut self, now: Duration, board: &dyn Board) {
        let sample = self.sample_at.is_none_or(|at| at <= now);
        if sample {
            let wanted = matches!(self.phase, Phase::Running)
                && self
                    .generations
                    .values()
                    .any(|generation| generation.plan.as_ref().is_some_and(|plan| plan.max_rss[0] > 0));
            self.sample_at = wanted.then_some(now + SAMPLE_EVERY);
        }
        let mut due = Vec::new();
        for worker in self.current_workers().filter(|worker| !worker.recycle) {
            let Stage::Ready { since } = worker.stage else { continue };
            let plan = self.plan_of(worker.generation);
            if self.life_ends_at(worker.generation, worker.age, since).is_some_and(|at| at <= now) {
                let served = now.saturating_sub(since).as_secs();
                due.push((worker.age, format!("{} has served for {served} s (max_lifetime)", worker.name())));
            } else if let ([limit, spread], true, Some(pid)) = (plan.max_rss, sample, worker.pid)
                && limit > 0
                && since + SAMPLE_EVERY <= now
                && let Some(resident) = board.resident(pid)
                && resident > limit.saturating_add(chance(plan.seed, worker.age, spread))
            {
                due.push((worker.age, format!("{} uses {} MB (max_rss)", worker.name(), resident >> 20)));
            }
        }
        for (age, text) in due {
            if let Some(worker) = self.fleet.get_mut(age) {
                worker.recycle = true;
            }
            self.log(Level::Info, format!("{text}: it serves on until its replacement is ready"));
        }
    }

    fn life_ends_at(&self, generation: u32, age: u64, since: Duration) -> Option<Duration> {
        let plan = self.plan_of(generation);
        let [limit, spread] = plan.max_lifetime;
        let extra = Duration::from_millis(chance(plan.seed, age, spread.as_millis() as u64));
        (!limit.is_zero()).then(|| since + limit + extra)
    }

    pub(super) fn limits_deadline(&self) -> Option<Duration> {
        let lives = self.current_workers().filter(|worker| !worker.recycle).filter_map(|worker| match worker.stage {
            Stage::Ready { since } => self.life_ends_at(worker.generation, worker.age, since),
            _ => None,
        });
        match self.phase {
            Phase::Running => lives.chain(self.sample_at).min(),
            _ => None,
        }
    }
}

/// A number from 0 to `spread` that is the same whenever it is asked for (splitmix64).
fn chance(seed: u64, age: u64, spread: u64) -> u64 {
    let mut mixed = seed.wrapping_add(age.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    mixed % spread.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_stays_within_its_bounds_and_differs() {
        let drawn: std::collections::BTreeSet<u64> = (0..100).map(|age| chance(1, age, 1000)).collect();
        assert!(drawn.len() > 80 && drawn.iter().all(|number| *number <= 1000), "{drawn:?}");
        assert_eq!(chance(1, 5, 1000), chance(1, 5, 1000));
        assert_eq!(chance(1, 5, 0), 0);
    }
}
