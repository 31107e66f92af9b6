//! What the operator asks for over the control socket: the same as by signals, with an answer.

use std::time::Duration;

use super::core::{Core, Phase};
use super::event::Action;
use super::keep::SLOTS;
use crate::sys::process::Kill;
use crate::sys::{Pid, Signal};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// So many workers more.
    Add(u32),
    /// So many fewer.
    Remove(u32),
    /// This worker finishes, and is replaced.
    Kill(Pid),
    /// A new generation; whether the answer is to come when that is over.
    Reload {
        /// It is.
        wait: bool,
    },
    /// The logs are opened again.
    Reopen,
    /// The server ends.
    Stop {
        /// Without waiting for requests.
        quick: bool,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There are to be so many workers, where there were so many.
    Resized {
        /// Before.
        previous: u32,
        /// Now.
        total: u32,
    },
    /// The worker was told.
    Told(Pid),
    /// There is no such worker.
    NoWorker(Pid),
    /// A reload was begun, or will be.
    Reloading,
    /// It is over, and this generation serves.
    Reloaded {
        /// Its number.
        generation: u32,
    },
    /// The logs are being opened.
    Reopening,
    /// The server stops.
    Stopping {
        /// Without waiting for requests.
        quick: bool,
    },
    /// It is not done, for this reason.
    Refused(String),
}

/// Who waits for the end of a reload.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    ticket: u64,
    /// The how manieth reload it has to be at least.
    reload: u64,
}

impl Core {
    /// A wish, and the number that its answer goes by.
    pub(super) fn on_wish(&mut self, ticket: u64, wish: Wish, now: Duration) {
        let answer = match (wish, &self.phase) {
            (Wish::Reopen, _) => {
                self.on_signal(Signal::Usr1, now);
                Answer::Reopening
            }
            (Wish::Stop { quick }, _) => {
                self.on_signal(if quick { Signal::Int } else { Signal::Term }, now);
                Answer::Stopping { quick }
            }
            (_, Phase::Booting) => Answer::Refused("the server is not up yet".into()),
            (_, Phase::Stopping(_) | Phase::Leaving(_)) => Answer::Refused("the server stops".into()),
            _ if self.drain_until.is_some() => Answer::Refused("the server stops".into()),
            (Wish::Add(count), Phase::Running) => self.resize_on_demand(self.target.saturating_add(count)),
            (Wish::Remove(count), Phase::Running) => {
                // As in Gunicorn there is always one left.
                self.resize_on_demand(self.target.saturating_sub(count).max(self.target.min(1)))
            }
            (Wish::Kill(pid), Phase::Running) => {
                if self.fleet.iter().any(|worker| worker.pid == Some(pid)) {
                    self.out.push(Action::Signal { pid, what: Kill::Term });
                    Answer::Told(pid)
                } else {
                    Answer::NoWorker(pid)
                }
            }
            (Wish::Reload { wait }, Phase::Running) => {
                self.on_signal(Signal::Hup, now);
                if wait {
                    let reload = self.reloads + u64::from(self.reload_asked);
                    return self.waiting.push(Waiting { ticket, reload });
                }
                Answer::Reloading
            }
        };
        self.out.push(Action::Answer { ticket, answer });
    }

    fn resize_on_demand(&mut self, total: u32) -> Answer {
        let previous = self.target;
        if total > SLOTS {
            return Answer::Refused(format!("{total} workers are more than one server can have ({SLOTS})"));
        }
        if total != previous {
            self.resize(total);
        }
        Answer::Resized { previous, total }
    }

    /// The last reload that was begun is over: whoever waited for it, or for one before it, is told.
    pub(super) fn reload_ended(&mut self, failure: Option<String>) {
        let answer = match (&failure, self.serving) {
            (None, Some(generation)) => Answer::Reloaded { generation },
            (None, None) => Answer::Refused("nothing serves".into()),
            (Some(why), _) => Answer::Refused(format!("Reload failed, nothing has changed: {why}")),
        };
        self.out.push(Action::ReloadEnded { failure });
        let reload = self.reloads;
        self.answer_waiting(|waiting| waiting.reload <= reload, &answer);
    }

    /// The server ends before any reload of theirs.
    pub(super) fn disappoint_waiting(&mut self) {
        self.answer_waiting(|_| true, &Answer::Refused("the server stops".into()));
    }

    fn answer_waiting(&mut self, whom: impl Fn(&Waiting) -> bool, answer: &Answer) {
        let (told, left) = std::mem::take(&mut self.waiting).into_iter().partition::<Vec<_>, _>(whom);
        self.waiting = left;
        self.out
            .extend(told.into_iter().map(|waiting| Action::Answer { ticket: waiting.ticket, answer: answer.clone() }));
    }
}
