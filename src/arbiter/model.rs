//! A made-up world that does to the arbiter whatever can be done to it, in any order, for 100,000 steps: hooks fail,
//! processes die or hang, signals of every kind arrive. What must hold at every step is checked at every step; now and
//! then everything is made to work again, and then the server must be as it should be.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rgunicorn_wire::message::Failure;
use rgunicorn_wire::{BUILD_ID, Order, Report, WIRE_VERSION, WorkerSays};

use super::core::{Board, Core, Phase};
use super::event::{Action, BindFailure, Event, FromWorker, Plan};
use super::fleet::Worker;
use super::upgrade::{Origin, Upgrade};
use crate::exit::Exit;
use crate::sys::process::Kill;
use crate::sys::{Pid, Signal, Status};

const STEPS_A_LIFE: u32 = 500;
const LIVES: u64 = 200;

/// splitmix64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// In so many of a hundred cases.
    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        (!choices.is_empty()).then(|| choices[self.below(choices.len())])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Forkserver(u32),
    Worker(u64),
    Heir,
}

/// Heartbeats of living workers are always fresh; their memory grows as the test says.
#[derive(Default)]
struct Eyes {
    now: RefCell<Duration>,
    fat: RefCell<BTreeSet<Pid>>,
}

impl Board for Eyes {
    fn heartbeat(&self, _: u32, _: u32) -> Option<Duration> {
        Some(*self.now.borrow())
    }

    fn resident(&self, pid: Pid) -> Option<u64> {
        Some(if self.fat.borrow().contains(&pid) { 1 << 40 } else { 1 << 20 })
    }
}

