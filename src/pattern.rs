//! Patterns of file names (`templates/**/*.html`), and the files that they match.
//!
//! Not the glob crate's own search: under `**` that one follows links, in a circle for ever, and however large a tree is.

use std::collections::VecDeque;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// As Python's `glob` reads patterns.
pub const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A search that ends: links to directories are not followed under `**`, and only so much is looked at.
#[derive(Debug)]
pub struct Search {
    left: usize,
    complete: bool,
}

/// Between two slashes of a pattern.
enum Part {
    Name(String),
    Wild(Pattern),
    AnyDepth,
}

impl Search {
    /// Looks at no more than so many entries of directories.
    pub fn new(most: usize) -> Search {
        Search { left: most, complete: true }
    }

    /// Whether everything was looked at so far.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What an absolute pattern matches, those first that lie highest; at most so many.
    pub fn find(&mut self, pattern: &str, most: usize) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let Some(parts) = parts(pattern) else { return found };
        let mut todo = VecDeque::from([(PathBuf::from("/"), 0)]);
        while let Some((path, at)) = todo.pop_front() {
            if found.len() >= most {
                break;
            }
            match parts.get(at) {
                None => found.push(path),
                Some(Part::Name(name)) => {
                    let next = path.join(name);
                    if fs::metadata(&next).is_ok() {
                        todo.push_back((next, at + 1));
                    }
                }
                Some(Part::Wild(pattern)) => {
                    let matches = |entry: &DirEntry| {
                        entry.file_name().to_str().is_some_and(|name| pattern.matches_with(name, OPTIONS))
                    };
                    todo.extend(self.entries(&path, matches).into_iter().map(|entry| (entry, at + 1)));
                }
                Some(Part::AnyDepth) => {
                    let is_plain_directory = |entry: &DirEntry| {
                        !entry.file_name().as_encoded_bytes().starts_with(b".")
                            && entry.file_type().is_ok_and(|kind| kind.is_dir())
                    };
                    for directory in self.entries(&path, is_plain_directory) {
                        // At a pattern's end it stands for the directories themselves.
                        if at + 1 == parts.len() {
                            found.push(directory.clone());
                        }
                        todo.push_back((directory, at));
                    }
                    if at + 1 < parts.len() {
                        todo.push_back((path, at + 1));
                    }
                }
            }
        }
        found
    }

    /// The entries of a directory that are wanted. None, if it is no directory.
    fn entries(&mut self, path: &Path, wanted: impl Fn(&DirEntry) -> bool) -> Vec<PathBuf> {
        let mut entries = Vec::new();
        if self.left == 0 {
            self.complete = false;
            return entries;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if self.left == 0 {
                self.complete = false;
                break;
            }
            self.left -= 1;
            if wanted(&entry) {
                entries.push(entry.path());
            }
        }
        entries
    }
}

/// `None`: it is no pattern.
fn parts(pattern: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for part in pattern.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()) {
        if part == "**" {
            if !matches!(parts.last(), Some(Part::AnyDepth)) {
                parts.push(Part::AnyDepth);
            }
        } else if part.contains(['*', '?', '[']) {
            parts.push(Part::Wild(Pattern::new(part).ok()?));
        } else {
            parts.push(Part::Name(part.to_owned()));
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for directory in ["t/deep/deeper", "t/.hidden", "elsewhere"] {
            fs::create_dir_all(tree.path().join(directory)).unwrap();
        }
        for file in ["t/1.html", "t/deep/2.html", "t/deep/deeper/3.html", "t/deep/4.txt", "t/.hidden/5.html"] {
            fs::write(tree.path().join(file), "").unwrap();
        }
        fs::write(tree.path().join("elsewhere/6.html"), "").unwrap();
        for link in ["a", "b", "deep/c"] {
            symlink(".", tree.path().join("t").join(link)).unwrap();
        }
        symlink("../elsewhere", tree.path().join("t/linked")).unwrap();
        tree
    }

    fn found(tree: &tempfile::TempDir, pattern: &str) -> Vec<String> {
        let base = tree.path().to_str().unwrap();
        let mut search = Search::new(1000);
        let mut found: Vec<String> = search
            .find(&format!("{base}/{pattern}"), usize::MAX)
            .iter()
            .map(|path| path.strip_prefix(base).unwrap().to_str().unwrap().to_owned())
            .collect();
        assert!(search.is_complete());
        found.sort();
        found
    }

    #[test]
    fn links_in_a_circle_are_not_followed_at_any_depth() {
        let tree = tree();
        assert_eq!(found(&tree, "t/**/*.html"), ["t/1.html", "t/deep/2.html", "t/deep/deeper/3.html"]);
        assert_eq!(found(&tree, "t/**/**/3.html"), ["t/deep/deeper/3.html"]);
        assert_eq!(found(&tree, "t/**"), ["t/deep", "t/deep/deeper"]);
    }

    #[test]
    fn links_are_followed_where_the_pattern_says_how_far() {
        let tree = tree();
        assert_eq!(found(&tree, "t/linked/*.html"), ["t/linked/6.html"]);
        assert_eq!(found(&tree, "t/l*/[0-9].html"), ["t/linked/6.html"]);
        assert_eq!(found(&tree, "t/.hidden/?.html"), ["t/.hidden/5.html"]);
        assert!(found(&tree, "t/*/missing").is_empty() && found(&tree, "t/x**").is_empty());
    }

    #[test]
    fn a_search_ends() {
        let tree = tree();
        let pattern = format!("{}/t/**/*.html", tree.path().display());
        let mut search = Search::new(5);
        search.find(&pattern, usize::MAX);
        assert!(!search.is_complete());
        assert_eq!(Search::new(1000).find(&pattern, 1).len(), 1);
    }
}
