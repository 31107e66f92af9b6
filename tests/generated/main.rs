//! Files made from the table of settings. A stale one is rewritten, and the test fails once so that somebody looks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod man;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap_complete::{Generator, Shell, generate};
use rgunicorn::settings::render::{example_toml, json_schema, reference_markdown};
use rgunicorn::settings::{Environment, TomlFile, table};
use rgunicorn::{cli, ctl};

#[test]
fn example_file() {
    up_to_date("conf/rgunicorn.toml", &example_toml());
}

#[test]
fn reference() {
    up_to_date("docs/settings.md", &reference_markdown());
}

#[test]
fn schema() {
    up_to_date("docs/rgunicorn.schema.json", &json_schema());
}

#[test]
fn man_pages() {
    up_to_date("man/rgunicorn.1", &man::rgunicorn_1());
    up_to_date("man/rgunicorn.toml.5", &man::rgunicorn_toml_5());
    let mut page = Vec::new();
    clap_mangen::Man::new(ctl::command()).render(&mut page).unwrap();
    up_to_date("man/rgunicornctl.1", &String::from_utf8(page).unwrap());
}

#[test]
fn completions() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        for (name, mut command) in [("rgunicorn", cli::command()), ("rgunicornctl", ctl::command())] {
            let mut script = Vec::new();
            generate(shell, &mut command, name, &mut script);
            let file = format!("completions/{}", shell.file_name(name));
            up_to_date(&file, &String::from_utf8(script).unwrap());
        }
    }
}

fn up_to_date(file: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if fs::read_to_string(&path).is_ok_and(|found| found == wanted) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, wanted).unwrap();
    panic!("{file} was stale and has been rewritten; look at it and commit it");
}

#[test]
fn the_example_file_is_right_with_everything_uncommented() {
    let names: BTreeSet<_> =
        table::all().filter(|setting| setting.in_toml_file()).map(|setting| setting.name).collect();
    let mut found = BTreeSet::new();
    let uncommented: String = example_toml()
        .lines()
        .map(|line| match line.strip_prefix('#').filter(|line| !line.starts_with([' ', '-'])) {
            Some(setting) if !setting.is_empty() => {
                found.insert(setting.split(" = ").next().unwrap().to_owned());
                format!("{setting}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(found, names.iter().map(|name| (*name).to_owned()).collect());
    assert!(TomlFile::parse(&uncommented, "rgunicorn.toml").is_ok(), "{uncommented}");
    // As it is, it says nothing.
    let untouched = TomlFile::parse(&example_toml(), "rgunicorn.toml").unwrap();
    assert_eq!(format!("{untouched:?}"), format!("{:?}", TomlFile::default()));
}

#[test]
fn no_generated_file_knows_the_machine() {
    let here = Environment::capture().unwrap();
    let home = here.var("HOME").filter(|home| home.len() > 1).map(str::to_owned);
    let mut secrets = vec![here.start_dir.to_string_lossy().into_owned()];
    secrets.extend(home.map(|home| format!("{home}/")));
    for text in
        [example_toml(), reference_markdown(), json_schema(), man::rgunicorn_1(), man::rgunicorn_toml_5(), cli::help()]
    {
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())));
    }
}
