//! `--reload`, as the arbiter has it: whoever loads files tells of them, the watcher says when one has changed, and the
//! core starts a new generation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use rgunicorn_logs::Level;
use rgunicorn_wire::message::PythonConfig;

use super::Arbiter;
use super::event::Event;
use super::wait::WATCHER;
use crate::settings::ConfigSource;
use crate::watch::{News, Watcher};

/// The watcher, while a generation wants one.
#[derive(Debug, Default)]
pub struct Watch {
    watcher: Option<Watcher>,
    /// When each generation began.
    began: BTreeMap<u32, SystemTime>,
}

impl Watch {
    /// A generation's forkserver or worker has loaded these. `current` is the one that serves.
    pub(super) fn loaded(&self, current: u32, generation: u32, files: Vec<String>) {
        self.add(current, generation, files.into_iter().map(PathBuf::from).collect(), Vec::new());
    }

    fn add(&self, current: u32, generation: u32, files: Vec<PathBuf>, patterns: Vec<String>) {
        // What a generation that was superseded loads late is of no interest; one that was discarded is mended by a change
        // of its files.
        if let Some(watcher) = self.watcher.as_ref().filter(|_| generation >= current) {
            let began = self.began.get(&generation).copied().unwrap_or_else(SystemTime::now);
            watcher.add(generation, began, files, patterns);
        }
    }
}

impl Arbiter {
    /// Whether what a forkserver loads is to be reported from the start.
    pub(super) fn is_watching(&self) -> bool {
        self.watch.watcher.is_some()
    }

    /// A generation begins: what changes from now on, it may have read before.
    pub(super) fn generation_begins(&mut self, generation: u32) {
        self.watch.began.insert(generation, SystemTime::now());
    }

    /// A generation's settings are known: watches what they name, if it wants that.
    pub(super) fn watch_generation(&mut self, generation: u32) {
        let Some(wish) = self.estates.get(&generation).and_then(|estate| estate.config.reload.clone()) else { return };
        if self.watch.watcher.is_none() {
            let started =
                Watcher::start(wish.engine).and_then(|watcher| self.poller.watch(&watcher, WATCHER).map(|()| watcher));
            match started {
                Ok(watcher) => self.watch.watcher = Some(watcher),
                Err(error) => return self.log.write(Level::Error, &format!("reload: can't watch files: {error}")),
            }
        }
        let start = &self.start.directory;
        let mut files: Vec<PathBuf> = wish.files.iter().map(|name| start.join(name)).collect();
        files.extend(self.config_file());
        let base = PathBuf::from(glob::Pattern::escape(&start.display().to_string()));
        let patterns = wish.patterns.iter().map(|pattern| base.join(pattern).display().to_string()).collect();
        self.watch.add(self.current, generation, files, patterns);
    }

    /// A generation has taken over: only what it is made of counts from now on.
    pub(super) fn watch_only(&mut self, generation: u32) {
        self.watch.began = self.watch.began.split_off(&generation);
        let wish = self.current().and_then(|estate| estate.config.reload.as_ref());
        match (&self.watch.watcher, wish) {
            (Some(watcher), Some(wish)) => {
                watcher.turn_to(wish.engine);
                watcher.forget_before(generation);
            }
            _ => self.stop_watching(),
        }
    }

    /// A generation was discarded. It may have been the only one that wanted files to be watched.
    pub(super) fn watch_no_more_than_wanted(&mut self) {
        if !self.wants_watching() {
            self.stop_watching();
        }
    }

    fn wants_watching(&self) -> bool {
        self.current().is_some_and(|estate| estate.config.reload.is_some())
    }

    fn stop_watching(&mut self) {
        if let Some(watcher) = self.watch.watcher.take() {
            self.poller.forget(&watcher);
        }
    }

    /// What the watcher has to say.
    pub(super) fn hear_watcher(&mut self) {
        let news = self.watch.watcher.as_ref().map(Watcher::news).unwrap_or_default();
        for each in news {
            match each {
                News::Changed(path) => self.events.push_back(Event::FileChanged(path.display().to_string())),
                News::Warning(text) => self.log.write(Level::Warning, &text),
            }
        }
    }

    /// The file that the settings come from: what is wrong with it can keep Python from ever loading it.
    fn config_file(&self) -> Option<PathBuf> {
        let name = match self.start.invocation.config_source().ok()? {
            ConfigSource::Toml { path, .. } => path,
            ConfigSource::Python(PythonConfig::File(name)) => PathBuf::from(name),
            ConfigSource::Python(PythonConfig::Module(_)) | ConfigSource::None => return None,
        };
        Some(self.start.directory.join(name))
    }
}
