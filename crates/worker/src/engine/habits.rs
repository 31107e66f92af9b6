//! What a thread has learned of its clients, to spare system calls that find nothing.

use std::cell::Cell;

/// How many connections to accept at a wake. To find none costs nearly as much as to take one (the kernel makes the socket
/// first), to be woken again for the next one a fraction of it; so the number follows what was found.
#[derive(Debug, Default)]
pub struct Appetite {
    /// One less than that.
    more: u32,
    /// For so many wakes it does not grow.
    sated: u32,
}

impl Appetite {
    /// Most at a wake.
    const BATCH: u32 = 16;
    /// So many wakes pass before it grows again.
    const SATED: u32 = 32;

    /// The number.
    pub fn batch(&self) -> u32 {
        self.more + 1
    }

    /// There were only so many.
    pub fn had_enough(&mut self, found: u32) {
        *self = Appetite { more: found.saturating_sub(1), sated: Self::SATED };
    }

    /// There were as many as that.
    pub fn wants_more(&mut self) {
        if self.sated > 0 {
            self.sated -= 1;
        } else if self.more + 1 < Self::BATCH {
            self.more += 1;
        }
    }
}

/// Whether new connections have sent something by the time they are accepted. Where they have not (the client is no slower
/// than the worker), a look is a system call for nothing: they had better wait in the poll set at once.
#[derive(Debug, Default)]
pub struct FirstReads {
    /// How many in a row found nothing.
    empty: Cell<u32>,
    /// How many were left out since the last one.
    skipped: Cell<u32>,
}

impl FirstReads {
    /// After so many that found nothing most are left out,
    const ENOUGH: u32 = 4;
    /// but one of so many.
    const PROBE: u32 = 16;

    /// Whether the next one is to be left out.
    pub fn are_vain(&self) -> bool {
        let due = self.empty.get() < Self::ENOUGH || self.skipped.get() + 1 >= Self::PROBE;
        self.skipped.set(if due { 0 } else { self.skipped.get() + 1 });
        !due
    }

    /// What the last one found.
    pub fn note(&self, found: bool) {
        self.empty.set(if found { 0 } else { self.empty.get().saturating_add(1) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts at a wake with so many in the queue: how many calls found none.
    fn wake(appetite: &mut Appetite, queue: &mut u32) -> u32 {
        for at in 0..appetite.batch() {
            if *queue == 0 {
                appetite.had_enough(at);
                return 1;
            }
            *queue -= 1;
        }
        appetite.wants_more();
        0
    }

    #[test]
    fn single_connections_cost_hardly_a_call_in_vain() {
        let mut appetite = Appetite::default();
        let vain: u32 = (0..1000).map(|_| wake(&mut appetite, &mut 1)).sum();
        assert!((1..=1000 / Appetite::SATED).contains(&vain), "{vain}");
    }

    #[test]
    fn a_long_queue_is_taken_in_batches() {
        let (mut appetite, mut queue) = (Appetite::default(), 1000);
        let wakes = (0..).take_while(|_| queue > 0 && wake(&mut appetite, &mut queue) == 0).count();
        assert!(wakes < 100, "{wakes}");
        assert_eq!(appetite.batch(), Appetite::BATCH);
    }

    #[test]
    fn first_reads_that_find_nothing_are_left_out_but_for_a_probe() {
        let reads = FirstReads::default();
        let tried = |found: bool| {
            let tries = !reads.are_vain();
            if tries {
                reads.note(found);
            }
            usize::from(tries)
        };
        let count = (0..1000).map(|_| tried(false)).sum::<usize>();
        assert!((1000 / FirstReads::PROBE as usize..100).contains(&count), "{count}");
        // The first probe that finds something ends it.
        while tried(true) == 0 {}
        assert_eq!((0..100).map(|_| tried(true)).sum::<usize>(), 100);
    }
}