struct World {
    core: Core,
    random: Random,
    now: Duration,
    eyes: Eyes,
    alive: BTreeMap<Pid, Kind>,
    reaped: BTreeSet<Pid>,
    last_pid: i32,
    /// What the core has asked for and has no answer to yet.
    asked: Vec<Action>,
    /// Workers that have a pid and have not said hello, or not got ready.
    silent: Vec<(u64, Pid)>,
    booting: Vec<u64>,
    /// Told to leave; they do so when they like.
    leaving: BTreeSet<Pid>,
    /// Killed, or a worker whose link is closed: it can do nothing but end.
    killed: BTreeSet<Pid>,
    /// Everything works.
    kind: bool,
    surge: usize,
    exit: Option<Exit>,
    history: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let now = Duration::from_secs(1000);
        let (core, first) = Core::new(Origin::default(), now);
        let mut world = World {
            core,
            random: Random(seed),
            now,
            eyes: Eyes::default(),
            alive: BTreeMap::new(),
            reaped: BTreeSet::new(),
            last_pid: 1,
            asked: Vec::new(),
            silent: Vec::new(),
            booting: Vec::new(),
            leaving: BTreeSet::new(),
            killed: BTreeSet::new(),
            kind: true,
            surge: 1,
            exit: None,
            history: Vec::new(),
        };
        world.perform(first);
        world
    }

    fn ready(&self) -> usize {
        self.core.fleet.iter().filter(|worker| worker.is_ready()).count()
    }

    /// One event, and what must hold after it. `lost`: workers whose readiness the event itself takes.
    fn on(&mut self, event: Event, lost: usize) {
        if self.exit.is_some() {
            return;
        }
        *self.eyes.now.borrow_mut() = self.now;
        if self.history.len() > 6000 {
            self.history.remove(0);
        }
        self.history.push(format!("{:?} {event:?}", self.now));
        let before = self.ready();
        let running_before = matches!(self.core.phase, Phase::Running);
        let actions = self.core.on(event, self.now, &self.eyes);
        self.history.push(format!("    {actions:?}"));
        self.perform(actions);
        if !(running_before && matches!(self.core.phase, Phase::Running)) {
            return;
        }
        let target = self.core.target as usize;
        let (after, wanted) = (self.ready(), target.min(before.saturating_sub(lost)));
        assert!(after >= wanted, "{after} are ready, {before} were, {target} should be{}", self.story());
        let surge = self.core.generations.values().filter_map(|g| g.plan.as_ref()).map(|plan| plan.reload_surge).max();
        // Orders are older than the plan that counts now.
        self.surge = self.surge.max(surge.map_or(1, |surge| (surge as usize).min(64)));
        let limit = target + self.surge + 1;
        let counted = self.core.fleet.iter().filter(|worker| worker.counts()).count();
        assert!(counted <= limit, "{counted} workers, {limit} at most{}", self.story());
        assert!(self.core.generations.len() <= 8, "generations pile up{}", self.story());
    }

    fn story(&self) -> String {
        let core = &self.core;
        let fleet: String = core.fleet.iter().map(|worker| format!("\n  {worker:?}")).collect();
        let generations: String = core.generations.values().map(|g| format!("\n  {g:?}")).collect();
        format!(
            "\n{}\n{:?}, target {}, epoch {}, serving {:?}, candidate {:?}, roll {:?}, renewal {:?}{fleet}{generations}",
            self.history.join("\n"),
            core.phase,
            core.target,
            core.epoch,
            core.serving,
            core.candidate,
            core.roll,
            core.renewal
        )
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Signal { pid, what } => self.signalled(pid, what),
                Action::Retire { pid: Some(pid), .. } => {
                    self.check_not_reaped(pid);
                    self.leaving.insert(pid);
                }
                Action::Bury { age } => {
                    // Its link is closed: should it still come up, it leaves.
                    let orphan = self.alive.iter().find(|(_, kind)| **kind == Kind::Worker(age));
                    if let Some((&pid, _)) = orphan {
                        self.leaving.insert(pid);
                        self.killed.insert(pid);
                    }
                    self.booting.retain(|other| *other != age);
                    self.silent.retain(|(other, _)| *other != age);
                    self.asked.retain(|asked| !matches!(asked, Action::Fork { age: other, .. } if *other == age));
                }
                Action::Exit(exit) => {
                    self.exit = Some(exit);
                    // What was killed is as good as gone.
                    let stays = |(pid, kind): &(&Pid, &Kind)| **kind != Kind::Heir && !self.killed.contains(*pid);
                    let left: Vec<_> = self.alive.iter().filter(stays).collect();
                    assert!(left.is_empty(), "left behind: {left:?}{}", self.story());
                }
                Action::StartForkserver { .. }
                | Action::Settle { .. }
                | Action::Configure { .. }
                | Action::Bind { .. }
                | Action::Announce { .. }
                | Action::Fork { .. }
                | Action::Upgrade { .. } => self.asked.push(action),
                Action::Tell { order: Order::Superseded | Order::Exit { .. } | Order::PreExec, .. } => {
                    self.asked.push(action);
                }
                _ => {}
            }
        }
    }

    fn check_not_reaped(&self, pid: Pid) {
        assert!(!self.reaped.contains(&pid), "{pid} is somebody else by now{}", self.story());
    }

    fn signalled(&mut self, pid: Pid, what: Kill) {
        self.check_not_reaped(pid);
        if what != Kill::Usr1 {
            self.leaving.insert(pid);
        }
        if what == Kill::Kill {
            self.killed.insert(pid);
        }
    }

    fn born(&mut self, kind: Kind) -> Pid {
        self.last_pid += 1;
        let pid = Pid(self.last_pid);
        self.alive.insert(pid, kind);
        pid
    }

    fn pid_of(&self, number: u32) -> Option<Pid> {
        self.alive.iter().find(|(_, kind)| **kind == Kind::Forkserver(number)).map(|(pid, _)| *pid)
    }

    /// A process ends, and is reaped.
    fn ends(&mut self, pid: Pid, status: Status) {
        let Some(kind) = self.alive.remove(&pid) else { return };
        self.leaving.remove(&pid);
        let mut lost = 0;
        if let Kind::Worker(age) = kind {
            self.booting.retain(|other| *other != age);
            lost = usize::from(self.core.fleet.get(age).is_some_and(Worker::is_ready));
        }
        if let Kind::Forkserver(number) = kind {
            // The orders that it had are lost with it.
            let (orders, kept) = std::mem::take(&mut self.asked).into_iter().partition(|action| match action {
                Action::Fork { generation, .. } | Action::Configure { generation, .. } => *generation == number,
                Action::Announce { generation } | Action::Tell { generation, .. } => *generation == number,
                _ => false,
            });
            self.asked = kept;
            self.on(Event::Unlinked { generation: number }, 0);
            self.on(Event::Exited { pid, status }, 0);
            self.reaped.insert(pid);
            let orders: Vec<Action> = orders;
            for order in orders {
                if let Action::Fork { age, .. } = order {
                    self.on(Event::Worker { age, said: FromWorker::Closed }, 0);
                }
            }
            return;
        }
        self.on(Event::Exited { pid, status }, lost);
        self.reaped.insert(pid);
    }

    fn goes_wrong(&mut self, percent: usize) -> bool {
        !self.kind && self.random.percent(percent)
    }

    fn plan(&mut self) -> Plan {
        let seconds = Duration::from_secs;
        let limits = self.random.percent(30);
        Plan {
            workers: if self.kind { 3 } else { self.random.below(6) as u32 },
            timeout: Some(seconds(30)),
            graceful_timeout: seconds(5),
            boot_timeout: seconds(20),
            reload_surge: [1, 2, u32::MAX][self.random.below(3)],
            drain_delay: seconds(if self.random.percent(20) { 3 } else { 0 }),
            max_rss: if limits { [1 << 30, 1 << 20] } else { [0, 0] },
            max_lifetime: if limits { [seconds(60), seconds(10)] } else { [seconds(0); 2] },
            seed: self.random.next(),
            daemon: self.random.percent(50),
            worker_class: "sync".into(),
            warnings: Vec::new(),
        }
    }

    /// Answers one of the things that were asked for, or lets somebody go who was told to.
    fn answer(&mut self) -> bool {
        let choices = self.asked.len() + self.silent.len() + self.booting.len() + self.leaving.len();
        if choices == 0 {
            return false;
        }
        let mut choice = self.random.below(choices);
        if choice < self.asked.len() {
            let action = self.asked.remove(choice);
            self.answer_action(action);
            return true;
        }
        choice -= self.asked.len();
        if choice < self.silent.len() {
            let (age, pid) = self.silent.remove(choice);
            self.booting.push(age);
            self.on(Event::Worker { age, said: FromWorker::Said(WorkerSays::Hello, Some(pid)) }, 0);
            return true;
        }
        choice -= self.silent.len();
        if choice < self.booting.len() {
            let age = self.booting.remove(choice);
            self.boots(age);
            return true;
        }
        choice -= self.booting.len();
        if let Some(&pid) = self.leaving.iter().nth(choice) {
            let status = if self.random.percent(50) { Status::Exited(0) } else { Status::Signaled(9) };
            self.ends(pid, status);
            if !self.alive.contains_key(&pid) {
                self.leaving.remove(&pid);
            }
        }
        true
    }

    fn boots(&mut self, age: u64) {
        let Some(pid) = self.core.fleet.get(age).and_then(|worker| worker.pid) else { return };
        if self.goes_wrong(15) {
            let exit = 3 + self.random.below(2) as i32;
            let failed = WorkerSays::Failed { exit, reason: "made up".into() };
            self.on(Event::Worker { age, said: FromWorker::Said(failed, Some(pid)) }, 0);
            self.ends(pid, Status::Exited(exit));
        } else if !self.goes_wrong(5) {
            self.on(Event::Worker { age, said: FromWorker::Said(WorkerSays::Ready, Some(pid)) }, 0);
        }
    }

    fn answer_action(&mut self, action: Action) {
        let made_up = || Failure { stage: "hook".into(), message: "made up".into(), traceback: String::new(), exit: 1 };
        match action {
            Action::StartForkserver { generation } => {
                if self.goes_wrong(5) {
                    let message = "no interpreter".into();
                    return self.on(Event::Failed { generation, message, exit: Exit::Failure }, 0);
                }
                let pid = self.born(Kind::Forkserver(generation));
                self.on(Event::Started { generation, pid, interpreter: "python".into() }, 0);
                let build = if self.goes_wrong(3) { "another" } else { BUILD_ID };
                let hello = Report::Hello { wire: WIRE_VERSION, build: build.into(), python: "3".into() };
                self.on(Event::Reported { generation, report: hello }, 0);
                let loaded = Report::Loaded { settings: BTreeMap::new() };
                let report = if self.goes_wrong(10) { Report::Failed(made_up()) } else { loaded };
                self.on(Event::Reported { generation, report }, 0);
            }
            Action::Settle { generation, .. } => {
                let plan = self.plan();
                let failed = Event::Failed { generation, message: "bad value".into(), exit: Exit::Failure };
                let event = if self.goes_wrong(10) { failed } else { Event::Settled { generation, plan } };
                self.on(event, 0);
            }
            Action::Configure { generation, .. } => {
                let started = Report::Started { changed: BTreeMap::new() };
                let report = if self.goes_wrong(10) { Report::Failed(made_up()) } else { started };
                self.on(Event::Reported { generation, report }, 0);
            }
            Action::Bind { .. } => {
                let taken = BindFailure { address: "a".into(), error: "in use".into(), in_use: true, hopeless: false };
                let bound = Event::Bound { addresses: vec!["a".into()] };
                let event = if self.goes_wrong(15) { Event::BindFailed(taken) } else { bound };
                self.on(event, 0);
            }
            Action::Announce { generation } => {
                let report = if self.goes_wrong(10) { Report::Failed(made_up()) } else { Report::ReadyDone };
                self.on(Event::Reported { generation, report }, 0);
            }
            Action::Fork { generation, age, .. } => {
                if self.pid_of(generation).is_none() || self.goes_wrong(5) {
                    let report = Report::ForkFailed { age, why: "made up".into() };
                    return self.on(Event::Reported { generation, report }, 0);
                }
                let pid = self.born(Kind::Worker(age));
                if self.goes_wrong(5) {
                    // It dies before its hello has been read.
                    self.ends(pid, Status::Signaled(11));
                    let said = FromWorker::Said(WorkerSays::Hello, Some(pid));
                    self.on(Event::Worker { age, said }, 0);
                } else {
                    self.silent.push((age, pid));
                }
            }
            Action::Tell { generation, order: Order::Superseded } => {
                let keeps = if self.goes_wrong(20) { vec!["thread".to_owned()] } else { Vec::new() };
                self.on(Event::Reported { generation, report: Report::Superseded { keeps } }, 0);
            }
            Action::Tell { generation, order: Order::PreExec } => {
                let failed = Failure { stage: "pre_exec".into(), ..made_up() };
                let done = Report::PreExecDone { environment: BTreeMap::new() };
                let report = if self.goes_wrong(20) { Report::Failed(failed) } else { done };
                self.on(Event::Reported { generation, report }, 0);
            }
            Action::Tell { generation, .. } => {
                if let Some(pid) = self.pid_of(generation).filter(|_| !self.goes_wrong(10)) {
                    self.ends(pid, Status::Exited(0));
                }
            }
            Action::Upgrade { .. } => {
                if self.goes_wrong(20) {
                    return self.on(Event::UpgradeFailed("no such file".into()), 0);
                }
                let pid = self.born(Kind::Heir);
                self.on(Event::UpgradeStarted { pid }, 0);
            }
            _ => {}
        }
    }

    /// Something happens that nobody asked for.
    fn happens(&mut self) {
        let processes: Vec<Pid> = self.alive.keys().copied().collect();
        let known: Vec<u64> = self.core.fleet.iter().filter(|worker| worker.pid.is_some()).map(|w| w.age).collect();
        match self.random.below(13) {
            0..4 => {
                let often =
                    [Signal::Hup, Signal::Hup, Signal::Ttin, Signal::Ttou, Signal::Usr1, Signal::Usr2, Signal::Winch];
                if let Some(signal) = self.random.one_of(&often) {
                    // What the number of workers is now is checked against the new target; what goes below is meant.
                    let lost = if matches!(signal, Signal::Ttou | Signal::Winch) { self.ready() } else { 0 };
                    self.on(Event::Signal(signal), lost);
                }
            }
            4 if self.random.percent(3) => {
                if let Some(signal) = self.random.one_of(&[Signal::Term, Signal::Int, Signal::Quit]) {
                    self.on(Event::Signal(signal), 0);
                }
            }
            5 => {
                if let Some(pid) = self.random.one_of(&processes) {
                    let status = self.random.one_of(&[Status::Signaled(9), Status::Signaled(11), Status::Exited(1)]);
                    self.ends(pid, status.unwrap_or(Status::Exited(0)));
                }
            }
            6..9 => {
                let says =
                    [WorkerSays::Recycle, WorkerSays::StopAsked, WorkerSays::Silent { for_ms: 1 }, WorkerSays::Bye];
                let message = says[self.random.below(says.len())].clone();
                if let Some(age) = self.random.one_of(&known) {
                    let pid = self.core.fleet.get(age).and_then(|worker| worker.pid);
                    let takes = matches!(message, WorkerSays::StopAsked | WorkerSays::Silent { .. });
                    let lost = usize::from(takes && self.core.fleet.get(age).is_some_and(Worker::is_ready));
                    self.on(Event::Worker { age, said: FromWorker::Said(message, pid) }, lost);
                }
            }
            9 => {
                let heir = matches!(self.core.upgrade, Some(Upgrade::Started { ready: false, .. }));
                if heir {
                    self.on(Event::UpgradeReady, 0);
                }
            }
            10 => {
                if let Some(pid) = self.random.one_of(&processes) {
                    self.eyes.fat.borrow_mut().insert(pid);
                }
            }
            11 => self.on(Event::FileChanged("/srv/app.py".into()), 0),
            _ => self.on(Event::Exited { pid: Pid(1_000_000), status: Status::Exited(1) }, 0),
        }
    }

    fn time_passes(&mut self) {
        let due = self.core.deadline();
        self.now = match due.filter(|_| self.random.percent(70)) {
            Some(due) => self.now.max(due),
            None => self.now + Duration::from_millis(self.random.below(3000) as u64),
        };
        if due.is_some_and(|due| due <= self.now) {
            self.on(Event::Due, 0);
        }
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0..5 => {
                if !self.answer() {
                    self.time_passes();
                }
            }
            5..8 => self.time_passes(),
            _ => self.happens(),
        }
    }

    /// From now on everything works: within bounds, the server must be as it should.
    fn calm_down(&mut self) {
        self.kind = true;
        self.eyes.fat.borrow_mut().clear();
        for _ in 0..500 {
            if self.exit.is_some() || self.is_settled() {
                self.surge = 1;
                return;
            }
            while self.answer() {}
            self.now = self.core.deadline().map_or(self.now, |due| self.now.max(due)) + Duration::from_millis(1);
            self.on(Event::Due, 0);
        }
        panic!("it does not settle{}", self.story());
    }

    fn is_settled(&self) -> bool {
        let core = &self.core;
        let at_rest =
            self.asked.is_empty() && self.silent.is_empty() && self.booting.is_empty() && self.leaving.is_empty();
        matches!(core.phase, Phase::Running)
            && core.drain_until.is_none()
            && at_rest
            && core.candidate.is_none()
            && core.roll.is_none()
            && core.serving.is_some()
            && self.ready() == core.target as usize
            && core.fleet.iter().count() == core.target as usize
    }

    /// Nobody lives whom the core does not know of.
    fn all_accounted_for(&self) {
        for (pid, kind) in &self.alive {
            let known = match kind {
                _ if self.leaving.contains(pid) => true,
                Kind::Forkserver(number) => self.core.generations.get(number).is_some_and(|g| g.pid == Some(*pid)),
                Kind::Worker(age) => self.core.fleet.get(*age).is_some_and(|worker| worker.pid == Some(*pid)),
                Kind::Heir => matches!(self.core.upgrade, Some(Upgrade::Started { pid: heir, .. }) if heir == *pid),
            };
            assert!(known, "{kind:?} (pid {pid}) is unaccounted for{}", self.story());
        }
    }
}

