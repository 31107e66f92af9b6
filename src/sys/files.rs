//! Descriptors and files as the kernel sees them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::stat::{Mode, umask};

/// Takes over a descriptor that this process inherited by number (a socket from systemd, `fd://3`), and makes it
/// close-on-exec. An error if there is none.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: only looked at here; a number without a descriptor makes fcntl fail.
    let seen = unsafe { BorrowedFd::borrow_raw(number) };
    nix::fcntl::fcntl(seen, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    // SAFETY: it exists, and by the convention that told us its number it is ours to own. Callers adopt a number once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes the sockets that this process inherited (beside standard input, output and error) close-on-exec: they are
/// for us to listen at, and a process that we start must not hold them open.
pub fn keep_inherited_sockets() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for number in numbers.filter(|number| *number > 2).collect::<Vec<_>>() {
        // SAFETY: only looked at here; one that is gone by now (the directory's own) makes the calls fail.
        let seen = unsafe { BorrowedFd::borrow_raw(number) };
        let is_socket = nix::sys::stat::fstat(seen).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFSOCK);
        if is_socket {
            let _ = nix::fcntl::fcntl(seen, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC));
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

/// Opens a file to append to, made if missing.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).custom_flags(libc::O_NOCTTY).open(path)
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
