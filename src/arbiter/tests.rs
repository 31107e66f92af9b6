//! The life of a fleet with made-up pids and a clock that jumps: no process is started here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::{BUILD_ID, Order, Report, WIRE_VERSION, WorkerSays};

use super::core::{Board, Core, Phase};
use super::event::{Action, BindFailure, Event, FromWorker, Plan};
use super::generation::Purpose;
use super::upgrade::Origin;
use crate::exit::Exit;
use crate::sys::process::Kill;
use crate::sys::{Pid, Signal, Status};

const FORKSERVER: Pid = Pid(100);

/// Heartbeats, by generation and slot.
#[derive(Default)]
struct Hearts(RefCell<BTreeMap<(u32, u32), Duration>>, RefCell<BTreeMap<Pid, u64>>);

impl Board for Hearts {
    fn heartbeat(&self, generation: u32, slot: u32) -> Option<Duration> {
        self.0.borrow().get(&(generation, slot)).copied()
    }

    fn resident(&self, pid: Pid) -> Option<u64> {
        self.1.borrow().get(&pid).copied()
    }
}

struct World {
    core: Core,
    now: Duration,
    hearts: Hearts,
    actions: Vec<Action>,
    /// Ages whose fork was ordered, with their place.
    ordered: Vec<(u64, u32, u32)>,
    exit: Option<Exit>,
}

fn plan(workers: u32) -> Plan {
    Plan {
        workers,
        timeout: Some(Duration::from_secs(30)),
        graceful_timeout: Duration::from_secs(30),
        boot_timeout: Duration::from_secs(60),
        drain_delay: Duration::ZERO,
        max_rss: [0; 2],
        max_lifetime: [Duration::ZERO; 2],
        seed: 7,
        reload_surge: 1,
        daemon: false,
        worker_class: "sync".into(),
        warnings: Vec::new(),
    }
}

impl World {
    fn new() -> World {
        let now = Duration::from_secs(1000);
        let (core, actions) = Core::new(Origin::default(), now);
        let mut world =
            World { core, now, hearts: Hearts::default(), actions: Vec::new(), ordered: Vec::new(), exit: None };
        world.note(actions);
        world
    }

    /// A server with so many workers that are ready. Worker of age N has pid 1000 + N.
    fn with_workers(count: u32) -> World {
        let mut world = World::new();
        world.come_up(count);
        for age in 1..=u64::from(count) {
            world.hello(age);
            world.says(age, WorkerSays::Ready);
        }
        world.take();
        world
    }

    /// Up to the fork orders.
    fn come_up(&mut self, workers: u32) {
        self.on(started(1, FORKSERVER));
        self.reports(1, hello());
        self.reports(1, Report::Loaded { settings: BTreeMap::new() });
        self.on(Event::Settled { generation: 1, plan: plan(workers) });
        self.reports(1, Report::Started { changed: BTreeMap::new() });
        self.on(Event::Bound { addresses: vec!["http://127.0.0.1:1".into()] });
        self.reports(1, Report::ReadyDone);
    }

    fn on(&mut self, event: Event) {
        let actions = self.core.on(event, self.now, &self.hearts);
        self.note(actions);
    }

    fn note(&mut self, actions: Vec<Action>) {
        for action in &actions {
            match action {
                Action::Fork { generation, age, slot } => self.ordered.push((*age, *generation, *slot)),
                Action::Exit(exit) => self.exit = Some(*exit),
                _ => {}
            }
        }
        self.actions.extend(actions);
    }

    fn reports(&mut self, generation: u32, report: Report) {
        self.on(Event::Reported { generation, report });
    }

    fn hello(&mut self, age: u64) {
        self.on(Event::Worker { age, said: FromWorker::Said(WorkerSays::Hello, Some(pid(age))) });
    }

    fn says(&mut self, age: u64, message: WorkerSays) {
        self.on(Event::Worker { age, said: FromWorker::Said(message, Some(pid(age))) });
    }

    fn dies(&mut self, age: u64, status: Status) {
        self.on(Event::Exited { pid: pid(age), status });
    }

    fn signal(&mut self, signal: Signal) {
        self.on(Event::Signal(signal));
    }

