//! Descriptors and files as the kernel sees them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};

/// Sockets that this process inherited and nobody has adopted yet, by number. Only these may be adopted: any other number
/// would be a descriptor of our own.
static INHERITED: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Notes the sockets that this process inherited, beside standard input, output and error, and makes them close-on-exec:
/// they are for us to listen at, and a process that we start must not hold them open. To be called before anything else
/// opens a descriptor.
pub fn note_inherited_sockets() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    let numbers: Vec<RawFd> = numbers.filter(|number| *number > 2).collect();
    let mut inherited = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    for number in numbers {
        // SAFETY: only looked at here; one that is gone by now (the directory's own) makes the calls fail.
        let seen = unsafe { BorrowedFd::borrow_raw(number) };
        let is_socket = nix::sys::stat::fstat(seen).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFSOCK);
        if is_socket && nix::fcntl::fcntl(seen, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_ok() {
            inherited.insert(number);
        }
    }
}

/// Takes over a socket that this process inherited under this number (from systemd, or for `fd://3`). `None` if there was
/// none, or it has been taken already.
pub fn adopt(number: RawFd) -> Option<OwnedFd> {
    let noted = INHERITED.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    // SAFETY: it was open when the process started, by the convention that told us its number it is ours to own, and it
    // is no longer in the set that others are taken from.
    noted.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Writes text for the operator to standard error, for at most two seconds: whoever was to read it may have stopped, and
/// the caller has other things to do.
pub fn tell_operator(text: &str) {
    let until = Instant::now() + Duration::from_secs(2);
    let mut rest = text.as_bytes();
    let stderr = io::stderr();
    while !rest.is_empty() {
        let left = u16::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(0);
        let mut waits = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut waits, PollTimeout::from(left)) {
            Err(Errno::EINTR) => continue,
            // A pipe with room takes this much without waiting.
            Ok(ready) if ready > 0 => match nix::unistd::write(&stderr, &rest[..rest.len().min(4096)]) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => return,
            },
            _ => return,
        }
    }
}

/// A copy of standard output (close-on-exec).
pub fn copy_of_stdout() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

/// A copy of standard error (close-on-exec).
pub fn copy_of_stderr() -> io::Result<OwnedFd> {
    io::stderr().as_fd().try_clone_to_owned()
}

/// Makes standard output and standard error write to this file.
pub fn capture_output(file: impl AsFd) -> io::Result<()> {
    nix::unistd::dup2_stdout(&file)?;
    nix::unistd::dup2_stderr(&file)?;
    Ok(())
}

/// A file to append to.
#[derive(Debug)]
pub struct Appended {
    /// The file.
    pub file: File,
    /// It is what its name says, and not where a link of that name leads to.
    pub by_its_own_name: bool,
}

/// Opens a file to append to, made if missing. A FIFO is opened for both directions: else this would wait for a reader.
///
/// A link is followed only if nobody can have put it there but root and ourselves: any other user would have us write to
/// files that he may not write to.
pub fn open_to_append(path: &Path) -> io::Result<Appended> {
    match open_with(path, libc::O_NOFOLLOW) {
        Ok(file) => Ok(Appended { file, by_its_own_name: true }),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            if !is_trusted_link(path)? {
                let why = "it is a symbolic link, and somebody else's or in somebody else's directory";
                return Err(io::Error::other(why));
            }
            Ok(Appended { file: open_with(path, 0)?, by_its_own_name: false })
        }
        Err(error) => Err(error),
    }
}

fn open_with(path: &Path, flags: i32) -> io::Result<File> {
    let flags = flags | libc::O_NOCTTY;
    let looked = if flags & libc::O_NOFOLLOW != 0 { std::fs::symlink_metadata(path) } else { std::fs::metadata(path) };
    if looked.is_ok_and(|meta| meta.file_type().is_fifo()) {
        return File::options().read(true).write(true).custom_flags(flags).open(path);
    }
    File::options().append(true).create(true).custom_flags(flags).open(path)
}

fn is_trusted_link(path: &Path) -> io::Result<bool> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let ours = |owner: u32| owner == 0 || owner == nix::unistd::geteuid().as_raw();
    Ok(ours(std::fs::symlink_metadata(path)?.uid()) && ours(std::fs::metadata(directory)?.uid()))
}

/// What tells a file from every other one: device and inode.
pub type Identity = (u64, u64);

/// The identity of what is at this path now; a link is not followed.
pub fn identity(path: &Path) -> Option<Identity> {
    std::fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Runs something under another umask. Only while the process has one thread that makes files.
pub fn with_umask<T>(mask: u32, run: impl FnOnce() -> T) -> T {
    let old = umask(Mode::from_bits_truncate(mask));
    let result = run();
    umask(old);
    result
}
