//! The process title, as `ps` shows it, and the kernel's name for the process.

use std::sync::OnceLock;

/// Where argument and environment strings lie.
static AREA: OnceLock<Option<Area>> = OnceLock::new();

#[derive(Debug, Clone, Copy)]
struct Area {
    start: usize,
    length: usize,
}

/// Gives the strings of the environment a new place, so that a title may be as long as they and the arguments were. To
/// be called once, before the process has a second thread and after the arguments have been read.
pub fn make_room() {
    for (name, value) in std::env::vars_os() {
        // SAFETY: there is one thread, as the caller promises. The C library copies both strings.
        unsafe { std::env::set_var(&name, &value) };
    }
    AREA.get_or_init(find_area);
    // What `pgrep -x gunicorn` and `killall gunicorn` in existing scripts look for.
    let _ = nix::sys::prctl::set_name(c"gunicorn");
}

/// Sets the title; one that is longer than the room is cut. Without [`make_room`] nothing happens.
pub fn set(title: &str) {
    let Some(Some(area)) = AREA.get() else { return };
    let used = title.len().min(area.length.saturating_sub(1));
    // SAFETY: the area is this process's own argument and environment memory as the kernel reports it, writable and
    // mapped for the process's life; after `make_room` nothing reads it but /proc.
    let bytes = unsafe { std::slice::from_raw_parts_mut(area.start as *mut u8, area.length) };
    bytes.fill(0);
    bytes[..used].copy_from_slice(&title.as_bytes()[..used]);
}

/// Fields 48 to 51 of /proc/self/stat (proc(5)): where arguments and environment begin and end.
fn find_area() -> Option<Area> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    // The first one after the name is field 3.
    let places: Vec<usize> = fields.split_ascii_whitespace().skip(45).take(4).filter_map(|n| n.parse().ok()).collect();
    let [arg_start, arg_end, env_start, env_end] = places[..] else { return None };
    let end = if env_start == arg_end { env_end } else { arg_end };
    (arg_start != 0 && end > arg_start).then_some(Area { start: arg_start, length: end - arg_start })
}

/// Removes variables from the environment. Only while the process has one thread.
pub fn unset(names: &[&str]) {
    for name in names {
        // SAFETY: there is one thread, as the caller promises.
        unsafe { std::env::remove_var(name) };
    }
}
