//! USR2: another program takes over. It is up before this one is told to stop, and this one goes on if it is not.

use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::Order;
use rgunicorn_wire::message::Environment;

use super::core::{Core, Phase};
use super::event::Action;
use crate::sys::signals::name_of;
use crate::sys::{Pid, Status};

/// The new arbiter, as the old one sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// `pre_exec` runs in this generation's forkserver.
    Preparing(u32),
    /// It was started.
    Started {
        /// Its pid.
        pid: Pid,
        /// Its first worker is ready.
        ready: bool,
    },
}

/// How this arbiter came to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The arbiter that it is to take over from.
    pub old: Option<Pid>,
    /// It is process 1: its end would be the container's.
    pub is_init: bool,
}

impl Core {
    /// USR2.
    pub(super) fn begin_upgrade(&mut self, now: Duration) {
        let refusal = match (self.origin, self.upgrade, self.serving) {
            (Origin { is_init: true, .. }, ..) => {
                "as process 1 the server cannot be replaced: the container would end with it. Start a new container"
                    .into()
            }
            (Origin { old: Some(pid), .. }, ..) => {
                format!("this one has not taken over from the old arbiter (pid:{pid}) yet: stop that one first")
            }
            (_, Some(Upgrade::Started { pid, .. }), _) => {
                format!("a new arbiter (pid:{pid}) runs already: stop this one or that one first")
            }
            (_, Some(Upgrade::Preparing(_)), _) => "an upgrade is being prepared already".into(),
            (_, None, None) => "there is no forkserver to run pre_exec in at this moment: try again".into(),
            (_, None, Some(number)) => {
                self.upgrade = Some(Upgrade::Preparing(number));
                let limit = self.plan_of(number).boot_timeout;
                if let Some(generation) = self.generations.get_mut(&number) {
                    generation.deadline = Some(now + limit);
                }
                return self.tell(number, Order::PreExec);
            }
        };
        self.log(Level::Warning, format!("USR2 signal ignored: {refusal}"));
    }

    /// `pre_exec` has run.
    pub(super) fn upgrade_prepared(&mut self, environment: Environment) {
        if let (Some(Upgrade::Preparing(_)), Phase::Running) = (self.upgrade, &self.phase) {
            self.out.push(Action::Upgrade { environment });
        } else {
            self.upgrade = None;
        }
    }

    /// The new program runs.
    pub(super) fn upgrade_started(&mut self, pid: Pid) {
        self.upgrade = Some(Upgrade::Started { pid, ready: false });
        self.log(Level::Info, format!("Upgrade: the new arbiter (pid:{pid}) comes up beside this one"));
    }

    /// The new arbiter's first worker is ready.
    pub(super) fn upgrade_ready(&mut self) {
        if let Some(Upgrade::Started { pid, ready }) = &mut self.upgrade {
            *ready = true;
            let text = format!(
                "Upgrade: the new arbiter (pid:{pid}) serves beside this one; end this one (QUIT or TERM) to go on with it, \
                 or that one to go back"
            );
            self.log(Level::Info, text);
        }
    }

    /// It did not get as far as that.
    pub(super) fn upgrade_failed(&mut self, why: &str) {
        self.upgrade = None;
        self.log(Level::Error, format!("Upgrade failed, nothing has changed: {why}"));
    }

    /// A forkserver is gone; perhaps it ran `pre_exec`.
    pub(super) fn upgrade_lost(&mut self, number: u32) {
        if self.upgrade == Some(Upgrade::Preparing(number)) {
            self.upgrade_failed("the forkserver ended in pre_exec");
        }
    }

    /// Whether this was the new arbiter; then it is noted that it is gone.
    pub(super) fn upgrade_ended(&mut self, ended: Pid, status: Status) -> bool {
        let Some(Upgrade::Started { pid, ready }) = self.upgrade else { return false };
        if pid != ended {
            return false;
        }
        let how = match status {
            Status::Exited(code) => format!("ended with code {code}"),
            Status::Signaled(signal) => format!("was ended by {}", name_of(signal)),
        };
        self.upgrade = None;
        self.out.push(Action::UpgradeOver);
        self.alone_in_stop();
        if ready {
            self.log(Level::Warning, format!("The new arbiter (pid:{pid}) {how}; this one goes on"));
        } else {
            let text =
                format!("Upgrade failed, nothing has changed: the new arbiter (pid:{pid}) {how} before it was ready");
            self.log(Level::Error, text);
        }
        true
    }

    /// The arbiter that this one was to take over from is gone.
    pub(super) fn promoted(&mut self, _now: Duration) {
        if self.origin.old.take().is_some() {
            self.log(Level::Info, "Master has been promoted.");
            self.out.push(Action::Promote { ready: self.ever_ready && !self.stops() });
            self.alone_in_stop();
        }
    }

    /// Whether another arbiter listens at the same sockets.
    pub(super) fn shares_listeners(&self) -> bool {
        self.origin.old.is_some() || matches!(self.upgrade, Some(Upgrade::Started { .. }))
    }

    /// Whether the pidfile and the title of the service are this arbiter's.
    pub(super) fn is_promoted(&self) -> bool {
        self.origin.old.is_none()
    }

    /// `Master`, or `Master.2` until it is promoted.
    pub(super) fn title(&self) -> &'static str {
        if self.origin.old.is_some() { "Master.2" } else { "Master" }
    }
}
