//! Where the Python side is: the interpreter, the `rgunicorn` package, the extension module.
//!
//! Three layouts are known: a build tree (`target/release/rgunicorn` beside `lib_rgunicorn.so`, the package in `python/`),
//! an environment that pip installed into (`bin/rgunicorn`, all else in `lib/pythonX.Y/site-packages`), and a prefix of
//! its own (`bin/rgunicorn`, all else in `lib/rgunicorn`).

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The extension in a build tree, and once installed.
const BUILT: &str = "lib_rgunicorn.so";
const INSTALLED: &str = "_rgunicorn.abi3.so";

/// What the forkserver is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The interpreter: a path, or a name to look for in `$PATH`.
    pub python: PathBuf,
    /// Where that was said, for errors.
    pub python_from: &'static str,
    /// The directory that holds the `rgunicorn` package.
    pub packages: PathBuf,
    /// The extension module.
    pub extension: PathBuf,
}

/// The package or the extension is nowhere.
#[derive(Debug, PartialEq, Eq)]
pub struct NotFound {
    looked_at: Vec<PathBuf>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rgunicorn Python package and its extension module were not found. Looked for")?;
        for path in &self.looked_at {
            write!(f, " {}", path.display())?;
        }
        f.write_str(". Install rgunicorn again, or build the whole workspace (cargo build)")
    }
}

impl Home {
    /// Looks around the program's own file. `asked`: `--python`; `environment`: `$VIRTUAL_ENV`.
    pub fn find(program: &Path, asked: Option<&str>, environment: Option<OsString>) -> Result<Home, NotFound> {
        let bin = program.parent().unwrap_or(Path::new("/"));
        let (packages, extension, installed) = find_package(bin)?;
        let beside = ["python3", "python"].map(|name| bin.join(name));
        let (python, python_from) = if let Some(asked) = asked {
            (PathBuf::from(asked), "--python")
        } else if let (true, Some(own)) = (installed, beside.into_iter().find(|path| path.exists())) {
            (own, "the environment that rgunicorn is installed in")
        } else if let Some(environment) = environment.filter(|path| !path.is_empty()) {
            (Path::new(&environment).join("bin/python"), "$VIRTUAL_ENV")
        } else {
            (PathBuf::from("python3"), "$PATH")
        };
        Ok(Home { python, python_from, packages, extension })
    }
}

/// Packages, extension, and whether they are in an environment of Python's.
fn find_package(bin: &Path) -> Result<(PathBuf, PathBuf, bool), NotFound> {
    let mut looked_at = Vec::new();
    let built = bin.join(BUILT);
    if built.exists() {
        // target/release, target/TRIPLE/release, or a target directory somewhere else in the tree.
        let tree = bin.ancestors().skip(1).map(|up| up.join("python")).find(|packages| is_package(packages));
        if let Some(packages) = tree {
            return Ok((packages, built, false));
        }
        looked_at.push(bin.join("../../python/rgunicorn"));
    } else {
        looked_at.push(built);
    }
    let prefix = bin.parent().unwrap_or(bin);
    for (packages, installed) in environments(prefix).into_iter().map(|path| (path, true)) {
        let extension = packages.join("rgunicorn").join(INSTALLED);
        if is_package(&packages) && extension.exists() {
            return Ok((packages, extension, installed));
        }
        looked_at.push(extension);
    }
    let own = prefix.join("lib/rgunicorn");
    let extension = own.join("rgunicorn").join(INSTALLED);
    if is_package(&own) && extension.exists() {
        return Ok((own, extension, false));
    }
    looked_at.push(extension);
    Err(NotFound { looked_at })
}

/// Package directories of the interpreters under this prefix.
fn environments(prefix: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in ["lib", "lib64", "local/lib"] {
        let Ok(entries) = std::fs::read_dir(prefix.join(lib)) else { continue };
        let mut pythons: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        pythons.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3")));
        pythons.sort();
        let kinds = ["site-packages", "dist-packages"];
        found.extend(pythons.iter().rev().flat_map(|python| kinds.map(|kind| python.join(kind))));
    }
    found.retain(|path| path.is_dir());
    found
}

fn is_package(packages: &Path) -> bool {
    packages.join("rgunicorn/__init__.py").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        root
    }

    fn found(files: &[&str], program: &str, asked: Option<&str>, environment: Option<&str>) -> (String, String) {
        let root = tree(files);
        let home = Home::find(&root.path().join(program), asked, environment.map(OsString::from)).unwrap();
        let relative = |path: &Path| path.strip_prefix(root.path()).unwrap_or(path).display().to_string();
        (relative(&home.python), relative(&home.packages))
    }

    const BUILD_TREE: [&str; 2] = ["target/release/lib_rgunicorn.so", "python/rgunicorn/__init__.py"];
    const VENV: [&str; 3] = [
        "venv/bin/python3",
        "venv/lib/python3.12/site-packages/rgunicorn/__init__.py",
        "venv/lib/python3.12/site-packages/rgunicorn/_rgunicorn.abi3.so",
    ];

    #[test]
    fn a_build_tree_takes_the_virtual_environment_or_the_path() {
        let program = "target/release/rgunicorn";
        assert_eq!(found(&BUILD_TREE, program, None, None), ("python3".into(), "python".into()));
        assert_eq!(found(&BUILD_TREE, program, None, Some("/v")).0, "/v/bin/python");
        assert_eq!(found(&BUILD_TREE, program, Some("/p"), Some("/v")).0, "/p");
        let cross = ["target/x86_64-unknown-linux-gnu/debug/lib_rgunicorn.so", BUILD_TREE[1]];
        assert_eq!(found(&cross, "target/x86_64-unknown-linux-gnu/debug/rgunicorn", None, None).1, "python");
    }

    #[test]
    fn an_environment_is_its_own_interpreter() {
        let packages = "venv/lib/python3.12/site-packages".to_owned();
        let program = "venv/bin/rgunicorn";
        assert_eq!(found(&VENV, program, None, Some("/v")), ("venv/bin/python3".into(), packages.clone()));
        assert_eq!(found(&VENV, program, Some("/p"), None), ("/p".into(), packages));
    }

    #[test]
    fn a_prefix_of_its_own() {
        let files = [
            "opt/lib/rgunicorn/rgunicorn/__init__.py",
            "opt/lib/rgunicorn/rgunicorn/_rgunicorn.abi3.so",
            "opt/bin/python3",
        ];
        let (python, packages) = found(&files, "opt/bin/rgunicorn", None, None);
        assert_eq!((python.as_str(), packages.as_str()), ("python3", "opt/lib/rgunicorn"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_places() {
        let root = tree(&[]);
        let error = Home::find(&root.path().join("bin/rgunicorn"), None, None).unwrap_err().to_string();
        assert!(error.contains("bin/lib_rgunicorn.so"), "{error}");
        assert!(error.contains("lib/rgunicorn/rgunicorn/_rgunicorn.abi3.so"), "{error}");
    }
}
