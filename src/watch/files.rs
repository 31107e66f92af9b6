//! Which files are watched, what they looked like, and where in the file system that can be seen to change.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use glob::Pattern;

use crate::pattern::{OPTIONS, Search};

/// No application has more; a worker that names more is not believed.
const MAX_FILES: usize = 100_000;
/// As many symbolic links as the kernel follows.
const MAX_LINKS: u32 = 40;
/// Entries of directories that are looked at for the patterns.
const MAX_ENTRIES: usize = 200_000;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Files {
    /// By generation: what its processes have loaded, and what its settings name.
    named: BTreeMap<u32, Named>,
    /// What each looked like; `None`: it has never been there.
    seen: HashMap<PathBuf, Option<Look>>,
    /// The patterns lead to more than is looked at.
    too_many: bool,
    /// That has been said.
    told: bool,
}

#[derive(Debug, Default)]
struct Named {
    files: HashSet<PathBuf>,
    patterns: Vec<Pattern>,
}

/// Two looks that are equal are taken for the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    seconds: i64,
    nanos: i64,
}

/// Where changes of the watched files show.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Directories, each by its one real name.
    pub directories: BTreeSet<PathBuf>,
    /// The entries of these that matter: the files, and whatever lies on the way to them.
    pub entries: HashSet<PathBuf>,
}

impl Files {
    /// A generation is made of these, too. Returns one that was unknown and has changed since the generation began: what
    /// it has loaded may be the file of before.
    pub fn add(&mut self, generation: u32, since: SystemTime, files: Vec<PathBuf>) -> Option<PathBuf> {
        let named = self.named.entry(generation).or_default();
        let now = SystemTime::now();
        let mut late = None;
        for path in files {
            if self.seen.len() >= MAX_FILES || !path.is_absolute() {
                continue;
            }
            if named.files.insert(path.clone()) && !self.seen.contains_key(&path) {
                let metadata = fs::metadata(&path).ok();
                if late.is_none()
                    && metadata.as_ref().is_some_and(Metadata::is_file)
                    && has_come_between(&path, since, now)
                {
                    late = Some(path.clone());
                }
                self.seen.insert(path, metadata.as_ref().map(Look::of));
            }
        }
        late
    }

    /// A generation watches what these patterns match, now and later.
    pub fn add_patterns(&mut self, generation: u32, patterns: &[String]) {
        let known = patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok());
        self.named.entry(generation).or_default().patterns.extend(known);
        for path in self.matches() {
            let look = look(&path);
            self.seen.entry(path).or_insert(look);
        }
    }

    /// Generations before this one are no more. What they have loaded and is not there now may come back, and is then
    /// loaded in place of what was found without it.
    pub fn forget_before(&mut self, generation: u32) {
        let later = self.named.split_off(&generation);
        let earlier = std::mem::replace(&mut self.named, later);
        let missing = earlier.into_values().flat_map(|named| named.files).filter(|path| look(path).is_none());
        self.named.entry(generation).or_default().files.extend(missing);
        let matches: HashSet<PathBuf> = self.matches().into_iter().collect();
        let named = &self.named;
        self.seen.retain(|path, _| matches.contains(path) || named.values().any(|named| named.files.contains(path)));
    }

    /// Whether there are patterns, which new files may match.
    pub fn has_patterns(&self) -> bool {
        self.named.values().any(|named| !named.patterns.is_empty())
    }

    /// Whether a pattern matches this path.
    pub fn matches_pattern(&self, path: &Path) -> bool {
        self.named.values().flat_map(|named| &named.patterns).any(|pattern| pattern.matches_path_with(path, OPTIONS))
    }

    /// Looks at all of them: one that has changed, or has come into being, since the last look. One that is gone has not
    /// changed yet: editors remove a file before they write it anew.
    pub fn look(&mut self) -> Option<PathBuf> {
        let mut changed = None;
        for (path, before) in &mut self.seen {
            let now = look(path);
            if now.is_some() && now != *before {
                *before = now;
                changed.get_or_insert_with(|| path.clone());
            }
        }
        for path in self.matches() {
            if !self.seen.contains_key(&path) && self.seen.len() < MAX_FILES {
                self.seen.insert(path.clone(), look(&path));
                // Where not all are looked at, it may be an old one whose turn has come.
                if !self.too_many {
                    changed.get_or_insert(path);
                }
            }
        }
        changed
    }

    /// What the operator should know, once.
    pub fn warning(&mut self) -> Option<String> {
        if !self.too_many || std::mem::replace(&mut self.told, true) {
            return None;
        }
        Some(format!(
            "reload: the patterns of reload_extra_files lead through more than {MAX_ENTRIES} files and directories; what \
             lies beyond is not watched, and new files are no change"
        ))
    }

    /// Where to wait for changes of them.
    pub fn places(&self) -> Places {
        let mut places = Places::default();
        let mut known = HashMap::new();
        let bases = self.named.values().flat_map(|named| &named.patterns).map(base);
        for path in self.seen.keys().cloned().chain(bases) {
            places.lead_to(path, &mut known);
        }
        places
    }

    fn matches(&mut self) -> Vec<PathBuf> {
        let mut search = Search::new(MAX_ENTRIES);
        let mut found = Vec::new();
        for pattern in self.named.values().flat_map(|named| &named.patterns) {
            found.extend(search.find(pattern.as_str(), MAX_FILES));
        }
        self.too_many = !search.is_complete();
        found
    }
}

