//! `--reload`: notices that files have changed. A thread looks at them, so that a slow file system holds up nobody.
//!
//! What changed is not believed from events: they only say when to look. So every way of saving a file is noticed alike,
//! and polling differs by nothing but when it looks.

mod files;
mod thread;

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::SystemTime;

/// How changes are noticed (`reload_engine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// By inotify, and where that is not to be had, by looking again and again.
    Inotify,
    /// By looking again and again.
    Poll,
}

/// What settings say of it; names are as given, and count from the start directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// How.
    pub engine: Engine,
    /// Files to watch beside those that the app is made of.
    pub files: Vec<PathBuf>,
    /// The same, as patterns.
    pub patterns: Vec<String>,
}

/// A thread that watches, and the line to it.
#[derive(Debug)]
pub struct Watcher {
    orders: mpsc::Sender<Order>,
    news: mpsc::Receiver<News>,
    bell: UnixStream,
}

/// What the thread says.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// This file has changed, perhaps among others.
    Changed(PathBuf),
    /// For the log, as a warning.
    Warning(String),
}

/// What it is told.
#[derive(Debug)]
enum Order {
    Add { generation: u32, since: SystemTime, files: Vec<PathBuf>, patterns: Vec<String> },
    ForgetBefore(u32),
    Use(Engine),
    Seen(notify::Result<notify::Event>),
    Stop,
}

impl Watcher {
    /// Starts the thread.
    pub fn start(engine: Engine) -> io::Result<Watcher> {
        let (orders, inbox) = mpsc::channel();
        let (outbox, news) = mpsc::channel();
        let (bell, ringer) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ringer.set_nonblocking(true)?;
        thread::start(engine, inbox, orders.clone(), thread::Outbox::new(outbox, ringer))?;
        Ok(Watcher { orders, news, bell })
    }

    /// Goes on in this way.
    pub fn turn_to(&self, engine: Engine) {
        // A thread that is gone has nothing to watch for any more.
        let _ = self.orders.send(Order::Use(engine));
    }

    /// A generation is made of these files, too. It began at `since`: what has changed later may have been read before.
    pub fn add(&self, generation: u32, since: SystemTime, files: Vec<PathBuf>, patterns: Vec<String>) {
        let _ = self.orders.send(Order::Add { generation, since, files, patterns });
    }

    /// What only generations before this one were made of matters no more.
    pub fn forget_before(&self, generation: u32) {
        let _ = self.orders.send(Order::ForgetBefore(generation));
    }

    /// What there is to say; readable when there is something.
    pub fn news(&self) -> Vec<News> {
        let mut rung = [0; 64];
        while matches!((&self.bell).read(&mut rung), Ok(count) if count > 0) {}
        self.news.try_iter().collect()
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
    }
}
