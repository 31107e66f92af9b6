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

/// What the workers of a generation share.
#[derive(Debug)]
struct Common {
    board: Shared,
    /// Thread records of a slot.
    threads: u32,
    /// Connections that their worker has no time for, for an idle one to take: the end to receive from, and the end to
    /// send to. Both are held here, so that neither is ever without the other.
    hand_off: (OwnedFd, OwnedFd),
}

impl Common {
    fn scoreboard(&self) -> Scoreboard<'_> {
        Scoreboard::new(self.board.words(), self.threads)
    }
}

/// All scoreboards, and what workers that are gone have counted.
#[derive(Debug, Default)]
pub struct Boards {
    boards: BTreeMap<u32, Common>,
    /// Requests of workers that are gone.
    pub past_requests: u64,
}

impl Boards {
    /// Makes what a generation's workers share.
    pub fn add(&mut self, generation: u32, threads: u32) -> io::Result<()> {
        let board = Shared::new(size_bytes(SLOTS, threads))?;
        let common = Common { board, threads, hand_off: link::hand_off()? };
        self.boards.insert(generation, common);
        Ok(())
    }

    /// For a fork order: the scoreboard, in which this slot is now in use, and the two ends of the hand-off.
    pub fn common(&self, generation: u32, slot: u32) -> Option<[BorrowedFd<'_>; 3]> {
        let common = self.boards.get(&generation)?;
        common.scoreboard().note_use(slot);
        let (receive, send) = &common.hand_off;
        Some([common.board.as_fd(), receive.as_fd(), send.as_fd()])
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
        self.boards.get(&generation)?.scoreboard().slot(slot)
    }
}

impl Board for Boards {
    fn heartbeat(&self, generation: u32, slot: u32) -> Option<Duration> {
        self.slot(generation, slot).map(|slot| Duration::from_nanos(slot.heartbeat(nanos(now()))))
    }
}
