//! What the kernel's out-of-memory killer did to our cgroup.

use std::path::PathBuf;

/// How many processes of this process's memory cgroup were killed for want of memory so far; `None` if that is not told.
pub fn oom_kills() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let file = places(&own).into_iter().find(|path| path.exists())?;
    count(&std::fs::read_to_string(file).ok()?)
}

/// Where the kernel tells: cgroup v2 first, then v1 (cgroups(7)); in a container the path may be one of the host's, and
/// its own cgroup is the root.
fn places(own: &str) -> Vec<PathBuf> {
    let mut places = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if hierarchy == "0" {
            for root in [format!("/sys/fs/cgroup/{path}"), "/sys/fs/cgroup".to_owned()] {
                places.push(PathBuf::from(root).join("memory.events"));
            }
        } else if controllers.split(',').any(|controller| controller == "memory") {
            for root in [format!("/sys/fs/cgroup/memory/{path}"), "/sys/fs/cgroup/memory".to_owned()] {
                places.push(PathBuf::from(root).join("memory.oom_control"));
            }
        }
    }
    places
}

/// Both files have a line `oom_kill N`.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        assert_eq!(count("low 0\nhigh 3\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count("nothing of the kind"), None);
        let shown = |own: &str| places(own).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(shown("0::/a/b\n")[0], "/sys/fs/cgroup/a/b/memory.events");
        assert_eq!(
            shown("5:cpu:/x\n4:memory:/d/e\n"),
            ["/sys/fs/cgroup/memory/d/e/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
        );
    }
}
