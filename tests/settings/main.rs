//! Settings: held against what Gunicorn 27.0.1 does with the same input (`tests/data`), and their own laws.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod argv;
mod layers;
mod table;
mod toml;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rgunicorn::settings::{Environment, Error, FileLayer, Invocation, Parsed, Settings, merge};
use rgunicorn_wire::PyValue;
use rgunicorn_wire::message::FileSetting;

fn data_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn rows(file: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(data_dir().join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn environment(vars: &[(&str, &str)]) -> Environment {
    Environment {
        vars: vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        start_dir: data_dir(),
        euid: 4321,
        egid: 8765,
    }
}

fn invocation_in(environment: Environment, words: &[&str]) -> Invocation {
    let args = std::iter::once("rgunicorn").chain(words.iter().copied()).map(OsString::from).collect();
    match Invocation::parse(args, environment) {
        Ok(Parsed::Run(invocation)) => *invocation,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn invocation(vars: &[(&str, &str)], words: &[&str]) -> Invocation {
    invocation_in(environment(vars), words)
}

/// A Python config file, as its forkserver would report it: name, line, value.
fn python(settings: &[(&str, u32, PyValue)]) -> FileLayer {
    let settings: BTreeMap<_, _> = settings
        .iter()
        .map(|(name, line, value)| {
            let shown = rgunicorn::settings::python_text::python_str(value);
            ((*name).to_owned(), FileSetting { value: value.clone(), line: Some(*line), shown })
        })
        .collect();
    FileLayer::Python { name: "gunicorn.conf.py".to_owned(), settings }
}

fn merged(vars: &[(&str, &str)], words: &[&str], file: FileLayer) -> Result<Settings, Error> {
    merge(&invocation(vars, words), file)
}

fn int(number: i64) -> PyValue {
    PyValue::Int(number)
}

fn text(text: &str) -> PyValue {
    PyValue::Str(text.to_owned())
}
