//! The process title, as `ps` shows it, and the kernel's name for the process.

use std::sync::OnceLock;

use pyo3::prelude::*;

/// Where this process's argument strings lie. They are writable memory of its own stack; the arbiter starts the
/// forkserver with blanks as its last argument, so that there is room.
static ARGUMENTS: OnceLock<Option<(usize, usize)>> = OnceLock::new();

/// Sets the title; one that is longer than the arguments were is cut. The kernel's name becomes `gunicorn`, which is what
/// `pgrep -x gunicorn` and `killall gunicorn` in existing scripts look for.
#[pyfunction]
pub fn set_title(title: &str) {
    let _ = nix::sys::prctl::set_name(c"gunicorn");
    let Some((start, length)) = *ARGUMENTS.get_or_init(find_arguments) else { return };
    let bytes = title.as_bytes();
    let used = bytes.len().min(length.saturating_sub(1));
    // SAFETY: start..start+length is this process's argument area as the kernel reports it, mapped writable for the
    // process's life; CPython copied its arguments at start and nothing else points there.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, length) };
    area.fill(0);
    area[..used].copy_from_slice(&bytes[..used]);
}

/// Fields 48 and 49 of /proc/self/stat (proc(5)): arg_start and arg_end.
fn find_arguments() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(45); // the first one after the name is field 3
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    (start != 0 && end > start).then_some((start, end - start))
}
