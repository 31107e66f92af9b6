//! Keeps the sentinel's hands off its locks while the app forks: a child would have a copy of one that nobody there opens.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// See the module's head.
#[derive(Debug, Default)]
pub struct Gate {
    /// Threads that fork.
    closed: AtomicU32,
    /// The sentinel is inside.
    inside: AtomicBool,
}

impl Gate {
    /// Waits until the sentinel is outside, where it stays until [`Gate::open`]. What it does inside takes moments (but
    /// for the stacks of a request that is out of time: those take up to 200 ms), and never waits for the GIL, which the
    /// caller has.
    pub fn close(&self) {
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
    pub fn pass(&self, act: impl FnOnce()) {
        // Each side says what it does before it looks at the other: at least one of them sees the other.
        self.inside.store(true, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) == 0 {
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
        let (gate, inside) = (Gate::default(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let passes = scope.spawn(|| {
                let mut passed = 0;
                for _ in 0..100_000 {
                    gate.pass(|| {
                        inside.store(1, Ordering::SeqCst);
                        passed += 1;
                        inside.store(0, Ordering::SeqCst);
                    });
                }
                passed
            });
            for _ in 0..1000 {
                gate.close();
                assert_eq!(inside.load(Ordering::SeqCst), 0);
                std::thread::yield_now();
                assert_eq!(inside.load(Ordering::SeqCst), 0);
                gate.open();
            }
            assert!(passes.join().is_ok_and(|passed| passed > 0));
        });
        gate.close();
        gate.pass(|| panic!("it is closed"));
    }
}