impl Places {
    /// Every step of the way to a file: where a directory or a symbolic link is replaced, the file changes too. What is
    /// known of a name is the target of its link, if it is one, and whether it is there.
    fn lead_to(&mut self, path: PathBuf, known: &mut HashMap<PathBuf, Option<Option<PathBuf>>>) {
        let mut links = 0;
        let mut rest: Vec<OsString> = names(&path);
        let mut at = PathBuf::from("/");
        while let Some(name) = rest.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            let kind = known.entry(next.clone()).or_insert_with(|| {
                fs::symlink_metadata(&next).ok().map(|found| match found.is_symlink() {
                    true => fs::read_link(&next).ok(),
                    false => None,
                })
            });
            self.directories.insert(at.clone());
            self.entries.insert(next.clone());
            match kind {
                None => return,
                Some(None) => at = next,
                Some(Some(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return;
                    }
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    rest.extend(names(target));
                }
            }
        }
    }
}

impl Look {
    fn of(metadata: &Metadata) -> Look {
        Look {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanos: metadata.mtime_nsec(),
        }
    }
}

fn look(path: &Path) -> Option<Look> {
    fs::metadata(path).ok().as_ref().map(Look::of)
}

/// Whether a file was written or moved to its place in this time, or a link on the way to it was. (Directories change with
/// every file that is made in them.) A time to come says nothing: that clock is another one.
fn has_come_between(path: &Path, since: SystemTime, now: SystemTime) -> bool {
    path.ancestors().filter_map(|step| fs::symlink_metadata(step).ok()).any(|step| {
        let changed = Duration::new(step.ctime().max(0) as u64, step.ctime_nsec().clamp(0, 999_999_999) as u32);
        let changed = SystemTime::UNIX_EPOCH + changed;
        !step.is_dir() && changed > since && changed <= now + Duration::from_millis(10)
    })
}

/// The names on a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let kept = path.components().rev().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    kept.map(|part| part.as_os_str().to_owned()).collect()
}

