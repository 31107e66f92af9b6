//! The scoreboard: one shared-memory slot a worker.
//!
//! The memory is a sealed memfd of [`size_bytes`], made by the arbiter and mapped by both sides as a slice of atomic
//! words, so that reading or writing it is safe code whatever the other side does. One worker writes a slot; only the
//! arbiter clears it, after the worker was reaped. A reader must expect torn and hostile values: everything that this
//! module returns is range-checked. All times are CLOCK_MONOTONIC nanoseconds; 0 means never.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// Words before the first slot.
const HEAD: usize = 64;
/// How many slots, from the first on, were ever in use.
const SLOTS_USED: usize = 0;
/// Words of a slot before its thread records.
const SLOT_HEAD: usize = 16 + LATENCY_BUCKETS;
/// Words of a thread record.
const THREAD_WORDS: usize = 8 + PATH_WORDS;
/// Bytes kept of `METHOD path`.
pub const PATH_BYTES: usize = PATH_WORDS * 8;
const PATH_WORDS: usize = 24;
/// Latency buckets: bucket i counts requests that took less than 2^i times 0.25 ms; the last one counts the rest.
pub const LATENCY_BUCKETS: usize = 20;

const AGE: usize = 0;
const PID: usize = 1;
const STATE: usize = 2;
const HEARTBEAT: usize = 3;
const REQUESTS: usize = 4;
const CONNECTIONS: usize = 5;
const ACCEPTED: usize = 6;
const ERRORS: usize = 7;
const RECEIVED: usize = 8;
const SENT: usize = 9;
const PROGRESS: usize = 10;
const BUCKETS: usize = 16;

const THREAD_START: usize = 0;
const THREAD_PROGRESS: usize = 1;
const THREAD_WAITS: usize = 2;
const THREAD_TARGET_LEN: usize = 3;
const THREAD_SEQ: usize = 4;
const THREAD_TARGET: usize = 8;

/// Bytes of a scoreboard with `slots` slots of `threads` threads each.
pub const fn size_bytes(slots: u32, threads: u32) -> usize {
    (HEAD + slots as usize * slot_words(threads)) * 8
}

const fn slot_words(threads: u32) -> usize {
    SLOT_HEAD + threads as usize * THREAD_WORDS
}

/// What a worker is doing, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// No worker, or one that has not started.
    Empty = 0,
    /// Loading its app.
    Booting = 1,
    /// Waiting for work.
    Idle = 2,
    /// In a request.
    Busy = 3,
    /// Told to leave.
    Retiring = 4,
}

impl State {
    fn from_word(word: u64) -> State {
        match word {
            1 => State::Booting,
            2 => State::Idle,
            3 => State::Busy,
            4 => State::Retiring,
            _ => State::Empty,
        }
    }
}

/// The whole scoreboard.
#[derive(Debug, Clone, Copy)]
pub struct Scoreboard<'m> {
    words: &'m [AtomicU64],
    threads: u32,
}

impl<'m> Scoreboard<'m> {
    /// A view of mapped memory; `threads` is the number of thread records a slot has.
    pub fn new(words: &'m [AtomicU64], threads: u32) -> Self {
        Scoreboard { words, threads }
    }

    /// The slot, if the scoreboard has it.
    pub fn slot(&self, index: u32) -> Option<Slot<'m>> {
        let size = slot_words(self.threads);
        let start = HEAD + (index as usize).checked_mul(size)?;
        Some(Slot { words: self.words.get(start..start.checked_add(size)?)?, threads: self.threads })
    }

    /// How many slots there are.
    pub fn len(&self) -> u32 {
        (self.words.len().saturating_sub(HEAD) / slot_words(self.threads)) as u32
    }

    /// Arbiter: this slot is given to a worker.
    pub fn note_use(&self, index: u32) {
        if let Some(used) = self.words.get(SLOTS_USED) {
            used.fetch_max(u64::from(index) + 1, Relaxed);
        }
    }

    /// The slots that workers are or were in; the arbiter gives the lowest free ones.
    pub fn used(&self) -> impl Iterator<Item = Slot<'m>> + use<'m> {
        let scoreboard = *self;
        let used = self.words.get(SLOTS_USED).map_or(0, |used| used.load(Relaxed)).min(u64::from(self.len()));
        (0..used as u32).filter_map(move |index| scoreboard.slot(index))
    }

    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One worker's slot.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'m> {
    words: &'m [AtomicU64],
    threads: u32,
}

