//! How a generation comes up, from its forkserver's start to serving, and what happens when it fails.

use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::message::Failure;
use rgunicorn_wire::{BUILD_ID, Order, Report, WIRE_VERSION};

use super::core::{Core, Phase};
use super::event::{Action, BindFailure, Plan};
use super::generation::{Generation, Purpose, Stage};
use crate::exit::Exit;
use crate::sys::process::Kill;
use crate::sys::signals::name_of;
use crate::sys::{Pid, Status};

/// Tries to bind an address that somebody else has, as in Gunicorn.
const BIND_TRIES: u32 = 5;
/// Between them.
const BIND_PAUSE: Duration = Duration::from_secs(1);
/// So many that end before any worker was ready are a start that has failed (a `pre_fork` that ends the process).
const MAX_FORKSERVER_DEATHS: u32 = 3;
/// A forkserver that has served for so long did not die of its start.
const STEADY: Duration = Duration::from_secs(5);

impl Core {
    pub(super) fn start_generation(&mut self, purpose: Purpose) -> u32 {
        self.last_generation += 1;
        let number = self.last_generation;
        let epoch = match purpose {
            Purpose::First | Purpose::Replacement => self.epoch,
            Purpose::Reload => number,
        };
        self.generations.insert(number, Generation::new(number, purpose, epoch));
        self.out.push(Action::StartForkserver { generation: number });
        number
    }

    pub(super) fn forkserver_started(&mut self, number: u32, pid: Pid, interpreter: String, now: Duration) {
        // It may have been given up before this was heard of; then nobody would end it.
        let Some(generation) = self.generations.get_mut(&number) else {
            return self.out.push(Action::Signal { pid, what: Kill::Kill });
        };
        generation.pid = Some(pid);
        generation.interpreter = interpreter;
        self.allow_time(number, now);
    }

    /// Gives a generation that comes up beside others its time for the next step. The first one has all the time it wants:
    /// there is no service that waits for it, and Gunicorn lets a preloaded app load for ever.
    fn allow_time(&mut self, number: u32, now: Duration) {
        let limit = self.plan_of(number).boot_timeout;
        if let Some(generation) = self.generations.get_mut(&number) {
            let limited =
                generation.purpose != Purpose::First && generation.comes_up() && generation.stage != Stage::Proving;
            generation.deadline = limited.then_some(now + limit);
        }
    }

    pub(super) fn forkserver_reads(&mut self, number: u32, name: String) {
        if let Some(generation) = self.generations.get_mut(&number) {
            generation.reads = Some(name);
        }
    }