    /// Sleeps until the next deadline, at most until so many seconds have passed; workers' hearts beat on.
    fn sleep(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.core.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.beat();
            self.on(Event::Due);
        }
        self.now = end;
        self.beat();
    }

    fn beat(&self) {
        for (_, generation, slot) in &self.ordered {
            self.hearts.0.borrow_mut().insert((*generation, *slot), self.now);
        }
    }

    /// What was done since the last look.
    fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn forks(&mut self) -> usize {
        self.take().iter().filter(|action| matches!(action, Action::Fork { .. })).count()
    }

    #[track_caller]
    fn did(&mut self, expected: Action) {
        let actions = self.take();
        assert!(actions.contains(&expected), "{expected:?} is not among {actions:#?}");
    }
}

fn pid(age: u64) -> Pid {
    Pid(1000 + age as i32)
}

fn started(generation: u32, pid: Pid) -> Event {
    Event::Started { generation, pid, interpreter: "'python3' (from $PATH)".into() }
}

fn hello() -> Report {
    Report::Hello { wire: WIRE_VERSION, build: BUILD_ID.into(), python: "3".into() }
}

#[test]
fn a_start_goes_from_the_configuration_to_the_forks() {
    let mut world = World::new();
    assert_eq!(world.take(), [Action::StartForkserver { generation: 1 }]);
    world.come_up(3);
    let actions = world.take();
    let order: Vec<&Action> = actions.iter().filter(|action| !matches!(action, Action::Log(..))).collect();
    assert!(matches!(order[0], Action::Settle { generation: 1, .. }), "{order:#?}");
    assert_eq!(
        *order[1],
        Action::Configure { generation: 1, purpose: Purpose::First, num_workers: 3, old_num_workers: None }
    );
    assert_eq!(*order[2], Action::Bind { generation: 1 });
    assert_eq!(*order[3], Action::Announce { generation: 1 });
    assert_eq!(*order[4], Action::Fork { generation: 1, age: 1, slot: 0 });
    assert_eq!(order.len(), 7);
    assert!(matches!(world.core.phase, Phase::Running));
}

#[test]
fn readiness_is_announced_with_the_first_ready_worker() {
    let mut world = World::new();
    world.come_up(2);
    world.hello(1);
    world.take();
    world.says(1, WorkerSays::Ready);
    world.did(Action::AnnounceReady);
    world.hello(2);
    world.says(2, WorkerSays::Ready);
    assert!(!world.take().contains(&Action::AnnounceReady));
}

#[test]
fn a_worker_that_dies_is_replaced_at_once() {
    let mut world = World::with_workers(2);
    world.sleep(10);
    world.dies(1, Status::Signaled(9));
    let actions = world.take();
    assert!(actions.contains(&Action::Bury { age: 1 }));
    assert!(actions.contains(&Action::Fork { generation: 1, age: 3, slot: 0 }), "{actions:#?}");
    assert!(
        actions.iter().any(|action| matches!(action, Action::Tell { order: Order::ChildExit { pid: 1001, .. }, .. }))
    );
}

#[test]
fn workers_that_die_right_after_they_were_ready_are_replaced_but_not_in_a_tight_loop() {
    let mut world = World::with_workers(1);
    world.dies(1, Status::Signaled(11));
    assert_eq!(world.forks(), 0);
    let mut forks = 0;
    for age in 2..12 {
        while world.ordered.len() < age as usize {
            world.sleep(1);
            forks += world.forks();
            assert!(world.now < Duration::from_secs(2000));
        }
        world.hello(age);
        world.says(age, WorkerSays::Ready);
        world.dies(age, Status::Signaled(11));
    }
    assert_eq!(forks, 10);
    assert!(world.now >= Duration::from_secs(1000 + 7), "a second between them in the end: {:?}", world.now);
}

#[test]
fn a_batch_that_is_killed_at_once_is_one_failure() {
    let mut world = World::with_workers(8);
    for age in 1..=8 {
        world.dies(age, Status::Signaled(9));
    }
    let warned = |action: &Action| matches!(action, Action::Log(rgunicorn_logs::Level::Warning, _));
    assert_eq!(world.take().iter().filter(|action| warned(action)).count(), 1);
    world.sleep(1);
    assert_eq!(world.forks(), 8);
}