/// A request in progress, as read by the arbiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// When the app was called.
    pub started: u64,
    /// When something last happened.
    pub progress: u64,
    /// Whether it waits for its client.
    pub waits_for_client: bool,
    /// `METHOD path`, cut at [`PATH_BYTES`], control characters replaced.
    pub target: String,
}

impl<'m> Slot<'m> {
    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Relaxed)
    }

    fn set(&self, word: usize, value: u64) {
        self.words[word].store(value, Relaxed);
    }

    fn add(&self, word: usize, value: u64) {
        // One writer a slot, so load and store do; with threads fetch_add is needed.
        self.words[word].fetch_add(value, Relaxed);
    }

    /// Arbiter: makes the slot ready for a new worker.
    pub fn clear(&self) {
        for word in self.words {
            word.store(0, Relaxed);
        }
    }

    /// Worker: takes the slot.
    pub fn claim(&self, age: u64, pid: u32, now: u64) {
        self.set(AGE, age);
        self.set(PID, u64::from(pid));
        self.set(HEARTBEAT, now);
        self.set(PROGRESS, now);
        self.set_state(State::Booting);
    }

    /// The worker's age, as it says.
    pub fn age(&self) -> u64 {
        self.get(AGE)
    }

    /// Worker: says what it is doing.
    pub fn set_state(&self, state: State) {
        self.words[STATE].store(state as u64, Release);
    }

    /// What the worker says it is doing.
    pub fn state(&self) -> State {
        State::from_word(self.words[STATE].load(Acquire))
    }

    /// Worker (sentinel): it is alive.
    pub fn beat(&self, now: u64) {
        self.set(HEARTBEAT, now);
    }

    /// Last heartbeat; one from the future counts as `now`.
    pub fn heartbeat(&self, now: u64) -> u64 {
        self.get(HEARTBEAT).min(now)
    }

    /// Worker (its loop): something happened.
    pub fn progress(&self, now: u64) {
        self.set(PROGRESS, now);
    }

    /// When its loop last said that something happened; never later than `now`.
    pub fn last_progress(&self, now: u64) -> u64 {
        self.get(PROGRESS).min(now)
    }

    /// Worker: a request begins on `thread`. `method` and `path` are what the access log would show.
    pub fn begin(&self, thread: u32, now: u64, method: &[u8], path: &[u8]) {
        let Some(record) = self.thread(thread) else { return };
        let seq = record[THREAD_SEQ].load(Relaxed);
        record[THREAD_SEQ].store(seq.wrapping_add(1), Release);
        let mut text = [0u8; PATH_BYTES];
        let mut length = 0;
        for part in [method, b" ", path] {
            let room = part.len().min(PATH_BYTES - length);
            text[length..length + room].copy_from_slice(&part[..room]);
            length += room;
        }
        for (word, bytes) in record[THREAD_TARGET..].iter().zip(text[..length].chunks(8)) {
            let mut eight = [0u8; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(eight), Relaxed);
        }
        record[THREAD_TARGET_LEN].store(length as u64, Relaxed);
        record[THREAD_WAITS].store(0, Relaxed);
        record[THREAD_PROGRESS].store(now, Relaxed);
        record[THREAD_START].store(now, Relaxed);
        record[THREAD_SEQ].store(seq.wrapping_add(2), Release);
        self.set(PROGRESS, now);
        self.add(REQUESTS, 1);
    }

    /// Worker: the request of `thread` got on, or begins or ends to wait for its client.
    pub fn touch(&self, thread: u32, now: u64, waits_for_client: bool) {
        if let Some(record) = self.thread(thread) {
            record[THREAD_WAITS].store(u64::from(waits_for_client), Relaxed);
            record[THREAD_PROGRESS].store(now, Relaxed);
        }
        self.set(PROGRESS, now);
    }

    /// Worker: the request of `thread` is over.
    pub fn end(&self, thread: u32, now: u64) {
        if let Some(record) = self.thread(thread) {
            let took = now.saturating_sub(record[THREAD_START].swap(0, Relaxed));
            let bucket = (64 - (took / 250_000).leading_zeros() as usize).min(LATENCY_BUCKETS - 1);
            self.add(BUCKETS + bucket, 1);
        }
        self.set(PROGRESS, now);
    }

    /// What `thread` is running, if it is in a request and the record could be read whole.
    pub fn in_flight(&self, thread: u32, now: u64) -> Option<InFlight> {
        let record = self.thread(thread)?;
        for _ in 0..3 {
            let seq = record[THREAD_SEQ].load(Acquire);
            let started = record[THREAD_START].load(Relaxed);
            if started == 0 {
                return None;
            }
            let length = (record[THREAD_TARGET_LEN].load(Relaxed) as usize).min(PATH_BYTES);
            let bytes: Vec<u8> =
                record[THREAD_TARGET..].iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).take(length).collect();
            let progress = record[THREAD_PROGRESS].load(Relaxed).min(now);
            let waits_for_client = record[THREAD_WAITS].load(Relaxed) != 0;
            if seq % 2 == 0 && record[THREAD_SEQ].load(Acquire) == seq {
                let target = bytes.iter().map(|&b| if (0x20..0x7f).contains(&b) { b as char } else { '?' }).collect();
                return Some(InFlight { started: started.min(now), progress, waits_for_client, target });
            }
        }
        None
    }

    /// All requests in progress.
    pub fn all_in_flight(&self, now: u64) -> Vec<InFlight> {
        (0..self.threads).filter_map(|thread| self.in_flight(thread, now)).collect()
    }

    /// Worker: bytes in and out, connections accepted and open, errors answered.
    pub fn count_connection(&self, accepted: u64, open: u64) {
        self.add(ACCEPTED, accepted);
        self.set(CONNECTIONS, open);
    }

    /// Worker: bytes received and sent.
    pub fn count_bytes(&self, received: u64, sent: u64) {
        self.add(RECEIVED, received);
        self.add(SENT, sent);
    }

    /// Worker: a request ended in an error of the server or app (500).
    pub fn count_error(&self) {
        self.add(ERRORS, 1);
    }

    /// Requests begun.
    pub fn requests(&self) -> u64 {
        self.get(REQUESTS)
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.get(CONNECTIONS)
    }

    /// Counts of requests by duration, see [`LATENCY_BUCKETS`].
    pub fn latencies(&self) -> [u64; LATENCY_BUCKETS] {
        std::array::from_fn(|i| self.get(BUCKETS + i))
    }

    fn thread(&self, thread: u32) -> Option<&'m [AtomicU64]> {
        if thread >= self.threads {
            return None;
        }
        let start = SLOT_HEAD + thread as usize * THREAD_WORDS;
        self.words.get(start..start + THREAD_WORDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(slots: u32, threads: u32) -> Vec<AtomicU64> {
        (0..size_bytes(slots, threads) / 8).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_request_is_seen_while_it_runs() {
        let words = memory(2, 1);
        let slot = Scoreboard::new(&words, 1).slot(1).unwrap();
        slot.claim(7, 4242, 10);
        assert_eq!((slot.age(), slot.state()), (7, State::Booting));
        slot.begin(0, 100, b"GET", b"/slow\x1b");
        let seen = slot.in_flight(0, 150).unwrap();
        assert_eq!((seen.target.as_str(), seen.started), ("GET /slow?", 100));
        slot.end(0, 1_000_100);
        assert_eq!(slot.in_flight(0, 150), None);
        assert_eq!(slot.latencies()[3], 1); // 1 ms: below 2 ms, not below 1 ms
        assert_eq!(slot.requests(), 1);
    }

    #[test]
    fn hostile_values_are_range_checked() {
        let words = memory(1, 1);
        for word in &words {
            word.store(u64::MAX - 1, Relaxed);
        }
        let slot = Scoreboard::new(&words, 1).slot(0).unwrap();
        assert_eq!(slot.heartbeat(5), 5);
        assert_eq!(slot.state(), State::Empty);
        let seen = slot.in_flight(0, 5).unwrap();
        assert_eq!((seen.started, seen.progress, seen.target.len()), (5, 5, PATH_BYTES));
        assert!(Scoreboard::new(&words, 1).slot(1).is_none());
        assert!(Scoreboard::new(&words, 1).slot(u32::MAX).is_none());
    }

    #[test]
    fn slots_in_use_are_walked_and_no_more() {
        let words = memory(8, 1);
        let board = Scoreboard::new(&words, 1);
        assert_eq!((board.len(), board.used().count()), (8, 0));
        board.note_use(2);
        board.note_use(0);
        board.slot(2).unwrap().claim(9, 1, 1);
        assert_eq!(board.used().map(|slot| slot.age()).collect::<Vec<_>>(), [0, 0, 9]);
        words[SLOTS_USED].store(u64::MAX, Relaxed);
        assert_eq!(board.used().count(), 8, "a hostile count ends at the last slot");
    }

    #[test]
    fn long_targets_are_cut() {
        let words = memory(1, 1);
        let slot = Scoreboard::new(&words, 1).slot(0).unwrap();
        slot.begin(0, 1, b"GET", &[b'a'; 4000]);
        assert_eq!(slot.in_flight(0, 2).unwrap().target.len(), PATH_BYTES);
    }
}