    pub(super) fn on_report(&mut self, number: u32, report: Report, now: Duration) {
        self.allow_time(number, now);
        let Some(generation) = self.generations.get_mut(&number) else { return };
        match (generation.stage, report) {
            // A forkserver that was told to leave has nothing more to say.
            (Stage::Ending { .. }, _) => {}
            (_, Report::Hello { wire, build, .. }) => {
                generation.said_hello = true;
                if wire != WIRE_VERSION || build != BUILD_ID {
                    let message = format!(
                        "Error: the extension module is of build {build} and this program of {BUILD_ID}: rgunicorn \
                         changed on disk, or was installed in part. Install it again, or upgrade a running server with USR2"
                    );
                    self.generation_failed(number, &message, Exit::Failure, now);
                }
            }
            (Stage::Loading, Report::Loaded { settings }) => {
                generation.stage = Stage::Settling;
                self.out.push(Action::Settle { generation: number, settings });
            }
            (Stage::Starting, Report::Started { changed }) => {
                if !changed.is_empty() {
                    self.out.push(Action::Amend { generation: number, changed });
                }
                let generation = self.generations.get_mut(&number);
                match generation {
                    // The addresses have been bound all along.
                    Some(generation) if generation.purpose == Purpose::Replacement => {
                        generation.stage = Stage::Readying;
                        self.out.push(Action::Announce { generation: number });
                    }
                    Some(generation) => {
                        generation.stage = Stage::Binding { failed: 0, retry_at: None };
                        self.out.push(Action::Bind { generation: number });
                    }
                    None => {}
                }
            }
            (Stage::Readying, Report::ReadyDone) => self.begin_to_serve(number, now),
            // Of a reload, run late.
            (Stage::Serving { .. } | Stage::Superseded | Stage::Asked | Stage::Staying, Report::ReadyDone) => {}
            (_, Report::PreExecDone { environment }) => self.upgrade_prepared(environment),
            (Stage::Serving { .. } | Stage::Superseded | Stage::Asked | Stage::Staying, Report::Failed(failure))
                if failure.stage == "pre_exec" =>
            {
                let text = format!("pre_exec failed: {}\n{}", failure.message, failure.traceback);
                self.upgrade_failed(text.trim_end());
            }
            (Stage::Serving { .. } | Stage::Superseded | Stage::Asked | Stage::Staying, Report::Failed(failure)) => {
                let text = format!("{} failed: {}\n{}", failure.stage, failure.message, failure.traceback);
                self.log(Level::Error, text.trim_end());
            }
            (_, Report::Superseded { keeps }) => self.superseded(number, &keeps, now),
            (_, Report::Failed(failure)) => self.forkserver_failed(number, &failure, now),
            (_, Report::ForkFailed { age, why }) => self.fork_failed(age, &why, now),
            // The worker's own hello is what counts.
            (_, Report::Forked { .. }) => {}
            // Taken out on the way here.
            (_, Report::Files { .. }) => {}
            (
                stage,
                report @ (Report::Loaded { .. }
                | Report::Started { .. }
                | Report::ReadyDone
                | Report::Validated { .. }
                | Report::Checked),
            ) => {
                let message = format!("Error: the forkserver said {report:?} out of turn ({stage:?})");
                self.generation_failed(number, &message, Exit::Failure, now);
            }
        }
    }

    pub(super) fn on_settled(&mut self, number: u32, plan: Plan) {
        // It may have been given up meanwhile.
        let settling = self.generations.get_mut(&number).filter(|generation| generation.stage == Stage::Settling);
        let Some(generation) = settling else { return };
        let purpose = generation.purpose;
        let old_num_workers = match purpose {
            Purpose::First => None,
            Purpose::Reload | Purpose::Replacement => Some(self.target),
        };
        let num_workers = match purpose {
            Purpose::First | Purpose::Reload => plan.workers,
            Purpose::Replacement => self.target,
        };
        if purpose == Purpose::First {
            self.target = plan.workers;
        }
        generation.stage = Stage::Starting;
        let warnings = plan.warnings.clone();
        generation.plan = Some(plan);
        self.was_up = true;
        if purpose == Purpose::First {
            self.log(Level::Info, format!("Starting rgunicorn {}", rgunicorn_wire::VERSION));
        }
        if purpose != Purpose::Replacement {
            for warning in warnings {
                self.log(Level::Warning, warning);
            }
        }
        self.out.push(Action::Configure { generation: number, purpose, num_workers, old_num_workers });
    }

    pub(super) fn on_bound(&mut self, addresses: &[String], now: Duration) {
        let binding = self.generations.values_mut().find(|g| matches!(g.stage, Stage::Binding { .. }));
        let Some(generation) = binding else { return };
        let number = generation.number;
        if generation.purpose == Purpose::Reload {
            return self.begin_to_prove(number, now);
        }
        generation.stage = Stage::Readying;
        let class = generation.plan.as_ref().map(|plan| plan.worker_class.clone()).unwrap_or_default();
        self.log(Level::Info, format!("Listening at: {} ({})", addresses.join(","), std::process::id()));
        self.log(Level::Info, format!("Using worker: {class}"));
        self.out.push(Action::Announce { generation: number });
    }

    pub(super) fn on_bind_failed(&mut self, failure: &BindFailure, now: Duration) {
        let binding = self.generations.values_mut().find(|g| matches!(g.stage, Stage::Binding { .. }));
        let Some(generation) = binding else { return };
        let number = generation.number;
        let Stage::Binding { failed, .. } = generation.stage else { return };
        let failed = failed + 1;
        let BindFailure { address, error, in_use, hopeless } = failure;
        if *in_use {
            self.log(Level::Error, format!("Connection in use: {address}"));
        }
        self.log(Level::Error, format!("connection to {address} failed: {error}"));
        if *hopeless || failed >= BIND_TRIES {
            let message = format!("Error: can't listen at {address}: {error}");
            return self.generation_failed(number, &message, Exit::Failure, now);
        }
        if let Some(generation) = self.generations.get_mut(&number) {
            generation.stage = Stage::Binding { failed, retry_at: Some(now + BIND_PAUSE) };
        }
    }

