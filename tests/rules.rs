//! Who may know whom. The daemon has no Python in it, the parser no sockets and no clock, and the kernel has one door.

#[cfg(test)]
mod rules {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use serde_json::Value;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    /// What this is built for. Crates for other systems are none of ours, and nobody has fetched them.
    fn platform() -> String {
        let output = Command::new("rustc").arg("-vV").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
    }

    fn metadata() -> Value {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--offline", "--locked", "--manifest-path"])
            .arg(root().join("Cargo.toml"))
            .args(["--filter-platform", &platform()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Everything that a package is built from, itself left out. Only normal dependencies count.
    fn dependencies(metadata: &Value, package: &str, deep: bool) -> BTreeSet<String> {
        let packages = metadata["packages"].as_array().unwrap();
        let name_of = |id: &Value| {
            let found = packages.iter().find(|package| package["id"] == *id).unwrap();
            found["name"].as_str().unwrap().to_owned()
        };
        let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
        let node = |id: &Value| nodes.iter().find(|node| node["id"] == *id).unwrap();
        let start = packages.iter().find(|found| found["name"] == package).unwrap();
        let mut seen = BTreeSet::new();
        let mut queue = vec![start["id"].clone()];
        while let Some(id) = queue.pop() {
            for dependency in node(&id)["deps"].as_array().unwrap() {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                let normal = kinds.iter().any(|kind| kind["kind"].is_null());
                if normal && seen.insert(name_of(&dependency["pkg"])) && deep {
                    queue.push(dependency["pkg"].clone());
                }
            }
        }
        seen
    }

    /// The Rust files below a directory of the repository.
    fn sources(directory: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut queue = vec![root().join(directory)];
        while let Some(next) = queue.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    queue.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    found.push(path);
                }
            }
        }
        assert!(!found.is_empty(), "no sources in {directory}");
        found
    }

    /// Lines of code (comments left out) that contain one of the words as a word, as `file:line: text`.
    fn mentions(files: &[PathBuf], words: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap();
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if words.iter().any(|word| has_word(code, word)) {
                    found.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
                }
            }
        }
        found
    }

    /// `nix::` is in `use nix::x`, not in `use std::os::unix::x`.
    fn has_word(code: &str, word: &str) -> bool {
        code.match_indices(word)
            .any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
    }

    #[test]
    fn the_daemon_has_no_python_and_no_http() {
        let all = dependencies(&metadata(), "rgunicorn", true);
        let forbidden = ["pyo3", "pyo3-ffi", "rgunicorn-http", "rgunicorn-worker"];
        assert!(forbidden.iter().all(|name| !all.contains(*name)), "{all:?}");
    }

    #[test]
    fn the_parser_knows_memchr_and_nothing_else() {
        let all = dependencies(&metadata(), "rgunicorn-http", true);
        assert_eq!(all.iter().map(String::as_str).collect::<Vec<_>>(), ["memchr"]);
    }

    #[test]
    fn the_parser_has_no_sockets_no_clock_no_files() {
        // Addresses are data; sockets are not.
        let words = [
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "std::time",
            "std::os",
            "std::fs",
            "std::thread",
            "std::io",
            "unsafe ",
        ];
        assert_eq!(mentions(&sources("crates/http/src"), &words), Vec::<String>::new());
    }

    #[test]
    fn the_wire_knows_no_system() {
        let direct = dependencies(&metadata(), "rgunicorn-wire", false);
        assert!(direct.iter().all(|name| matches!(name.as_str(), "serde" | "serde_json")), "{direct:?}");
    }

    #[test]
    fn only_sys_speaks_to_the_kernel() {
        let sys = root().join("src/sys");
        let outside: Vec<PathBuf> = sources("src")
            .into_iter()
            .filter(|path| !path.starts_with(&sys) && *path != sys.with_extension("rs"))
            .collect();
        assert_eq!(mentions(&outside, &["nix::", "libc::", "unsafe "]), Vec::<String>::new());
    }
}
