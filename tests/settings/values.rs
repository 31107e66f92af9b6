//! Values, as Gunicorn's validators take them.

use rgunicorn::settings::kind::{Input, Kind, Surroundings};
use rgunicorn::settings::python_text::{python_repr, python_str};
use rgunicorn::settings::{FileLayer, Origin, table};
use rgunicorn_wire::PyValue;
use serde_json::{Value, json};

use crate::{data_dir, environment, int, merged, python, rows, text};

/// Values that are refused here although Gunicorn takes them, or the other way round; why.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("workers", "'٤'", "digits are ASCII"),
    ("timeout", "'٤'", "digits are ASCII"),
    ("umask", "'٤'", "digits are ASCII"),
    ("http2_max_concurrent_streams", "'٤'", "digits are ASCII"),
    ("http2_initial_window_size", "'٤'", "digits are ASCII"),
    ("user", "'٤'", "digits are ASCII"),
    ("group", "'٤'", "digits are ASCII"),
    ("user", "-1", "no such id; the kernel takes it for no change"),
    ("group", "-1", "no such id; the kernel takes it for no change"),
    ("statsd_host", "'HOST:65536'", "no such port"),
];

#[test]
fn every_value_is_taken_as_gunicorn_takes_it() {
    let rows = rows("values.json");
    assert!(rows.len() > 1000);
    let environment = environment(&[]);
    let mut wrong = Vec::new();
    let mut deviations = 0;
    for row in rows {
        let name = row["setting"].as_str().unwrap();
        let given: PyValue = serde_json::from_value(row["given"].clone()).unwrap();
        let setting = table::find(name).unwrap();
        let mut warnings = Vec::new();
        let mut around = Surroundings { environment: &environment, warnings: &mut warnings };
        let ours = setting.kind.validate(Input { value: &given, shown: None }, &mut around);
        let quoted = python_repr(&given);
        if DEVIATIONS.iter().any(|(setting, value, _)| (*setting, *value) == (name, quoted.as_str())) {
            assert_eq!(ours.is_err(), row["refused"].is_null(), "{name} = {quoted} is no deviation");
            deviations += 1;
            continue;
        }
        let agreed = match &ours {
            Err(_) => row["refused"] == json!(true),
            Ok(value) => row["refused"].is_null() && json!(comparable(setting.kind, &given, value)) == row["value"],
        };
        let warned = row["warning"].as_str().is_none_or(|warning| warnings == [warning]);
        if !agreed || !warned {
            wrong.push(format!("{name} = {quoted}: {ours:?} {warnings:?}, Gunicorn: {row}"));
        }
        if let Err(why) = &ours {
            let named = why.contains(&quoted) || why.contains(quoted.trim_matches(['\'', '"']));
            assert!(named, "{name}: {why} lacks {quoted}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(deviations, DEVIATIONS.len());
}

/// As the script that asked Gunicorn wrote values that depend on the machine.
fn comparable(kind: Kind, given: &PyValue, value: &PyValue) -> PyValue {
    let absolute = matches!(given, PyValue::Str(path) if path.trim().starts_with('/'));
    match (kind, value) {
        (Kind::Directory, PyValue::Str(path)) if !absolute => text(&relative(path)),
        (Kind::User, PyValue::Int(4321)) | (Kind::Group, PyValue::Int(8765)) => text("own"),
        _ => value.clone(),
    }
}

/// Python's `os.path.relpath` from the data directory.
fn relative(path: &str) -> String {
    let here = data_dir();
    let shared = here.iter().zip(std::path::Path::new(path).iter()).take_while(|(a, b)| a == b).count();
    let up = here.iter().skip(shared).map(|_| "..".to_owned());
    let down = std::path::Path::new(path).iter().skip(shared).map(|part| part.to_str().unwrap().to_owned());
    let parts: Vec<String> = up.chain(down).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[test]
fn values_are_printed_as_python_prints_them() {
    for row in rows("values.json") {
        let (Some(printed), Some(name)) = (row["printed"].as_str(), row["setting"].as_str()) else { continue };
        let given: PyValue = serde_json::from_value(row["given"].clone()).unwrap();
        if DEVIATIONS.iter().any(|(setting, value, _)| (*setting, *value) == (name, python_repr(&given).as_str())) {
            continue;
        }
        let settings = merged(&[], &["app:app"], python(&[(name, 1, given)])).unwrap();
        let config = settings.print_config(&std::collections::BTreeMap::new());
        let line = config.lines().find(|line| line.split('=').next().unwrap().trim() == name).unwrap();
        assert_eq!(line.split_once('=').unwrap().1.get(1..).unwrap(), printed, "{name}: {row}");
    }
}

#[test]
fn strings_are_quoted_as_python_quotes_them() {
    // Each pair is from Python's own repr.
    for (value, repr) in [
        ("a", "'a'"),
        ("it's", "\"it's\""),
        ("it's \"so\"", "'it\\'s \"so\"'"),
        ("\\ \n\r\t\x00\x7f", "'\\\\ \\n\\r\\t\\x00\\x7f'"),
        ("é\u{a0}\u{ad}\u{200b}\u{301}", "'é\\xa0\\xad\\u200b\u{301}'"),
        ("\u{1f600}\u{e000}\u{10ffff}", "'\u{1f600}\\ue000\\U0010ffff'"),
    ] {
        assert_eq!(python_repr(&text(value)), repr);
    }
    for (value, shown) in
        [(2.5, "2.5"), (1.0, "1.0"), (1e16, "1e+16"), (1e-5, "1e-05"), (1.5e300, "1.5e+300"), (0.0, "0.0")]
    {
        assert_eq!(python_str(&PyValue::Float(value)), shown);
    }
}

fn live(shown: &str, arity: Option<u32>) -> PyValue {
    PyValue::Live { shown: shown.to_owned(), arity }
}

fn error(name: &str, value: PyValue) -> String {
    merged(&[], &["app:app"], python(&[(name, 3, value)])).unwrap_err().to_string()
}

#[test]
fn hooks_are_checked_for_what_they_take() {
    let hook = |arity| live("<f()>", Some(arity));
    assert!(merged(&[], &["app:app"], python(&[("post_fork", 1, hook(2))])).is_ok());
    for arity in [2, 3, 4] {
        assert!(merged(&[], &["app:app"], python(&[("post_request", 1, hook(arity))])).is_ok());
    }
    for (name, arity) in
        [("post_fork", 1), ("on_exit", 2), ("nworkers_changed", 2), ("post_request", 1), ("post_request", 5)]
    {
        assert!(
            error(name, hook(arity)).contains(&format!("invalid value for {name}: <f()> takes {arity} positional"))
        );
    }
    assert_eq!(
        error("when_ready", text("not_dotted")),
        "Error: invalid value for when_ready: Value 'not_dotted' is not import string. Write module.object \
         (gunicorn.conf.py, line 3)"
    );
    assert!(
        error("when_ready", live("<object object at 0x7f>", None)).contains("<object object at 0x7f> is not callable")
    );
}

#[test]
fn messages_name_the_setting_the_value_and_the_place() {
    assert_eq!(
        error("workers", text("many")),
        "Error: invalid value for workers: 'many' is not an integer (gunicorn.conf.py, line 3)"
    );
    assert_eq!(
        error("forwarded_allow_ips", text("192.168.1.1/24")),
        "Error: invalid value for forwarded_allow_ips: '192.168.1.1/24' has host bits set; the network is 192.168.1.0/24 \
         (gunicorn.conf.py, line 3)"
    );
    assert!(error("user", text("no-such-user-xyz")).contains("there is no user 'no-such-user-xyz'"));
    assert!(error("preload_app", int(1)).contains("invalid value for preload_app: 1 is not a boolean"));
    assert!(error("config", live("<module 'config'>", None)).contains("<module 'config'> is not a string"));
    let from_flag = merged(&[], &["--workers=-1", "app:app"], FileLayer::None).unwrap_err();
    assert_eq!(from_flag.to_string(), "Error: invalid value for workers: -1 is negative (command line)");
    assert_eq!(from_flag.exit_code(), 1);
    let from_variable = merged(&[("GUNICORN_CMD_ARGS", "--chdir missing")], &["app:app"], FileLayer::None).unwrap_err();
    assert!(from_variable.to_string().contains("can't chdir to 'missing'"), "{from_variable}");
    assert!(from_variable.to_string().ends_with("(GUNICORN_CMD_ARGS)"), "{from_variable}");
}

#[test]
fn classes_and_dicts_of_live_objects_stay_in_the_interpreter() {
    let class = live("<SideWorker()>", Some(7));
    let dict = live("{'version': 1, 'handlers': <object object at 0x7f>}", None);
    let file = python(&[("worker_class", 1, class.clone()), ("logconfig_dict", 2, dict.clone())]);
    let settings = merged(&[], &["app:app"], file).unwrap();
    assert_eq!(settings.get("worker_class"), &class);
    assert_eq!(settings.worker_class(), "SideWorker");
    assert_eq!(settings.wire()["logconfig_dict"], dict);
    assert!(error("logconfig_dict", live("<object object at 0x7f>", None)).contains("is not a dictionary"));
    assert!(error("worker_class", live("<object object at 0x7f>", None)).contains("neither a class"));
}

#[test]
fn a_hook_that_takes_less_is_printed_as_its_wrapper() {
    let printed = |arity| {
        let file = python(&[("post_request", 1, live("<post_request()>", Some(arity)))]);
        let config = merged(&[], &["app:app"], file).unwrap().print_config(&std::collections::BTreeMap::new());
        config.lines().find(|line| line.starts_with("post_request ")).unwrap().split(" = ").nth(1).unwrap().to_owned()
    };
    assert_eq!(printed(4), "<post_request()>");
    assert_eq!(printed(2), "<validate_post_request.<locals>.<lambda>()>");
}

#[test]
fn hooks_can_change_settings_which_are_validated() {
    let mut settings = merged(&[], &["app:app"], FileLayer::None).unwrap();
    settings.set("workers", text("3"), Origin::Hook).unwrap();
    assert_eq!(settings.int("workers"), 3);
    assert!(settings.set("workers", text("x"), Origin::Hook).unwrap_err().to_string().contains("set by a hook"));
    assert!(settings.set("wrokers", int(1), Origin::Hook).unwrap_err().to_string().contains("wrokers"));
    let _: Value = serde_json::to_value(settings.wire()).unwrap();
}
