//! The thread that watches: waits for events or for its next turn, looks, and tells of what has changed once it is quiet.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::files::{Files, Places};
use super::{Engine, News, Order};

/// Between two looks, when nobody tells of changes, as in Gunicorn.
const POLL: Duration = Duration::from_secs(1);
/// Twice as long without a change is quiet: what belongs together was written.
const PAUSE: Duration = Duration::from_millis(50);
/// A change is told of after this time even where it is never quiet.
const LONGEST: Duration = Duration::from_secs(2);

/// The line to whoever waits for news.
pub struct Outbox {
    news: Sender<News>,
    bell: UnixStream,
}

impl Outbox {
    pub fn new(news: Sender<News>, bell: UnixStream) -> Outbox {
        Outbox { news, bell }
    }

    fn tell(&self, news: News) {
        if self.news.send(news).is_ok() {
            // A bell that is full has been rung.
            let _ = (&self.bell).write(&[1]);
        }
    }
}

pub fn start(engine: Engine, inbox: Receiver<Order>, events: Sender<Order>, outbox: Outbox) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("watch".into());
    thread.spawn(move || {
        let mut watch = Watch {
            outbox,
            events,
            engine: Engine::Poll,
            files: Files::default(),
            places: Places::default(),
            inotify: None,
            watched: BTreeSet::new(),
            misplaced: false,
            changed: None,
            restless_since: None,
            look_at: None,
            poll_at: None,
            caught_up: false,
        };
        watch.turn_to(engine);
        watch.run(&inbox);
    })?;
    Ok(())
}

struct Watch {
    outbox: Outbox,
    /// Where inotify's events go to: back here.
    events: Sender<Order>,
    /// How it was asked to watch.
    engine: Engine,
    files: Files,
    places: Places,
    /// `None`: by polling.
    inotify: Option<RecommendedWatcher>,
    /// The directories that inotify was told of.
    watched: BTreeSet<PathBuf>,
    /// The places are no more what they were.
    misplaced: bool,
    /// What is to be told once it is quiet.
    changed: Option<PathBuf>,
    restless_since: Option<Instant>,
    look_at: Option<Instant>,
    poll_at: Option<Instant>,
    /// The last change that was told of is one that a generation may have missed while it came up. It is told of once: an
    /// app that writes a file of its own whenever it starts would start for ever.
    caught_up: bool,
}