#[test]
fn a_forkserver_that_carries_out_no_orders_is_killed() {
    let mut world = World::with_workers(1);
    world.sleep(10);
    world.signal(Signal::Ttin);
    world.sleep(61);
    world.did(Action::Signal { pid: FORKSERVER, what: Kill::Kill });
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Signaled(9) });
    world.did(Action::StartForkserver { generation: 2 });
}

#[test]
fn the_one_that_serves_is_not_let_go_for_one_that_does_not_yet() {
    let mut world = World::with_workers(1);
    world.signal(Signal::Ttin);
    world.signal(Signal::Ttin);
    world.signal(Signal::Ttou);
    world.signal(Signal::Ttou);
    let retired: Vec<u64> = world
        .take()
        .into_iter()
        .filter_map(|action| if let Action::Retire { age, .. } = action { Some(age) } else { None })
        .collect();
    assert_eq!(retired, [3, 2]);
    world.sleep(31);
    assert!(!world.take().iter().any(|action| matches!(action, Action::Report { .. })), "nobody to be killed");
}

#[test]
fn orders_go_out_a_few_at_a_time() {
    let mut world = World::new();
    world.come_up(100);
    assert_eq!(world.forks(), 8);
    world.hello(1);
    assert_eq!(world.forks(), 1);
}

#[test]
fn a_forkserver_that_dies_of_every_order_is_a_failed_start() {
    let mut world = World::new();
    world.come_up(1);
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(9) });
    for generation in 2..4 {
        world.sleep(5);
        world.on(started(generation, FORKSERVER));
        world.reports(generation, hello());
        world.reports(generation, Report::Loaded { settings: BTreeMap::new() });
        world.on(Event::Settled { generation, plan: plan(1) });
        world.reports(generation, Report::Started { changed: BTreeMap::new() });
        world.reports(generation, Report::ReadyDone);
        world.on(Event::Unlinked { generation });
        world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(9) });
    }
    assert_eq!(world.exit, Some(Exit::WorkerBoot));
}

#[test]
fn a_start_fails_only_after_every_worker_has_reported() {
    for (exit, expected) in [(3, Exit::WorkerBoot), (4, Exit::AppLoad)] {
        let mut world = World::new();
        world.come_up(2);
        for age in [1, 2] {
            world.hello(age);
        }
        world.says(1, WorkerSays::Failed { exit, reason: String::new() });
        world.dies(1, Status::Exited(exit));
        assert!(matches!(world.core.phase, Phase::Running), "the other one may still get ready");
        world.dies(2, Status::Exited(exit));
        world.did(Action::RemovePidfile);
        world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(0) });
        assert_eq!(world.exit, Some(expected));
    }
}

#[test]
fn a_boot_failure_beside_a_ready_worker_stops_nothing() {
    let mut world = World::new();
    world.come_up(2);
    world.hello(1);
    world.hello(2);
    world.dies(1, Status::Exited(3));
    world.says(2, WorkerSays::Ready);
    assert_eq!(world.forks(), 3, "the second try of the first one");
    world.hello(3);
    world.dies(3, Status::Exited(3));
    assert_eq!(world.forks(), 0, "the next one has to wait");
    world.sleep(1);
    assert_eq!(world.forks(), 1);
    assert_eq!(world.exit, None);
}

#[test]
fn a_worker_that_died_before_its_hello_was_read_is_accounted_for() {
    let mut world = World::with_workers(1);
    world.sleep(10);
    world.signal(Signal::Ttin);
    world.dies(2, Status::Exited(3));
    world.hello(2);
    world.did(Action::Bury { age: 2 });
}

#[test]
fn a_worker_that_is_killed_while_it_boots_is_tried_again_a_number_of_times() {
    let mut world = World::new();
    world.come_up(1);
    for age in 1..8 {
        world.hello(age);
        world.dies(age, Status::Signaled(11));
        world.sleep(40);
        assert_eq!(world.ordered.len() as u64, age + 1);
    }
    world.hello(8);
    world.dies(8, Status::Signaled(11));
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(0) });
    assert_eq!(world.exit, Some(Exit::WorkerBoot));
}

