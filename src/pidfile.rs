//! The pidfile: who the arbiter is, for scripts, and a lock against a second one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::sys::Pid;
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

    /// Writes our pid, whole or not at all: into a file beside it that is then renamed.
    pub fn create(path: &Path) -> Result<Pidfile, String> {
        Pidfile::check(path)?;
        let shown = path.display();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !directory.is_dir() {
            return Err(format!("{} doesn't exist. Can't create pidfile '{shown}'.", directory.display()));
        }
        let name = path.file_name().ok_or_else(|| format!("pidfile '{shown}' is no file name"))?;
        let draft = directory.join(format!(".{}.{}", name.to_string_lossy(), own_pid()));
        write_draft(&draft).and_then(|()| std::fs::rename(&draft, path)).map_err(|error| {
            let _ = std::fs::remove_file(&draft);
            format!("can't write pidfile '{shown}': {error}")
        })?;
        Ok(Pidfile { path: path.to_owned() })
    }

    /// Removes the file, if it is still ours.
    pub fn remove(self) {
        if holder(&self.path) == Some(own_pid()) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn write_draft(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    writeln!(file, "{}", own_pid())
}

fn holder(path: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(path).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0).map(Pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
    fn somebody_elses_pid_is_not_removed() {
        let directory = directory();
        let path = directory.path().join("g.pid");
        let pidfile = Pidfile::create(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        pidfile.remove();
        assert!(path.exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Pidfile::create(Path::new("/nonexistent/dir/g.pid")).unwrap_err();
        assert!(error.contains("/nonexistent/dir doesn't exist"), "{error}");
    }
}
