//! All threads' Python stacks, written by faulthandler into memory: it needs no GIL, so they come also when it cannot be had.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long the stacks may take to be written.
const LIMIT: Duration = Duration::from_millis(200);
/// No byte came for so long: they are whole.
const QUIET: Duration = Duration::from_millis(10);
/// Most bytes that are read of them.
const MOST: u64 = 256 * 1024;

/// Where they are, and what makes them.
#[derive(Debug)]
pub struct Stacks {
    memory: OwnedFd,
    signal: i32,
}

impl Stacks {
    /// faulthandler is registered for this signal and writes to this memfd.
    pub fn new(memory: OwnedFd, signal: i32) -> Self {
        Stacks { memory, signal }
    }

    /// Has them written by this thread and waits until they are there, or the process is in trouble that stacks cannot show.
    pub fn write(&self, thread: i32) {
        let size = || nix::sys::stat::fstat(self.memory.as_fd()).map_or(0, |stat| stat.st_size);
        let before = size();
        crate::sys::signal_thread(thread, self.signal);
        let began = Instant::now();
        let (mut last, mut changed) = (before, began);
        while began.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(1));
            let size = size();
            if size != last {
                (last, changed) = (size, Instant::now());
            } else if last != before && changed.elapsed() > QUIET {
                return;
            }
        }
    }

    /// What has been written, which is gone then.
    pub fn take(&self) -> String {
        let mut text = Vec::new();
        let Ok(copy) = self.memory.try_clone() else { return String::new() };
        // A copy has the same position as faulthandler's own descriptor.
        let mut file = std::fs::File::from(copy);
        let _ = file.seek(SeekFrom::Start(0)).and_then(|_| Read::by_ref(&mut file).take(MOST).read_to_end(&mut text));
        let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        String::from_utf8_lossy(&text).into_owned()
    }
}
