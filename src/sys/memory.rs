//! Memory shared with workers: files that exist only in memory.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A mapped, sealed memfd: nobody who holds it can shrink it, which would end us by SIGBUS.
#[derive(Debug)]
pub struct Shared {
    fd: OwnedFd,
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory is accessed through atomics only, and lives until the last reference is gone.
unsafe impl Send for Shared {}

impl Shared {
    /// Zeroed memory of so many bytes, rounded up to whole words.
    pub fn new(bytes: usize) -> io::Result<Shared> {
        let words = bytes.div_ceil(8).max(1);
        let length = NonZeroUsize::new(words * 8).ok_or_else(|| io::Error::other("no memory asked for"))?;
        let fd = memfd_create(c"rgunicorn-scoreboard", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        nix::unistd::ftruncate(&fd, length.get() as i64)?;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of a file whose size is sealed, so that no access can fault.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &fd, 0) }?;
        Ok(Shared { fd, start: start.cast(), words })
    }

    /// The memory.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: page-aligned memory of that many words, mapped until drop. Other processes write it too, but any bit
        // pattern is a u64 and our accesses are atomic.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no reference outlives self.
        let _ = unsafe { munmap(self.start.cast(), self.words * 8) };
    }
}

/// An empty file in memory, for somebody to write into.
pub fn scratch() -> io::Result<File> {
    Ok(File::from(memfd_create(c"rgunicorn", MFdFlags::MFD_CLOEXEC)?))
}

/// A file in memory that holds these bytes.
pub fn holding(bytes: &[u8]) -> io::Result<File> {
    let file = scratch()?;
    file.write_all_at(bytes, 0)?;
    Ok(file)
}

/// What a file holds, from its beginning, at most so many bytes of it. Reading moves no shared position.
pub fn contents(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size.min(limit)];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn shared_memory_can_not_be_cut() {
        let shared = Shared::new(4096).unwrap();
        shared.words()[511].store(7, Ordering::Relaxed);
        let copy = shared.as_fd().try_clone_to_owned().unwrap();
        assert!(nix::unistd::ftruncate(&copy, 0).is_err());
        assert_eq!(shared.words()[511].load(Ordering::Relaxed), 7);
        assert_eq!(shared.words().len(), 512);
    }

    #[test]
    fn contents_are_bounded() {
        let file = holding(b"0123456789").unwrap();
        assert_eq!(contents(&file, 4).unwrap(), b"0123");
        assert_eq!(contents(&file, 100).unwrap(), b"0123456789");
    }
}