#[test]
fn strangers_are_nobodys_business() {
    let mut world = World::with_workers(1);
    world.on(Event::Exited { pid: Pid(4242), status: Status::Exited(1) });
    assert_eq!(world.take(), []);
}

#[test]
fn ttin_and_ttou_change_the_number_and_the_oldest_goes() {
    let mut world = World::with_workers(2);
    world.signal(Signal::Ttin);
    let actions = world.take();
    assert!(actions.contains(&Action::Tell { generation: 1, order: Order::NumWorkers { new: 3, old: 2 } }));
    assert!(actions.contains(&Action::Fork { generation: 1, age: 3, slot: 2 }));
    world.hello(3);
    world.says(3, WorkerSays::Ready);
    world.take();
    world.signal(Signal::Ttou);
    world.did(Action::Retire { age: 1, pid: Some(pid(1)), drain: false, heirs: true });
    world.signal(Signal::Ttou);
    world.did(Action::Retire { age: 2, pid: Some(pid(2)), drain: false, heirs: true });
    world.signal(Signal::Ttou);
    assert!(!world.take().iter().any(|action| matches!(action, Action::Retire { .. })), "one is always left");
}

#[test]
fn a_promotion_in_a_stop_announces_nothing_and_leaves_nobody_in_the_queue() {
    let mut world = World::with_workers(1);
    world.core.origin.old = Some(Pid(7));
    world.signal(Signal::Term);
    world.did(Action::Retire { age: 1, pid: Some(pid(1)), drain: false, heirs: false });
    world.on(Event::Promoted);
    let actions = world.take();
    for action in [
        Action::Promote { ready: false },
        Action::StopAccepting,
        Action::Retire { age: 1, pid: None, drain: true, heirs: false },
    ] {
        assert!(actions.contains(&action), "{actions:#?}");
    }
}

#[test]
fn who_was_to_leave_its_connections_to_others_is_told_when_they_leave_too() {
    let mut world = World::with_workers(2);
    world.signal(Signal::Ttou);
    world.did(Action::Retire { age: 1, pid: Some(pid(1)), drain: false, heirs: true });
    world.signal(Signal::Term);
    world.did(Action::Retire { age: 1, pid: None, drain: true, heirs: false });
}

#[test]
fn a_graceful_stop_lets_workers_finish_and_ends_with_zero() {
    let mut world = World::with_workers(2);
    world.signal(Signal::Term);
    let actions = world.take();
    for age in [1, 2] {
        assert!(
            actions.contains(&Action::Retire { age, pid: Some(pid(age)), drain: true, heirs: false }),
            "{actions:#?}"
        );
    }
    let stops = actions.iter().position(|action| *action == Action::StopAccepting).unwrap();
    let retires = actions.iter().position(|action| matches!(action, Action::Retire { .. })).unwrap();
    assert!(stops < retires, "nothing new may come in behind a worker that has drained the queue");
    world.dies(1, Status::Exited(0));
    assert_eq!(world.forks(), 0, "nobody is replaced");
    world.dies(2, Status::Exited(0));
    let actions = world.take();
    assert!(actions.contains(&Action::RemovePidfile));
    assert!(actions.contains(&Action::Tell { generation: 1, order: Order::Exit { on_exit: true } }));
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(0) });
    assert_eq!(world.exit, Some(Exit::Done));
}

#[test]
fn a_quick_stop_sends_quit_and_a_second_int_hurries_a_graceful_one() {
    for signal in [Signal::Int, Signal::Quit] {
        let mut world = World::with_workers(1);
        world.signal(signal);
        world.did(Action::Signal { pid: pid(1), what: Kill::Quit });
        let mut world = World::with_workers(1);
        world.signal(Signal::Term);
        world.signal(Signal::Term);
        world.take();
        world.signal(signal);
        world.did(Action::Signal { pid: pid(1), what: Kill::Quit });
        world.sleep(3);
        world.did(Action::Signal { pid: pid(1), what: Kill::Kill });
    }
}

