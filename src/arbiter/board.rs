//! The scoreboards, one a generation, as the arbiter reads them. What is in them was written by workers and may be anything.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rgunicorn_wire::scoreboard::{InFlight, Scoreboard, Slot, size_bytes};

use super::core::Board;
use super::keep::SLOTS;
use crate::sys::clock::{nanos, now};
use crate::sys::memory::Shared;

/// Thread records of a slot.
const THREADS: u32 = 1;

/// All scoreboards, and what workers that are gone have counted.
#[derive(Debug, Default)]
pub struct Boards {
    boards: BTreeMap<u32, Shared>,
    /// Requests of workers that are gone.
    pub past_requests: u64,
}

impl Boards {
    /// Makes a generation's scoreboard.
    pub fn add(&mut self, generation: u32) -> io::Result<()> {
        self.boards.insert(generation, Shared::new(size_bytes(SLOTS, THREADS))?);
        Ok(())
    }

    /// For a fork order.
    pub fn fd(&self, generation: u32) -> Option<BorrowedFd<'_>> {
        self.boards.get(&generation).map(AsFd::as_fd)
    }

    /// A generation's workers are gone.
    pub fn remove(&mut self, generation: u32) {
        self.boards.remove(&generation);
    }

    /// What a worker has in hand.
    pub fn in_flight(&self, generation: u32, slot: u32) -> Vec<InFlight> {
        self.slot(generation, slot).map(|slot| slot.all_in_flight(nanos(now()))).unwrap_or_default()
    }

    /// Adds up what a dead worker has counted, and makes its slot ready for the next.
    pub fn bury(&mut self, generation: u32, slot: u32) {
        let requests = self.slot(generation, slot).map_or(0, |slot| {
            let requests = slot.requests();
            slot.clear();
            requests
        });
        self.past_requests = self.past_requests.saturating_add(requests);
    }

    fn slot(&self, generation: u32, slot: u32) -> Option<Slot<'_>> {
        Scoreboard::new(self.boards.get(&generation)?.words(), THREADS).slot(slot)
    }
}

impl Board for Boards {
    fn heartbeat(&self, generation: u32, slot: u32) -> Option<Duration> {
        self.slot(generation, slot).map(|slot| Duration::from_nanos(slot.heartbeat(nanos(now()))))
    }
}
