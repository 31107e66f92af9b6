//! What a run of the server takes from the process it is: environment variables, start directory, user.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::{env, fs, io};

use crate::sys::users;

/// Taken once at the start, so that everything after it is a function of its arguments.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Environment variables. Bytes that are no UTF-8 are replaced by U+FFFD.
    pub vars: BTreeMap<String, String>,
    /// The directory that the server was started in.
    pub start_dir: PathBuf,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
}

impl Environment {
    /// Looks around.
    ///
    /// # Errors
    /// The working directory is gone.
    pub fn capture() -> io::Result<Self> {
        let vars: BTreeMap<_, _> = env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        let start_dir = start_dir(vars.get("PWD"))?;
        let (euid, egid) = users::effective_ids();
        Ok(Environment { vars, start_dir, euid, egid })
    }

    /// A variable that is set, even if to nothing.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str)
    }

    /// A path as seen from the start directory, absolute and without `.` and `..`.
    pub fn absolute(&self, path: &str) -> PathBuf {
        normal(&self.start_dir.join(path))
    }

    /// Gunicorn's default for the control socket.
    pub fn control_socket(&self) -> String {
        let runtime = self.var("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty() && Path::new(dir).is_dir());
        let path = match runtime {
            Some(dir) => Path::new(dir).join("gunicorn.ctl"),
            None => self.home().join(".gunicorn").join("gunicorn.ctl"),
        };
        path.to_string_lossy().into_owned()
    }

    fn home(&self) -> PathBuf {
        let home = self.var("HOME").map(PathBuf::from).or_else(|| users::home_of(self.euid));
        home.unwrap_or_else(|| PathBuf::from("/"))
    }
}

/// `$PWD` if it is this directory: it has the symbolic links in it that the operator used.
fn start_dir(pwd: Option<&String>) -> io::Result<PathBuf> {
    let real = env::current_dir()?;
    let same = |pwd: &&String| match (fs::metadata(pwd), fs::metadata(&real)) {
        (Ok(named), Ok(here)) => named.ino() == here.ino() && named.dev() == here.dev(),
        _ => false,
    };
    Ok(pwd.filter(same).map(PathBuf::from).unwrap_or(real))
}

/// Resolves `.` and `..` in the text of a path, without looking at the disk.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