#[test]
fn a_worker_that_ignores_everything_is_killed_after_the_graceful_timeout() {
    let mut world = World::with_workers(1);
    world.signal(Signal::Term);
    world.sleep(29);
    assert!(!world.take().contains(&Action::Signal { pid: pid(1), what: Kill::Kill }));
    world.sleep(2);
    let kills = world.take().iter().filter(|a| **a == Action::Signal { pid: pid(1), what: Kill::Kill }).count();
    assert_eq!(kills, 1);
    world.dies(1, Status::Signaled(9));
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(0) });
    assert_eq!(world.exit, Some(Exit::Done));
}

#[test]
fn an_on_exit_hook_that_hangs_is_ended() {
    let mut world = World::with_workers(0);
    world.signal(Signal::Term);
    world.sleep(60);
    world.did(Action::Signal { pid: FORKSERVER, what: Kill::Kill });
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Signaled(9) });
    assert_eq!(world.exit, Some(Exit::Done));
}

#[test]
fn a_stop_is_obeyed_while_the_server_still_comes_up() {
    // Before the interpreter has said anything, while the configuration is read, while hooks run.
    for steps in 0..4 {
        let mut world = World::new();
        world.on(started(1, FORKSERVER));
        if steps > 0 {
            world.reports(1, hello());
        }
        if steps > 1 {
            world.reports(1, Report::Loaded { settings: BTreeMap::new() });
            world.on(Event::Settled { generation: 1, plan: plan(1) });
        }
        if steps > 2 {
            world.reports(1, Report::Started { changed: BTreeMap::new() });
        }
        world.signal(Signal::Int);
        world.sleep(5);
        world.did(Action::Signal { pid: FORKSERVER, what: Kill::Kill });
        world.on(Event::Exited { pid: FORKSERVER, status: Status::Signaled(9) });
        assert_eq!(world.exit, Some(Exit::Done), "after {steps} steps");
    }
}

#[test]
fn a_worker_that_was_being_forked_when_the_stop_came_is_not_waited_for() {
    let mut world = World::with_workers(1);
    world.signal(Signal::Ttin);
    world.signal(Signal::Term);
    world.did(Action::Bury { age: 2 });
    world.hello(2);
    world.dies(2, Status::Exited(0));
    world.dies(1, Status::Exited(0));
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(0) });
    assert_eq!(world.exit, Some(Exit::Done));
}

#[test]
fn a_term_that_a_worker_got_from_outside_replaces_it_unless_the_group_was_meant() {
    let mut world = World::with_workers(1);
    world.says(1, WorkerSays::StopAsked);
    assert_eq!(world.take(), [], "ours may be on its way");
    world.sleep(1);
    let actions = world.take();
    assert!(
        actions.contains(&Action::Retire { age: 1, pid: Some(pid(1)), drain: false, heirs: false }),
        "{actions:#?}"
    );
    assert!(actions.iter().any(|action| matches!(action, Action::Fork { .. })));

    let mut world = World::with_workers(1);
    world.says(1, WorkerSays::StopAsked);
    world.signal(Signal::Term);
    world.sleep(1);
    assert_eq!(world.forks(), 0);
}

#[test]
fn a_silent_worker_is_reported_aborted_and_killed() {
    let mut world = World::with_workers(1);
    world.sleep(10);
    world.says(1, WorkerSays::Silent { for_ms: 30_000 });
    let actions = world.take();
    let report = actions.iter().position(|action| matches!(action, Action::Report { age: 1, .. })).unwrap();
    let abort = actions.iter().position(|a| *a == Action::Signal { pid: pid(1), what: Kill::Abort }).unwrap();
    assert!(report < abort, "what it was doing is looked at before it is disturbed");
    assert!(actions.iter().any(|action| matches!(action, Action::Fork { .. })), "its place is taken at once");
    world.sleep(2);
    world.did(Action::Signal { pid: pid(1), what: Kill::Kill });
    world.dies(1, Status::Signaled(9));
    assert_eq!(world.exit, None);
}

#[test]
fn a_frozen_process_is_noticed_by_its_heart() {
    let mut world = World::with_workers(1);
    world.hearts.0.borrow_mut().insert((1, 0), world.now);
    // Its heart stops; the arbiter's own clock goes on, deadline by deadline.
    for _ in 0..40 {
        world.now += Duration::from_secs(1);
        world.on(Event::Due);
    }
    world.did(Action::Signal { pid: pid(1), what: Kill::Abort });
}

