//! The connections that wait, and the list of those that are ready.
//!
//! A connection is in the hands of one thread, or here. Whoever sees an event takes it out under the lock (which is held
//! for nanoseconds, never across a system call or Python); an event for a connection that somebody has leaves a mark,
//! and that somebody looks again before it lets go. The ready list is shared, so that a thread stuck in a request keeps
//! no other connection waiting.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::conn::{Conn, Phase};
use super::poll::Happened;

#[derive(Debug, Default)]
pub struct Table {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    free: Vec<u32>,
    ready: VecDeque<Work>,
    open: usize,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Free,
    Waiting {
        conn: Box<Conn>,
        queued: bool,
    },
    /// With what has happened meanwhile.
    Taken {
        pending: Happened,
    },
}

/// Something for a thread to do.
#[derive(Debug)]
pub enum Work {
    /// A connection in the table has an event.
    Token(u64),
    /// One that is in nobody's hands: new, or with more requests read than it was its turn for.
    Held(Box<Conn>),
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection its place, as taken by the caller; the token names it in the poll set.
    pub fn admit(&self) -> u64 {
        let mut inner = self.lock();
        let index = inner.free.pop().unwrap_or_else(|| {
            inner.entries.push(Entry { generation: 0, place: Place::Free });
            (inner.entries.len() - 1) as u32
        });
        let entry = &mut inner.entries[index as usize];
        // Never 0: see the poll set.
        entry.generation = entry.generation.wrapping_add(1).max(1);
        entry.place = Place::Taken { pending: Happened::default() };
        token(index, entry.generation)
    }

    /// Notes an event. Stale tokens (of a connection that is gone) are reported as false.
    pub fn event(&self, token: u64, happened: Happened) -> bool {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(place) = inner.entries.get_mut(index(token)).filter(|e| e.generation == generation(token)) else {
            return false;
        };
        match &mut place.place {
            Place::Free => return false,
            Place::Taken { pending } => {
                pending.input |= happened.input;
                pending.room |= happened.room;
                pending.hangup |= happened.hangup;
            }
            Place::Waiting { conn, queued } => {
                conn.hangup |= happened.hangup;
                if !*queued && happened.concerns(conn) {
                    *queued = true;
                    inner.ready.push_back(Work::Token(token));
                }
            }
        }
        true
    }

    /// Puts a connection to the end of the ready list.
    pub fn push(&self, conn: Box<Conn>) {
        self.lock().ready.push_back(Work::Held(conn));
    }

    /// Puts a connection to the front of the ready list: it has waited elsewhere already.
    pub fn push_first(&self, conn: Box<Conn>) {
        self.lock().ready.push_front(Work::Held(conn));
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        self.lock().ready.len()
    }

    /// The next ready connection, now the caller's.
    pub fn next(&self) -> Option<Box<Conn>> {
        let mut inner = self.lock();
        loop {
            match inner.ready.pop_front()? {
                Work::Held(conn) => return Some(conn),
                Work::Token(token) => {
                    if let Some(conn) = inner.take(token) {
                        return Some(conn);
                    }
                }
            }
        }
    }

