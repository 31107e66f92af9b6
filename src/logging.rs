//! The logs: where they go, and the arbiter's own lines in them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, fchown, lchown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rgunicorn_logs::{Clock, Level, Writer, error_line};

use crate::sys::files;

/// How long the last lines may take to be written when the process ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    None,
    /// `-`: standard error for the error log, standard output for the access log.
    Standard,
    /// A file, appended to.
    File(String),
}

impl Target {
    /// From the setting.
    pub fn from_setting(value: Option<&str>) -> Target {
        match value {
            None | Some("") => Target::None,
            Some("-") => Target::Standard,
            Some(path) => Target::File(path.to_owned()),
        }
    }
}

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `errorlog`
    Error,
    /// `accesslog`
    Access,
}

/// Opens a log. Files get the workers' owner, who reopens nothing but may want to read them.
pub fn open(kind: Kind, target: &Target, owner: Option<(u32, u32)>) -> Result<Option<OwnedFd>, String> {
    let setting = match kind {
        Kind::Error => "errorlog",
        Kind::Access => "accesslog",
    };
    let opened = match (target, kind) {
        (Target::None, _) => return Ok(None),
        (Target::Standard, Kind::Error) => files::copy_of_stderr(),
        (Target::Standard, Kind::Access) => files::copy_of_stdout(),
        (Target::File(path), _) => match path.as_str() {
            // Opening these anew fails where they are sockets or belong to somebody else, and would move their position.
            "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => files::copy_of_stderr(),
            "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => files::copy_of_stdout(),
            _ => open_file(Path::new(path), owner).map(OwnedFd::from),
        },
    };
    opened.map(Some).map_err(|error| {
        let shown = match target {
            Target::File(path) => path,
            _ => "-",
        };
        format!("'{shown}' isn't writable: {error} ({setting})")
    })
}

fn open_file(path: &Path, owner: Option<(u32, u32)>) -> io::Result<File> {
    let opened = files::open_to_append(path)?;
    let found = opened.file.metadata()?;
    // Whoever may change the directory could have put another file there, by a link of either kind.
    if let Some((user, group)) = owner
        && opened.by_its_own_name
        && found.is_file()
        && found.nlink() == 1
    {
        // Not allowed to everybody, and nothing depends on it.
        let _ = fchown(&opened.file, Some(user), Some(group));
    }
    Ok(opened.file)
}

/// Gives a path to the workers' owner.
pub fn give_to(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    match owner {
        // Not following a link that somebody may have put there.
        Some((user, group)) => lchown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// The arbiter's own lines.
#[derive(Debug)]
pub struct Log {
    writer: Option<Writer>,
    level: Level,
    clock: Clock,
    /// Lines from before the log was open.
    early: Vec<(Level, String)>,
    /// The last line that told of an error, for somebody who does not see the log.
    last_error: Option<String>,
}

impl Default for Log {
    fn default() -> Log {
        Log { writer: None, level: Level::Info, clock: Clock::default(), early: Vec::new(), last_error: None }
    }
}

impl Log {
    /// From now on lines go to this descriptor (`None`: nowhere); those that were held back go first.
    pub fn open(&mut self, target: Option<OwnedFd>, level: Level) {
        self.level = level;
        // A writer has a thread: one is enough.
        match (&self.writer, target) {
            (Some(writer), Some(target)) => writer.reopen(target),
            (_, target) => self.writer = target.map(Writer::new),
        }
        for (level, text) in std::mem::take(&mut self.early) {
            self.write(level, &text);
        }
    }

    /// Goes on with the same log, opened again.
    pub fn reopen(&self, target: OwnedFd) {
        if let Some(writer) = &self.writer {
            writer.reopen(target);
        }
    }

    /// Whether it has been opened.
    pub fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes a line, or keeps it until the log is open.
    pub fn write(&mut self, level: Level, text: &str) {
        if level >= Level::Error {
            self.last_error = Some(text.to_owned());
        }
        let Some(writer) = &self.writer else {
            return self.early.push((level, text.to_owned()));
        };
        if level >= self.level {
            let mut line = String::with_capacity(text.len() + 64);
            error_line(&mut line, self.clock.error_stamp(SystemTime::now()), std::process::id(), level, text);
            writer.push(line.as_bytes());
        }
    }

    /// The last error.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Waits until everything is written, within bounds.
    pub fn flush(&self) {
        if let Some(writer) = &self.writer {
            writer.flush(FLUSH_LIMIT);
        }
    }
}

/// A log's descriptor, for others to be given.
pub fn share(fd: &Option<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    fd.as_ref().map(|fd| fd.as_fd().try_clone_to_owned()).transpose()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn owner_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().uid()
    }

    #[test]
    fn nobody_gets_a_file_by_a_link_in_his_directory() {
        let directory = tempfile::tempdir().unwrap();
        if owner_of(directory.path()) != 0 {
            // Nobody else can give files away.
            return;
        }
        let (his, victim) = (directory.path().join("his"), directory.path().join("victim"));
        std::fs::create_dir(&his).unwrap();
        std::fs::write(&victim, "").unwrap();
        chown(&his, Some(65534), Some(65534)).unwrap();
        let owner = Some((65534, 65534));
        let log = his.join("access.log");
        open_file(&log, owner).unwrap();
        assert_eq!(owner_of(&log), 65534);

        std::fs::remove_file(&log).unwrap();
        symlink(&victim, &log).unwrap();
        assert!(open_file(&log, owner).unwrap_err().to_string().contains("symbolic link"));
        std::fs::remove_file(&log).unwrap();
        std::fs::hard_link(&victim, &log).unwrap();
        open_file(&log, owner).unwrap();
        assert_eq!(owner_of(&victim), 0);
    }

    #[test]
    fn a_link_of_ours_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (log, link) = (directory.path().join("log"), directory.path().join("link"));
        symlink("log", &link).unwrap();
        open_file(&link, Some((65534, 65534))).unwrap();
        assert_eq!(owner_of(&log), owner_of(directory.path()));
    }
}