/// The directory that all matches of a pattern are below.
fn base(pattern: &Pattern) -> PathBuf {
    let plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    // One name more than the directory: what comes into being in it is then seen.
    let mut base: PathBuf = Path::new(pattern.as_str()).components().take_while(plain).collect();
    base.push("*");
    base
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const LONG_AGO: SystemTime = SystemTime::UNIX_EPOCH;

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        (directory, path)
    }

    /// Since nothing is younger than that.
    fn far_future() -> SystemTime {
        SystemTime::now() + Duration::from_secs(3600)
    }

    #[test]
    fn every_way_of_saving_a_file_is_a_change() {
        let (_guard, path) = directory();
        let file = path.join("app.py");
        fs::write(&file, "one").unwrap();
        let mut files = Files::default();
        assert_eq!(files.add(1, far_future(), vec![file.clone()]), None);
        assert_eq!(files.look(), None);
        fs::write(&file, "three").unwrap();
        assert_eq!(files.look(), Some(file.clone()), "truncated and written");
        assert_eq!(files.look(), None);
        fs::write(path.join("new"), "three").unwrap();
        fs::rename(path.join("new"), &file).unwrap();
        assert_eq!(files.look(), Some(file.clone()), "another one renamed over it");
        fs::remove_file(&file).unwrap();
        assert_eq!(files.look(), None, "gone for now");
        fs::write(&file, "again").unwrap();
        assert_eq!(files.look(), Some(file));
    }

    #[test]
    fn a_file_and_its_directory_may_come_later() {
        let (_guard, path) = directory();
        let file = path.join("pkg/sub/mod.py");
        let mut files = Files::default();
        files.add(1, far_future(), vec![file.clone()]);
        let places = files.places();
        assert!(places.directories.contains(&path) && places.entries.contains(&path.join("pkg")));
        assert!(!places.directories.contains(&path.join("pkg")));
        fs::create_dir_all(path.join("pkg/sub")).unwrap();
        assert_eq!(files.look(), None);
        fs::write(&file, "").unwrap();
        assert!(files.places().directories.contains(&path.join("pkg/sub")));
        assert_eq!(files.look(), Some(file));
    }

    #[test]
    fn links_are_followed_and_watched_themselves() {
        let (_guard, path) = directory();
        for release in ["one", "two"] {
            fs::create_dir(path.join(release)).unwrap();
            fs::write(path.join(release).join("app.py"), release).unwrap();
        }
        symlink("one", path.join("current")).unwrap();
        let file = path.join("current/app.py");
        let mut files = Files::default();
        files.add(1, far_future(), vec![file.clone()]);
        let places = files.places();
        for entry in ["current", "one", "one/app.py"] {
            assert!(places.entries.contains(&path.join(entry)), "{entry}");
        }
        assert!(places.directories.contains(&path) && places.directories.contains(&path.join("one")));
        fs::remove_file(path.join("current")).unwrap();
        symlink(path.join("two"), path.join("current")).unwrap();
        assert_eq!(files.look(), Some(file));
        assert!(files.places().entries.contains(&path.join("two/app.py")));
        symlink("loop", path.join("loop")).unwrap();
        files.add(1, far_future(), vec![path.join("loop")]);
        assert!(files.places().entries.contains(&path.join("loop")));
    }

    #[test]
    fn patterns_are_expanded_again_and_again() {
        let (_guard, path) = directory();
        fs::create_dir(path.join("templates")).unwrap();
        fs::write(path.join("templates/a.html"), "").unwrap();
        let mut files = Files::default();
        files.add_patterns(1, &[path.join("templates/**/*.html").display().to_string(), "[".into()]);
        assert_eq!(files.look(), None, "what is there at first is no news");
        assert!(files.places().directories.contains(&path.join("templates")));
        fs::create_dir_all(path.join("templates/deep")).unwrap();
        fs::write(path.join("templates/deep/b.html"), "").unwrap();
        fs::write(path.join("templates/deep/b.txt"), "").unwrap();
        assert_eq!(files.look(), Some(path.join("templates/deep/b.html")));
        assert!(files.matches_pattern(&path.join("templates/c.html")));
        assert!(!files.matches_pattern(&path.join("templates/c.txt")));
        files.forget_before(2);
        assert!(!files.has_patterns() && files.seen.is_empty());
    }

    #[test]
    fn what_changed_while_a_generation_came_up_is_late() {
        let (_guard, path) = directory();
        let file = path.join("app.py");
        fs::write(&file, "one").unwrap();
        let mut files = Files::default();
        assert_eq!(files.add(1, LONG_AGO, vec![file.clone()]), Some(file.clone()));
        assert_eq!(files.add(2, LONG_AGO, vec![file]), None, "known by then");
        let link = path.join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(files.add(2, LONG_AGO, vec![link.join("app.py")]), Some(link.join("app.py")));
        assert_eq!(files.add(2, LONG_AGO, vec![path, "relative".into()]), None, "directories and relative names");
    }

    #[test]
    fn a_generation_takes_only_its_own_files_with_it() {
        let (_guard, path) = directory();
        let [one, both] = ["one.py", "both.py"].map(|name| path.join(name));
        let mut files = Files::default();
        let gone = path.join("gone.py");
        for name in [&one, &both, &gone] {
            fs::write(name, "").unwrap();
        }
        files.add(1, far_future(), vec![one.clone(), both.clone(), gone.clone()]);
        files.add(2, far_future(), vec![both.clone()]);
        fs::remove_file(&gone).unwrap();
        files.forget_before(2);
        fs::write(&gone, "back").unwrap();
        assert_eq!(files.look(), Some(gone));
        fs::write(&one, "two").unwrap();
        assert_eq!(files.look(), None);
        fs::write(&both, "two").unwrap();
        assert_eq!(files.look(), Some(both));
    }
}
