//! Laws of the table.

use std::collections::BTreeSet;

use rgunicorn::settings::table::{self, Action, Argument, Default, Section, Setting};
use rgunicorn_wire::PyValue;
use serde_json::{Value, json};

use crate::{merged, rows};

fn gunicorns() -> impl Iterator<Item = &'static Setting> {
    table::all().filter(|setting| !setting.is_ours())
}

#[test]
fn names_flags_and_defaults_are_gunicorns() {
    let theirs = rows("gunicorn-settings.json");
    assert_eq!(theirs.len(), 120);
    assert_eq!(gunicorns().count(), 120);
    for row in theirs {
        let name = row["name"].as_str().unwrap();
        let setting = table::find(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(setting.section.title(), row["section"], "{name}");
        assert_eq!(json!(setting.flags()), row["cli"], "{name}");
        assert_eq!(json!(setting.metavar), row["metavar"], "{name}");
        assert_eq!(json!(setting.arity()), row["hook_arity"], "{name}");
        let (action, constant, nargs) = match setting.action {
            Action::Store => ("store", Value::Null, Value::Null),
            Action::Append => ("append", Value::Null, Value::Null),
            Action::StoreTrue => ("store_true", Value::Null, Value::Null),
            Action::StoreFalse => ("store_const", json!(false), Value::Null),
            Action::Optional(alone) => ("store", json!(alone), json!("?")),
        };
        assert_eq!(
            (json!(action), constant, nargs),
            (row["action"].clone(), row["const"].clone(), row["nargs"].clone())
        );
        let argument = match setting.argument {
            Argument::Int => "int",
            Argument::AutoInt => "auto_int",
            Argument::Text => "str",
        };
        if !setting.long.is_empty() && row["cli_type"] != Value::Null {
            assert_eq!(argument, row["cli_type"], "{name}");
        }
        let default = match setting.default {
            Default::None | Default::Hook(_) => Value::Null,
            Default::Bool(truth) => json!(truth),
            Default::Int(number) => json!(number),
            Default::Text(text) => json!(text),
            Default::List(items) => json!(items),
            Default::Map(pairs) => pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect(),
            Default::StartDir => json!("<cwd>"),
            Default::EffectiveUser => json!("<euid>"),
            Default::EffectiveGroup => json!("<egid>"),
            Default::ControlSocket => json!("$XDG_RUNTIME_DIR/gunicorn.ctl or $HOME/.gunicorn/gunicorn.ctl"),
        };
        assert_eq!(default, row["default"], "{name}");
        let variables = row["env"].as_str().unwrap_or_default();
        assert_eq!(setting.env.is_empty(), variables.is_empty(), "{name}");
        assert!(setting.env.iter().all(|variable| variables.contains(variable)), "{name}: {variables}");
    }
}

#[test]
fn no_name_and_no_flag_stands_twice() {
    let mut names = BTreeSet::new();
    let mut flags: BTreeSet<String> = ["-h", "--help", "-v", "--version"].map(str::to_owned).into();
    for setting in table::all() {
        assert!(names.insert(setting.name), "{} stands twice", setting.name);
        for flag in setting.flags() {
            assert!(flags.insert(flag.clone()), "{flag} stands twice");
        }
    }
}

#[test]
fn texts_fit_and_refer_to_what_there_is() {
    // Words in backticks that are values, not settings.
    let words = "sync gthread gevent gevent_wsgi gevent_pywsgi tornado asgi auto asyncio uvloop on off poll inotify y yes true \
                 fast python debug info warning error critical drop refuse dangerous v1 v2 http uwsgi uwsgi_pass h1 h2 upgrade \
                 both application root_path all";
    let words: BTreeSet<&str> = words.split_whitespace().collect();
    for setting in table::all() {
        assert!(!setting.summary.is_empty() && setting.summary.chars().count() <= 79, "{}", setting.name);
        assert!(setting.summary.ends_with('.'), "{}", setting.name);
        let whole = format!("{} {}", setting.summary, setting.doc);
        assert_eq!(whole.matches('`').count() % 2, 0, "{}", setting.name);
        for word in whole.split('`').skip(1).step_by(2) {
            let is_name = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if is_name {
                assert!(table::find(word).is_some() || words.contains(word), "{}: what is `{word}`?", setting.name);
            }
            if let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) {
                assert!(table::all().any(|setting| setting.long.contains(&flag)), "{}: no flag `{word}`", setting.name);
            }
        }
    }
}