impl Watch {
    fn run(&mut self, inbox: &Receiver<Order>) {
        loop {
            let due = [self.look_at, self.poll_at].into_iter().flatten().min();
            let order = match due {
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match order {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if self.look_at.is_some_and(|at| at <= now) || self.poll_at.is_some_and(|at| at <= now) {
                self.look(now);
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Add { generation, since, files, patterns } => {
                let late = self.files.add(generation, since, files);
                if !patterns.is_empty() {
                    self.files.add_patterns(generation, &patterns);
                    self.warn();
                }
                if let Some(path) = late.filter(|_| !self.caught_up && self.changed.is_none()) {
                    self.caught_up = true;
                    self.changed = Some(path);
                }
                self.misplaced = true;
                self.stir();
                if self.poll_at.is_none() && (self.inotify.is_none() || self.files.has_patterns()) {
                    self.poll_at = Some(Instant::now() + POLL);
                }
            }
            Order::ForgetBefore(generation) => {
                self.files.forget_before(generation);
                self.misplaced = true;
                self.stir();
            }
            Order::Seen(Ok(event)) => self.seen(&event),
            // Some events were lost, or the like: look.
            Order::Seen(Err(_)) => self.stir(),
            Order::Use(engine) => self.turn_to(engine),
            Order::Stop => {}
        }
    }

    fn seen(&mut self, event: &notify::Event) {
        if event.need_rescan() {
            self.misplaced = true;
            return self.stir();
        }
        let known = |path: &PathBuf| self.places.entries.contains(path) || self.files.matches_pattern(path);
        if !event.paths.iter().any(known) {
            return;
        }
        if matches!(event.kind, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
            // A directory of this name may be another one by now.
            let gone = |watched: &&PathBuf| event.paths.iter().any(|path| watched.starts_with(path));
            for path in self.watched.iter().filter(gone).cloned().collect::<Vec<_>>() {
                if let Some(inotify) = &mut self.inotify {
                    let _ = inotify.unwatch(&path);
                }
                self.watched.remove(&path);
            }
            self.misplaced = true;
        }
        self.stir();
    }

    /// Something may have changed: look when it is quiet.
    fn stir(&mut self) {
        let now = Instant::now();
        let since = *self.restless_since.get_or_insert(now);
        self.look_at = Some((now + PAUSE).min(since + LONGEST));
    }

    fn look(&mut self, now: Instant) {
        self.look_at = None;
        if self.poll_at.is_some_and(|at| at <= now) {
            self.poll_at = (self.inotify.is_none() || self.files.has_patterns()).then(|| Instant::now() + POLL);
        }
        if self.misplaced {
            self.misplaced = false;
            self.move_to_places();
        }
        let endless = self.restless_since.is_some_and(|since| now >= since + LONGEST);
        let changed = self.files.look();
        self.warn();
        if let Some(path) = changed {
            self.changed = Some(path);
            self.caught_up = false;
            self.misplaced = true;
            if !endless {
                return self.stir();
            }
        }
        self.restless_since = None;
        if let Some(path) = self.changed.take() {
            self.outbox.tell(News::Changed(path));
        }
    }

    fn warn(&mut self) {
        if let Some(warning) = self.files.warning() {
            self.outbox.tell(News::Warning(warning));
        }
    }

    fn turn_to(&mut self, engine: Engine) {
        if engine == self.engine {
            return;
        }
        self.engine = engine;
        self.inotify = None;
        self.watched.clear();
        match engine {
            Engine::Inotify => self.use_inotify(),
            Engine::Poll => self.poll_at = Some(Instant::now() + POLL),
        }
        self.misplaced = true;
        self.stir();
    }

    fn use_inotify(&mut self) {
        let events = self.events.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            // Somebody read a file: that happens all the time.
            if event.as_ref().is_ok_and(|event| is_reading(event.kind)) {
                return;
            }
            let _ = events.send(Order::Seen(event));
        };
        match notify::recommended_watcher(handler) {
            Ok(inotify) => self.inotify = Some(inotify),
            Err(error) => self.fall_back(&error),
        }
    }

    /// Waits for events where the files are now.
    fn move_to_places(&mut self) {
        let Some(inotify) = &mut self.inotify else { return };
        self.places = self.files.places();
        let gone: Vec<PathBuf> = self.watched.difference(&self.places.directories).cloned().collect();
        for path in gone {
            let _ = inotify.unwatch(&path);
            self.watched.remove(&path);
        }
        for path in &self.places.directories {
            if self.watched.contains(path) {
                continue;
            }
            match inotify.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone());
                }
                Err(error) if is_limit(&error) => return self.fall_back(&error),
                // It is gone again, or we may not read it.
                Err(_) => {}
            }
        }
    }

    fn fall_back(&mut self, error: &notify::Error) {
        self.inotify = None;
        self.watched.clear();
        self.poll_at = Some(Instant::now() + POLL);
        let text = format!(
            "reload: inotify is not to be had ({}); files are looked at once a second instead",
            why(error).trim_end_matches('.')
        );
        self.outbox.tell(News::Warning(text));
    }
}

fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(_)) && kind != EventKind::Access(AccessKind::Close(AccessMode::Write))
}

fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        // ENOSPC, EMFILE, ENFILE, ENOMEM.
        ErrorKind::Io(error) => matches!(error.raw_os_error(), Some(28 | 24 | 23 | 12)),
        _ => false,
    }
}

fn why(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => "fs.inotify.max_user_watches is reached".into(),
        ErrorKind::Io(error) if error.raw_os_error() == Some(24) => {
            "fs.inotify.max_user_instances or the limit of open files is reached".into()
        }
        ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}