    fn begin_to_serve(&mut self, number: u32, now: Duration) {
        if let Some(generation) = self.generations.get_mut(&number) {
            generation.stage = Stage::Serving { since: now };
            generation.deadline = None;
        }
        self.serving = Some(number);
        if self.reload_asked && self.candidate.is_none() {
            self.reload(now);
        }
        if matches!(self.phase, Phase::Booting) {
            self.phase = Phase::Running;
        }
        if self.target == 0 {
            // Allowed, as in Gunicorn; there is no worker to wait for.
            self.out.push(Action::AnnounceReady);
        }
        for order in std::mem::take(&mut self.orphans) {
            self.tell(number, order);
        }
    }

    fn forkserver_failed(&mut self, number: u32, failure: &Failure, now: Duration) {
        let traceback = failure.traceback.trim_end();
        let message = match traceback {
            "" => format!("Error: {}", failure.message),
            _ => format!("Error: {}\n{traceback}", failure.message),
        };
        self.generation_failed(number, &message, Exit::from_code(failure.exit), now);
    }

    /// A generation cannot come up. The first one ends the process; a later one is thrown away, and nothing has changed.
    pub(super) fn generation_failed(&mut self, number: u32, message: &str, exit: Exit, now: Duration) {
        let Some(generation) = self.generations.get_mut(&number) else { return };
        if let Stage::Ending { .. } = generation.stage {
            return;
        }
        match &self.phase {
            Phase::Booting => {
                self.out.push(Action::Complain(message.to_owned()));
                self.fail_start(exit, now);
            }
            Phase::Running if self.candidate == Some(number) => self.discard_candidate(number, message, now),
            Phase::Running => {
                self.log(Level::Error, message);
                let wait = self.forkserver_backoff.fail(now).unwrap_or_default().as_secs_f64();
                let text =
                    format!("Generation {number} could not start; the workers serve on. Next try in {wait:.1} s");
                self.log(Level::Error, text);
                self.end_generation(number, now);
            }
            Phase::Stopping(_) | Phase::Leaving(_) => self.end_generation(number, now),
        }
    }

    /// Has a forkserver leave: its link's closing tells it to, and it is killed if it does not.
    pub(super) fn end_generation(&mut self, number: u32, now: Duration) {
        let Some(generation) = self.generations.get_mut(&number) else { return };
        if self.serving == Some(number) {
            self.serving = None;
        }
        match generation.pid {
            Some(_) => {
                generation.stage = Stage::Ending { until: now + Duration::from_secs(1) };
                self.tell(number, Order::Exit { on_exit: false });
            }
            None => {
                self.generations.remove(&number);
                self.out.push(Action::Discard { generation: number });
            }
        }
    }

    /// Its link is closed: it is dying, or something in it closed all descriptors. Either way it is of no use.
    pub(super) fn forkserver_unlinked(&mut self, number: u32) {
        if self.serving == Some(number) {
            self.serving = None;
        }
        let Some(generation) = self.generations.get(&number) else { return };
        if let (false, Some(pid)) = (matches!(generation.stage, Stage::Ending { .. }), generation.pid) {
            self.out.push(Action::Signal { pid, what: Kill::Kill });
        }
    }

