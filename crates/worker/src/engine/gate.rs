//! Keeps the sentinel's hands off its locks while the app forks: a child would have a copy of one that nobody there opens.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A fork that takes longer (ns) hangs, in somebody's hook: then it is more important that the sentinel says so.
const LIMIT_NS: u64 = 1_000_000_000;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Gate {
    /// Threads that fork.
    closed: AtomicU32,
    /// When the last of them began to (CLOCK_MONOTONIC ns).
    since: AtomicU64,
    /// The sentinel is inside.
    inside: AtomicBool,
}

impl Gate {
    /// Waits until the sentinel is outside, where it stays until [`Gate::open`], or for a second. What it does inside takes
    /// moments (but for the stacks of a request that is out of time: those take up to 200 ms), and never waits for the GIL,
    /// which the caller has.
    pub fn close(&self, now: u64) {
        self.since.store(now, Ordering::SeqCst);
        self.closed.fetch_add(1, Ordering::SeqCst);
        while self.inside.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }

    /// Undoes a [`Gate::close`].
    pub fn open(&self) {
        self.closed.fetch_sub(1, Ordering::SeqCst);
    }

    /// Does something inside, unless the gate is closed: then not at all.
    pub fn pass(&self, now: u64, act: impl FnOnce()) {
        // Each side says what it does before it looks at the other: at least one of them sees the other.
        self.inside.store(true, Ordering::SeqCst);
        let hangs = || now.saturating_sub(self.since.load(Ordering::SeqCst)) > LIMIT_NS;
        if self.closed.load(Ordering::SeqCst) == 0 || hangs() {
            act();
        }
        self.inside.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_inside_a_closed_gate() {
        let (gate, inside) = (Gate::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..100_000 {
                    gate.pass(0, || {
                        inside.store(true, Ordering::SeqCst);
                        inside.store(false, Ordering::SeqCst);
                    });
                }
            });
            for _ in 0..1000 {
                gate.close(0);
                for _ in 0..10 {
                    assert!(!inside.load(Ordering::SeqCst));
                }
                gate.open();
            }
        });
        let mut passed = 0;
        gate.pass(0, || passed += 1);
        gate.close(0);
        gate.pass(0, || passed += 10);
        gate.pass(LIMIT_NS + 1, || passed += 100);
        gate.open();
        gate.pass(0, || passed += 1);
        assert_eq!(passed, 102);
    }
}