#[test]
fn whatever_happens_the_server_serves_and_can_be_stopped() {
    let mut steps = 0;
    let mut ends = [0, 0];
    for seed in 0..LIVES {
        let mut world = World::new(seed);
        // Every other server gets up before the trouble begins.
        world.kind = seed % 2 == 0;
        if world.kind {
            world.calm_down();
            world.kind = false;
        }
        for step in 0..STEPS_A_LIFE {
            if world.exit.is_some() {
                world = World::new(seed ^ u64::from(step) << 32);
                world.kind = false;
            }
            world.step();
            steps += 1;
            if step % 100 == 99 {
                world.calm_down();
                if world.exit.is_none() {
                    world.all_accounted_for();
                }
                world.kind = false;
            }
        }
        world.calm_down();
        ends[usize::from(world.exit.is_some())] += 1;
        for _ in 0..1000 {
            if world.exit.is_some() {
                break;
            }
            if matches!(world.core.phase, Phase::Running | Phase::Booting) {
                world.on(Event::Signal(Signal::Term), 0);
            }
            if !world.answer() {
                world.now = world.core.deadline().map_or(world.now, |due| world.now.max(due));
                world.on(Event::Due, 0);
            }
        }
        assert!(world.exit.is_some(), "it does not end{}", world.story());
    }
    assert_eq!(steps, 100_000);
    assert!(ends[0] > 100, "most lives go on to the end: {ends:?}");
}