#[test]
fn a_pause_of_the_whole_machine_kills_nobody() {
    let mut world = World::with_workers(1);
    world.hearts.0.borrow_mut().insert((1, 0), world.now);
    world.on(Event::Due);
    world.now += Duration::from_secs(3600);
    world.on(Event::Due);
    assert_eq!(world.take(), []);
    // But it has one more period only.
    world.now += Duration::from_secs(31);
    world.on(Event::Due);
    world.did(Action::Signal { pid: pid(1), what: Kill::Abort });
}

#[test]
fn a_worker_that_boots_for_too_long_is_ended() {
    let mut world = World::new();
    world.come_up(1);
    world.hello(1);
    world.sleep(59);
    assert!(!world.take().contains(&Action::Signal { pid: pid(1), what: Kill::Abort }));
    world.sleep(2);
    world.did(Action::Signal { pid: pid(1), what: Kill::Abort });
    world.dies(1, Status::Signaled(6));
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(0) });
    assert_eq!(world.exit, Some(Exit::WorkerBoot));
}

#[test]
fn max_requests_replaces_first_and_one_at_a_time() {
    let mut world = World::with_workers(2);
    world.sleep(10);
    world.says(1, WorkerSays::Recycle);
    world.says(2, WorkerSays::Recycle);
    assert_eq!(world.forks(), 1);
    world.hello(3);
    assert!(!world.take().iter().any(|action| matches!(action, Action::Retire { .. })), "it serves on");
    world.says(3, WorkerSays::Ready);
    let actions = world.take();
    assert!(actions.contains(&Action::Retire { age: 1, pid: Some(pid(1)), drain: false, heirs: true }));
    assert_eq!(
        actions.iter().filter(|action| matches!(action, Action::Fork { .. })).count(),
        1,
        "now the other's turn"
    );
    world.dies(1, Status::Exited(0));
    world.hello(4);
    world.says(4, WorkerSays::Ready);
    world.did(Action::Retire { age: 2, pid: Some(pid(2)), drain: false, heirs: true });
    world.dies(2, Status::Exited(0));
    assert_eq!(world.forks(), 0);
}

#[test]
fn a_replacement_that_cannot_boot_leaves_the_old_worker_serving() {
    let mut world = World::with_workers(1);
    world.sleep(10);
    world.says(1, WorkerSays::Recycle);
    for _ in 0..5 {
        world.sleep(40);
        let age = world.ordered.last().unwrap().0;
        world.hello(age);
        world.dies(age, Status::Exited(3));
    }
    assert!(!world.take().iter().any(|action| matches!(action, Action::Retire { .. })));
    assert_eq!(world.exit, None);
}

#[test]
fn a_killed_forkserver_is_replaced_and_the_workers_serve_on() {
    let mut world = World::with_workers(2);
    world.sleep(10);
    world.on(Event::Unlinked { generation: 1 });
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Signaled(9) });
    world.did(Action::StartForkserver { generation: 2 });
    world.dies(1, Status::Signaled(9));
    assert_eq!(world.forks(), 0, "nobody can fork now");
    world.on(started(2, Pid(200)));
    world.reports(2, hello());
    world.reports(2, Report::Loaded { settings: BTreeMap::new() });
    world.on(Event::Settled { generation: 2, plan: plan(2) });
    world.did(Action::Configure {
        generation: 2,
        purpose: Purpose::Replacement,
        num_workers: 2,
        old_num_workers: Some(2),
    });
    world.reports(2, Report::Started { changed: BTreeMap::new() });
    world.reports(2, Report::ReadyDone);
    let actions = world.take();
    assert!(!actions.contains(&Action::Bind { generation: 2 }), "the sockets were there all along");
    assert!(actions.contains(&Action::Fork { generation: 2, age: 3, slot: 0 }), "{actions:#?}");
    let orphan = |a: &&Action| matches!(a, Action::Tell { generation: 2, order: Order::ChildExit { pid: 1001, .. } });
    assert_eq!(actions.iter().filter(orphan).count(), 1, "child_exit runs in the replacement");
}