    /// The first ready connection for which this is so, now the caller's.
    pub fn next_that(&self, fits: impl Fn(&Conn) -> bool) -> Option<Box<Conn>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let at = inner.ready.iter().position(|work| match work {
            Work::Held(conn) => fits(conn),
            Work::Token(token) => inner.entries.get(index(*token)).is_some_and(|entry| {
                entry.generation == generation(*token)
                    && matches!(&entry.place, Place::Waiting { conn, .. } if fits(conn))
            }),
        })?;
        match inner.ready.remove(at)? {
            Work::Held(conn) => Some(conn),
            Work::Token(token) => inner.take(token),
        }
    }

    /// Gives a connection back to wait. Returns it at once if an event came meanwhile.
    pub fn park(&self, conn: Box<Conn>) -> Option<Box<Conn>> {
        let Some(token) = conn.token else { return Some(conn) };
        let mut inner = self.lock();
        let entry = &mut inner.entries[index(token)];
        match &mut entry.place {
            Place::Taken { pending } if pending.concerns(&conn) => {
                *pending = Happened::default();
                return Some(conn);
            }
            _ => entry.place = Place::Waiting { conn, queued: false },
        }
        None
    }

    /// Forgets a connection that the caller has.
    pub fn forget(&self, token: u64) {
        let mut inner = self.lock();
        let entry = &mut inner.entries[index(token)];
        entry.place = Place::Free;
        inner.free.push(index(token) as u32);
    }

    /// Takes out all connections whose wait has ended (`deadline <= now`), or for which `also` says so.
    #[allow(clippy::vec_box, reason = "connections stay where they are; only their boxes move")]
    pub fn expired(&self, now: u64, also: impl Fn(&Conn) -> bool) -> Vec<Box<Conn>> {
        let mut inner = self.lock();
        let due: Vec<u64> = inner
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| matches!(&entry.place, Place::Waiting { conn, queued: false } if conn.deadline <= now || also(conn)))
            .map(|(index, entry)| token(index as u32, entry.generation))
            .collect();
        due.into_iter().filter_map(|token| inner.take(token)).collect()
    }

    /// Takes out one that waits, has no event, and for which this is so.
    pub fn take_waiting(&self, fits: impl Fn(&Conn) -> bool) -> Option<Box<Conn>> {
        let mut inner = self.lock();
        let waits = |entry: &Entry| matches!(&entry.place, Place::Waiting { conn, queued: false } if fits(conn));
        let at = inner.entries.iter().position(waits)?;
        let token = token(at as u32, inner.entries[at].generation);
        inner.take(token)
    }

    /// Takes out all connections that nobody has in hand: the engine ends.
    #[allow(clippy::vec_box, reason = "as above")]
    pub fn drain(&self) -> Vec<Box<Conn>> {
        let mut inner = self.lock();
        let mut all: Vec<Box<Conn>> = Vec::new();
        for work in std::mem::take(&mut inner.ready) {
            if let Work::Held(conn) = work {
                all.push(conn);
            }
        }
        for entry in &mut inner.entries {
            if matches!(entry.place, Place::Waiting { .. })
                && let Place::Waiting { conn, .. } = std::mem::replace(&mut entry.place, Place::Free)
            {
                all.push(conn);
            }
        }
        all
    }

    /// The sockets of all connections that nobody has in hand; in a child that the app forked, where another thread may
    /// have held the lock at the fork.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let Ok(inner) = self.inner.try_lock() else { return Vec::new() };
        let waiting = inner.entries.iter().filter_map(|entry| match &entry.place {
            Place::Waiting { conn, .. } => Some(conn.raw_fd()),
            _ => None,
        });
        let fresh = inner.ready.iter().filter_map(|work| match work {
            Work::Held(conn) => Some(conn.raw_fd()),
            Work::Token(_) => None,
        });
        waiting.chain(fresh).collect()
    }

    /// Connections that wait or are ready or in hand, as counted by [`Table::opened`] and [`Table::closed`].
    pub fn open(&self) -> usize {
        self.lock().open
    }

    /// A connection was accepted; returns how many are open.
    pub fn opened(&self) -> usize {
        let mut inner = self.lock();
        inner.open += 1;
        inner.open
    }

    /// A connection was closed; returns how many are open.
    pub fn closed(&self) -> usize {
        let mut inner = self.lock();
        inner.open = inner.open.saturating_sub(1);
        inner.open
    }
}

impl Happened {
    /// Whether there is something to do for the connection. That there is room is the first event of each, and no news to
    /// one that waits for a request.
    fn concerns(self, conn: &Conn) -> bool {
        self.input || self.hangup || self.room && matches!(conn.phase, Phase::Writing { .. })
    }
}

impl Inner {
    fn take(&mut self, token: u64) -> Option<Box<Conn>> {
        let entry = self.entries.get_mut(index(token)).filter(|e| e.generation == generation(token))?;
        if !matches!(entry.place, Place::Waiting { .. }) {
            return None;
        }
        match std::mem::replace(&mut entry.place, Place::Taken { pending: Happened::default() }) {
            Place::Waiting { conn, .. } => Some(conn),
            _ => None,
        }
    }
}

fn token(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

fn index(token: u64) -> usize {
    token as u32 as usize
}

fn generation(token: u64) -> u32 {
    (token >> 32) as u32
}
