//! The pidfile: who the arbiter is, for scripts, and a lock against a second one.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::sys::Pid;
use crate::sys::files::identity;
use crate::sys::process::{exists, own_pid};

/// A pidfile that this process has written.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
}

impl Pidfile {
    /// Whether the file may be written: the error says who has it. A file that holds no pid, or the pid of nobody, is
    /// stale and is no obstacle.
    pub fn check(path: &Path) -> Result<(), String> {
        match holder(path) {
            Some(pid) if pid != own_pid() && exists(pid) => Err(format!(
                "Already running on PID {pid} (or pid file '{}' is stale); stop that process, or remove the file",
                path.display()
            )),
            _ => Ok(()),
        }
    }

    /// Whether it could be written now, for a reload that must not fail later.
    pub fn try_out(path: &Path) -> Result<(), String> {
        Pidfile::check(path)?;
        let draft = draft_for(path)?;
        let _ = std::fs::remove_file(draft);
        if path.is_dir() {
            return Err(format!("can't write pidfile '{}': it is a directory", path.display()));
        }
        Ok(())
    }

    /// Writes our pid, whole or not at all: into a file beside it that is then renamed.
    pub fn create(path: &Path) -> Result<Pidfile, String> {
        Pidfile::check(path)?;
        let draft = draft_for(path)?;
        std::fs::rename(&draft, path).map_err(|error| {
            let _ = std::fs::remove_file(&draft);
            format!("can't write pidfile '{}': {error}", path.display())
        })?;
        Ok(Pidfile { path: path.to_owned() })
    }

    /// Whether both are one file, be it under two names of its directory.
    pub fn is_same_as(&self, other: &Pidfile) -> bool {
        self.path == other.path || identity(&self.path).is_some_and(|there| Some(there) == identity(&other.path))
    }

    /// Gives it another name, whose holder is gone. If he is not, it stays where it is.
    pub fn rename(&mut self, path: &Path) -> Result<(), String> {
        Pidfile::check(path)?;
        std::fs::rename(&self.path, path).map_err(|error| {
            format!("can't rename pidfile '{}' to '{}': {error}", self.path.display(), path.display())
        })?;
        self.path = path.to_owned();
        Ok(())
    }

    /// Removes the file, if it is still ours.
    pub fn remove(self) {
        if holder(&self.path) == Some(own_pid()) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A file beside it that holds our pid.
fn draft_for(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(format!("{} doesn't exist. Can't create pidfile '{shown}'.", directory.display()));
    }
    let name = path.file_name().ok_or_else(|| format!("pidfile '{shown}' is no file name"))?;
    write_draft(directory, &name.to_string_lossy()).map_err(|error| format!("can't write pidfile '{shown}': {error}"))
}

/// A new file of a name that nobody has; never one that somebody has put there for us, be it a link to another.
fn write_draft(directory: &Path, name: &str) -> io::Result<PathBuf> {
    for number in 0..100 {
        let path = directory.join(format!(".{name}.{}.{number}", own_pid()));
        let mut options = std::fs::File::options();
        let mut file = match options.write(true).create_new(true).mode(0o644).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            opened => opened?,
        };
        let written =
            file.set_permissions(std::fs::Permissions::from_mode(0o644)).and_then(|()| writeln!(file, "{}", own_pid()));
        return match written {
            Ok(()) => Ok(path),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        };
    }
    Err(io::Error::other("every name for a draft beside it is taken"))
}

fn holder(path: &Path) -> Option<Pid> {
    if !std::fs::metadata(path).ok()?.is_file() {
        // Reading it could wait for ever; it is replaced as any stale one is.
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0).map(Pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn it_holds_our_pid_and_goes_away() {
        let directory = directory();
        let path = directory.path().join("g.pid");
        let pidfile = Pidfile::create(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", own_pid()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
        pidfile.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_living_process_keeps_its_pidfile() {
        let directory = directory();
        let path = directory.path().join("g.pid");
        std::fs::write(&path, "1\n").unwrap();
        assert!(Pidfile::create(&path).unwrap_err().contains("Already running on PID 1"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn a_stale_or_senseless_one_is_replaced() {
        let directory = directory();
        let path = directory.path().join("g.pid");
        for old in ["2147483646\n", "rubbish", "", "-5", "0"] {
            std::fs::write(&path, old).unwrap();
            Pidfile::create(&path).unwrap();
        }
    }

    #[test]
    fn a_link_that_lies_in_wait_is_not_followed() {
        let directory = directory();
        let path = directory.path().join("g.pid");
        let victim = directory.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        for number in 0..10 {
            let trap = directory.path().join(format!(".g.pid.{}.{number}", own_pid()));
            std::os::unix::fs::symlink(&victim, trap).unwrap();
        }
        Pidfile::create(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn somebody_elses_pid_is_not_removed() {
        let directory = directory();
        let path = directory.path().join("g.pid");
        let pidfile = Pidfile::create(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        pidfile.remove();
        assert!(path.exists());
    }

    #[test]
    fn a_file_is_known_under_another_name() {
        let directory = directory();
        let link = directory.path().join("link");
        std::fs::create_dir(directory.path().join("run")).unwrap();
        std::os::unix::fs::symlink("run", &link).unwrap();
        let old = Pidfile::create(&link.join("g.pid")).unwrap();
        let new = Pidfile::create(&directory.path().join("run/g.pid")).unwrap();
        let other = Pidfile::create(&directory.path().join("g.pid")).unwrap();
        assert!(new.is_same_as(&old) && !new.is_same_as(&other));
    }

    #[test]
    fn a_name_that_a_living_process_has_is_not_taken() {
        let directory = directory();
        let (second, path) = (directory.path().join("g.pid.2"), directory.path().join("g.pid"));
        std::fs::write(&path, "1\n").unwrap();
        let error = Pidfile::create(&second).unwrap().rename(&path).unwrap_err();
        assert!(error.contains("Already running on PID 1"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
        assert!(second.exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Pidfile::create(Path::new("/nonexistent/dir/g.pid")).unwrap_err();
        assert!(error.contains("/nonexistent/dir doesn't exist"), "{error}");
    }
}
