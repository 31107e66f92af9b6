//! Makes the build id: a fingerprint of what both sides must agree on, so that a forkserver of another build is noticed.
use std::hash::{DefaultHasher, Hasher};

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=src");
    let mut files: Vec<_> = std::fs::read_dir("src")?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    let mut hash = DefaultHasher::new();
    for file in files {
        hash.write(&std::fs::read(file.path())?);
    }
    println!("cargo::rustc-env=RGUNICORN_WIRE_HASH={:016x}", hash.finish());
    Ok(())
}