    /// A forkserver was reaped.
    pub(super) fn forkserver_ended(&mut self, number: u32, status: Status, now: Duration) {
        let Some(generation) = self.generations.remove(&number) else { return };
        self.upgrade_lost(number);
        self.out.push(Action::Discard { generation: number });
        if self.serving == Some(number) {
            self.serving = None;
        }
        if let Stage::Ending { .. } = generation.stage {
            return;
        }
        let how = match status {
            Status::Exited(code) => format!("ended by itself with code {code}"),
            Status::Signaled(signal) => format!("was ended by {}", name_of(signal)),
        };
        match &self.phase {
            Phase::Booting => {
                let interpreter = &generation.interpreter;
                let message = match generation.stage {
                    Stage::Loading if !generation.said_hello => format!(
                        "Error: the Python interpreter {interpreter} {how} before it could run rgunicorn: is it a CPython?"
                    ),
                    _ => format!("Error: the Python process {how} while {}", generation.doing()),
                };
                self.out.push(Action::Complain(message));
                self.fail_start(Exit::Failure, now);
            }
            Phase::Running if self.candidate == Some(number) => {
                let why = format!("the Python process {how} while {}", generation.doing());
                self.discard_candidate(number, &why, now);
            }
            // It only waited for its last workers.
            Phase::Running if !matches!(generation.stage, Stage::Serving { .. }) && !generation.comes_up() => {}
            Phase::Running => {
                let pid = generation.pid.map_or(0, |pid| pid.0);
                self.log(
                    Level::Error,
                    format!("Forkserver (pid:{pid}) {how} while {}; the workers serve on", generation.doing()),
                );
                if !self.ever_ready {
                    self.forkserver_deaths += 1;
                    if self.forkserver_deaths >= MAX_FORKSERVER_DEATHS {
                        return self.give_up_start(3, now);
                    }
                }
                // Its replacement is started at once, unless it is one that has just begun. Workers that it was to fork
                // end by their links.
                match generation.stage {
                    Stage::Serving { since } if now >= since + STEADY => self.forkserver_backoff.succeed(),
                    _ => {
                        self.forkserver_backoff.fail(now);
                    }
                }
            }
            Phase::Stopping(_) | Phase::Leaving(_) => {}
        }
    }

    pub(super) fn look_at_generations(&mut self, now: Duration) {
        let mut overdue = Vec::new();
        let mut retries = Vec::new();
        let mut stuck = Vec::new();
        for generation in self.generations.values_mut() {
            match generation.stage {
                Stage::Ending { until } if until <= now => {
                    generation.stage = Stage::Ending { until: now + Duration::from_secs(3600) };
                    overdue.extend(generation.pid);
                }
                _ if generation.deadline.is_some_and(|deadline| deadline <= now) => {
                    generation.deadline = None;
                    stuck.push((generation.number, generation.doing()));
                }
                Stage::Binding { failed, retry_at: Some(at) } if at <= now => {
                    generation.stage = Stage::Binding { failed, retry_at: None };
                    retries.push(generation.number);
                }
                _ => {}
            }
        }
        self.out.extend(overdue.into_iter().map(|pid| Action::Signal { pid, what: Kill::Kill }));
        self.out.extend(retries.into_iter().map(|generation| Action::Bind { generation }));
        for (number, doing) in stuck {
            self.end_stuck_forkserver(number, &format!("took too long {doing}"));
        }
        let somebody_forks = self.generations.values().any(|generation| {
            matches!(generation.stage, Stage::Serving { .. })
                || generation.comes_up() && generation.purpose != Purpose::Reload
        });
        if matches!(self.phase, Phase::Running) && !somebody_forks && self.forkserver_backoff.waits(now).is_none() {
            self.start_generation(Purpose::Replacement);
        }
    }

    /// A forkserver that does not do what it is told is killed, and replaced like any that dies.
    pub(super) fn end_stuck_forkserver(&mut self, number: u32, why: &str) {
        if self.serving == Some(number) {
            self.serving = None;
        }
        let Some(pid) = self.generations.get(&number).and_then(|generation| generation.pid) else { return };
        self.log(Level::Error, format!("Forkserver (pid:{pid}) {why}: killed"));
        self.out.push(Action::Signal { pid, what: Kill::Kill });
    }

    pub(super) fn generations_deadline(&self) -> Option<Duration> {
        let deadlines = self.generations.values().filter_map(|generation| match generation.stage {
            Stage::Ending { until } => Some(until),
            Stage::Binding { retry_at: Some(at), .. } => {
                Some(generation.deadline.map_or(at, |deadline| deadline.min(at)))
            }
            _ => generation.deadline,
        });
        deadlines.min()
    }
}
