//! The scoreboards, one a generation, as the arbiter reads them. What is in them was written by workers and may be anything.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rgunicorn_wire::scoreboard::{InFlight, Scoreboard, Slot, size_bytes};

use super::core::Board;
use super::keep::SLOTS;
use crate::sys::clock::{nanos, now};
use crate::sys::link;
use crate::sys::memory::Shared;
use crate::sys::{Pid, process};

/// A generation's scoreboard.
#[derive(Debug)]
struct Common {
    board: Shared,
    /// Thread records of a slot.
    threads: u32,
}

impl Common {
    fn scoreboard(&self) -> Scoreboard<'_> {
        Scoreboard::new(self.board.words(), self.threads)
    }
}

/// All scoreboards, and what workers that are gone have counted.
#[derive(Debug)]
pub struct Boards {
    boards: BTreeMap<u32, Common>,
    /// Connections that their worker has no time for, or cannot keep since it leaves, for another one to take, of
    /// whatever generation: the end to receive from, and the end to send to. Both are held here, so that neither is ever
    /// without the other, and nothing in between is lost.
    hand_off: (OwnedFd, OwnedFd),
    /// Requests of workers that are gone.
    pub past_requests: u64,
}

impl Boards {
    /// No scoreboard yet.
    pub fn new() -> io::Result<Boards> {
        Ok(Boards { boards: BTreeMap::new(), hand_off: link::hand_off()?, past_requests: 0 })
    }

    /// Makes a generation's scoreboard, for so many threads a worker. Nothing is lost of one that fits.
    pub fn add(&mut self, generation: u32, threads: u32) -> io::Result<()> {
        if self.boards.get(&generation).is_none_or(|common| common.threads != threads) {
            let board = Shared::new(size_bytes(SLOTS, threads))?;
            self.boards.insert(generation, Common { board, threads });
        }
        Ok(())
    }

    /// For a fork order: the scoreboard, in which this slot is now in use, and the two ends of the hand-off.
    pub fn common(&self, generation: u32, slot: u32) -> Option<[BorrowedFd<'_>; 3]> {
        let common = self.boards.get(&generation)?;
        common.scoreboard().note_use(slot);
        let (receive, send) = &self.hand_off;
        Some([common.board.as_fd(), receive.as_fd(), send.as_fd()])
    }

    /// A generation's workers are gone.
    pub fn remove(&mut self, generation: u32) {
        self.boards.remove(&generation);
    }

    /// Requests of the worker in this slot.
    pub fn requests(&self, generation: u32, slot: u32) -> u64 {
        self.slot(generation, slot).map_or(0, |slot| slot.requests())
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
        self.boards.get(&generation)?.scoreboard().slot(slot)
    }
}

impl Board for Boards {
    fn heartbeat(&self, generation: u32, slot: u32) -> Option<Duration> {
        self.slot(generation, slot).map(|slot| Duration::from_nanos(slot.heartbeat(nanos(now()))))
    }

    fn resident(&self, pid: Pid) -> Option<u64> {
        process::resident(pid)
    }
}