#[test]
fn entries_are_consistent() {
    for setting in table::all() {
        let name = setting.name;
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        assert!(!setting.long.is_empty() || setting.action == Action::Store, "{name}: an action without a flag");
        assert!(setting.short.is_none() || !setting.long.is_empty(), "{name}: a short flag without a long one");
        assert_eq!(matches!(setting.default, Default::Hook(_)), setting.arity().is_some(), "{name}");
        if let Some(whole) = setting.part_of {
            assert!(table::find(whole).is_some_and(|whole| whole.part_of.is_none()), "{name}: part of {whole}");
        }
    }
    let ours: Vec<_> = table::all().filter(|setting| setting.section == Section::Ours).map(|s| s.name).collect();
    let names = table::python_names();
    // What says how the configuration is to be read cannot stand in a file that Python reads.
    let from_python: Vec<_> = ours.iter().filter(|name| names.iter().any(|other| other == *name)).collect();
    assert_eq!(ours.len() - from_python.len(), 2);
    assert!(!names.iter().any(|name| name == "python" || name == "explain_config"));
    assert_eq!(names.len(), 120 + from_python.len());
}

#[test]
fn defaults_are_valid_and_print_as_gunicorns() {
    let settings = merged(&[("HOME", "/home/me")], &["app:app"], rgunicorn::settings::FileLayer::None).unwrap();
    let config = settings.print_config(&std::collections::BTreeMap::new());
    let value = |name: &str| {
        let line = config.lines().find(|line| line.split('=').next().unwrap().trim() == name);
        line.unwrap_or_else(|| panic!("{name} is not printed")).split_once(" = ").unwrap().1.to_owned()
    };
    let names: Vec<_> = config.lines().map(|line| line.split('=').next().unwrap().trim()).collect();
    assert!(names.is_sorted());
    assert!(config.lines().all(|line| line.find(" = ") == Some("permit_unconventional_http_version".len())));
    for row in rows("gunicorn-settings.json") {
        let name = row["name"].as_str().unwrap();
        let expected =
            if row["default_after_validation"].is_null() { &row["default"] } else { &row["default_after_validation"] };
        match expected {
            Value::String(text) if !text.starts_with(['<', '$']) && name != "default_proc_name" => {
                assert_eq!(&value(name), text)
            }
            Value::Number(number) => assert_eq!(value(name), number.to_string()),
            Value::Bool(truth) => assert_eq!(value(name), if *truth { "True" } else { "False" }),
            Value::Null if row["hook_arity"].is_null() => assert_eq!(value(name), "None"),
            _ => {}
        }
    }
    assert_eq!(value("bind"), "['127.0.0.1:8000']");
    assert_eq!(value("post_fork"), "<Postfork.post_fork()>");
    assert_eq!(value("nworkers_changed"), "<NumWorkersChanged.nworkers_changed()>");
    assert_eq!(
        value("secure_scheme_headers"),
        "{'X-FORWARDED-PROTOCOL': 'ssl', 'X-FORWARDED-PROTO': 'https', 'X-FORWARDED-SSL': 'on'}"
    );
    assert_eq!(value("control_socket"), "/home/me/.gunicorn/gunicorn.ctl");
    assert_eq!(value("user"), "4321");
    assert_eq!(settings.wire().len(), table::all().count() - 1);
    assert_eq!(settings.wire()["post_fork"], PyValue::None);
    assert_eq!(settings.callables()["nworkers_changed"], 3);
}