#[test]
fn a_replacement_that_cannot_start_is_tried_again_later() {
    let mut world = World::with_workers(1);
    world.sleep(10);
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Signaled(9) });
    for generation in 2..6 {
        world.did(Action::StartForkserver { generation });
        let message = "Error: no interpreter".to_owned();
        world.on(Event::Failed { generation, message, exit: Exit::Failure });
        world.sleep(40);
    }
    assert_eq!(world.exit, None);
}

#[test]
fn the_first_generation_that_fails_ends_the_process_with_its_code() {
    let mut world = World::new();
    world.on(started(1, FORKSERVER));
    world.reports(1, hello());
    let failure = rgunicorn_wire::message::Failure {
        stage: "config".into(),
        message: "Failed to read config file: x.py".into(),
        traceback: "Traceback".into(),
        exit: 1,
    };
    world.reports(1, Report::Failed(failure));
    world.did(Action::Complain("Error: Failed to read config file: x.py\nTraceback".into()));
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(0) });
    assert_eq!(world.exit, Some(Exit::Failure));
}

#[test]
fn an_interpreter_that_ends_by_itself_ends_the_start() {
    let mut world = World::new();
    world.on(started(1, FORKSERVER));
    world.on(Event::Unlinked { generation: 1 });
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(7) });
    let message = "Error: the Python interpreter 'python3' (from $PATH) ended by itself with code 7 before it could run \
                   rgunicorn: is it a CPython?";
    world.did(Action::Complain(message.into()));
    assert_eq!(world.exit, Some(Exit::Failure));

    let mut world = World::new();
    world.on(started(1, FORKSERVER));
    world.on(Event::Reads { generation: 1, name: "conf.py".into() });
    world.reports(1, hello());
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Signaled(9) });
    world.did(Action::Complain("Error: the Python process was ended by SIGKILL while reading conf.py".into()));
}

#[test]
fn another_build_on_disk_is_refused() {
    let mut world = World::new();
    world.on(started(1, FORKSERVER));
    world.reports(1, Report::Hello { wire: WIRE_VERSION, build: "0.0.0+other".into(), python: "3".into() });
    assert!(world.take().iter().any(|action| matches!(action, Action::Complain(text) if text.contains("USR2"))));
}

#[test]
fn an_address_in_use_is_tried_five_times() {
    let mut world = World::new();
    world.on(started(1, FORKSERVER));
    world.reports(1, hello());
    world.reports(1, Report::Loaded { settings: BTreeMap::new() });
    world.on(Event::Settled { generation: 1, plan: plan(1) });
    world.reports(1, Report::Started { changed: BTreeMap::new() });
    let failure = |hopeless| BindFailure { address: "a:1".into(), error: "in use".into(), in_use: true, hopeless };
    let mut tries = 0;
    while world.take().contains(&Action::Bind { generation: 1 }) {
        tries += 1;
        world.on(Event::BindFailed(failure(false)));
        world.sleep(1);
    }
    assert_eq!(tries, 5);
    world.on(Event::Exited { pid: FORKSERVER, status: Status::Exited(0) });
    assert_eq!(world.exit, Some(Exit::Failure));
}

#[test]
fn a_file_that_changed_is_a_reload_in_its_time() {
    let changed = || Event::FileChanged("/srv/app.py".into());
    let mut world = World::with_workers(1);
    world.on(changed());
    world.did(Action::Log(Level::Info, "Reloading: /srv/app.py modified".into()));
    world.on(changed());
    let actions = world.take();
    assert!(actions.contains(&Action::Abandon { generation: 2 }), "it may have read the file before: {actions:?}");
    assert!(actions.contains(&Action::StartForkserver { generation: 3 }));

    // While the first generation comes up, it is remembered.
    let mut world = World::new();
    world.on(started(1, FORKSERVER));
    world.on(changed());
    assert!(!world.take().contains(&Action::StartForkserver { generation: 2 }));

    // When the server stops, it means nothing.
    let mut world = World::with_workers(1);
    world.signal(Signal::Term);
    world.take();
    world.on(changed());
    assert!(!world.take().contains(&Action::AnnounceReload));
}
