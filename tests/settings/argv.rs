//! Command lines, as Gunicorn's parser reads them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use rgunicorn::settings::argv::{Outcome, parse};
use rgunicorn::settings::{Invocation, Parsed, Usage, words};
use rgunicorn_wire::PyValue;
use serde_json::{Value, json};

use crate::{environment, invocation, rows};

#[test]
fn every_command_line_is_read_as_argparse_reads_it() {
    let rows = rows("argv.json");
    assert!(rows.len() > 200);
    let mut wrong = Vec::new();
    for row in rows {
        let words: Vec<String> = serde_json::from_value(row["words"].clone()).unwrap();
        let mut ours = match parse(&words) {
            Ok(Outcome::Help) => json!({ "prints": "help" }),
            Ok(Outcome::Version) => json!({ "prints": "version" }),
            Ok(Outcome::Given(given)) => {
                let settings: BTreeMap<_, _> = given.settings.iter().map(|(s, value)| (s.name, value)).collect();
                json!({ "args": given.positional, "settings": settings })
            }
            Err(error) => json!({ "error": error }),
        };
        ours["words"] = row["words"].clone();
        if in_any_order(ours.clone()) != in_any_order(row.clone()) {
            wrong.push(format!("ours:   {ours}\ntheirs: {row}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The flags that an abbreviation could mean are named in another order here: by section.
fn in_any_order(mut row: Value) -> Value {
    if let Some((head, flags)) = row["error"].as_str().and_then(|error| error.split_once(" could match ")) {
        let mut flags: Vec<_> = flags.split(", ").collect();
        flags.sort_unstable();
        row["error"] = json!(format!("{head} could match {}", flags.join(", ")));
    }
    row
}

#[test]
fn flags_of_our_own_take_no_abbreviation_from_gunicorn() {
    let given = |words: &[&str]| match parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()) {
        Ok(Outcome::Given(given)) => given.settings.into_iter().map(|(setting, _)| setting.name).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(given(&["--python", "python3.12"]), ["python"]);
    assert_eq!(given(&["--pytho", "lib"]), ["pythonpath"]);
    assert_eq!(given(&["--expl"]), ["explain_config"]);
}

fn refused(words: &[&str], vars: &[(&str, &str)]) -> Usage {
    let args = std::iter::once("rgunicorn").chain(words.iter().copied()).map(OsString::from).collect();
    Invocation::parse(args, environment(vars)).unwrap_err()
}

#[test]
fn usage_errors_look_like_argparse_ones() {
    let usage = refused(&["-w", "x", "app:app"], &[]);
    assert_eq!(usage.exit_code, 2);
    assert_eq!(
        usage.text,
        "usage: rgunicorn [OPTIONS] [APP_MODULE]\n\
         rgunicorn: error: argument -w/--workers: invalid int value: 'x'\n"
    );
}

#[test]
fn errors_in_gunicorn_cmd_args_say_so() {
    let usage = refused(&["app:app"], &[("GUNICORN_CMD_ARGS", "--workers many")]);
    assert_eq!(usage.exit_code, 2);
    assert!(usage.text.contains("in GUNICORN_CMD_ARGS: argument -w/--workers: invalid int value: 'many'"), "{usage}");

    let usage = refused(&["app:app"], &[("GUNICORN_CMD_ARGS", "--name 'open")]);
    assert_eq!(usage.exit_code, 1);
    assert!(usage.text.contains("Error: No closing quotation in GUNICORN_CMD_ARGS: --name 'open"), "{usage}");
}

#[test]
fn words_that_are_not_utf8_are_an_error() {
    let args = vec!["rgunicorn".into(), OsString::from_vec(b"app\xff".to_vec())];
    let usage = Invocation::parse(args, environment(&[])).unwrap_err();
    assert_eq!(usage.exit_code, 2);
    assert!(usage.text.contains("not UTF-8"), "{usage}");
}

#[test]
fn help_lists_every_flag_and_version_names_both_programs() {
    let print = |word: &str, vars: &[(&str, &str)]| match Invocation::parse(
        vec!["rgunicorn".into(), word.into()],
        environment(vars),
    ) {
        Ok(Parsed::Print(text)) => text,
        other => panic!("{other:?}"),
    };
    let help = print("--help", &[]);
    assert!(help.starts_with("usage: rgunicorn [OPTIONS] [APP_MODULE]\n"), "{help}");
    for setting in rgunicorn::settings::table::all() {
        for flag in setting.flags() {
            assert!(help.contains(&flag), "{flag} is not in the help");
        }
    }
    assert!(help.lines().all(|line| line.chars().count() <= 80));
    assert!(help.find("\nrgunicorn:\n") > help.find("\nControl:\n"), "{help}");
    assert!(print("-v", &[]).ends_with(", Gunicorn 27.0.1 compatible)\n"));
    // As in Gunicorn, help may be asked for in the variable too.
    assert_eq!(print("app:app", &[("GUNICORN_CMD_ARGS", "--help")]), help);
}

#[test]
fn gunicorn_cmd_args_is_divided_as_shlex_does() {
    let split = |text| words::split(text);
    assert_eq!(
        split(r#"--config 'conf dir/other.py' --access-logformat '%(h)s "%(r)s"'"#).unwrap(),
        ["--config", "conf dir/other.py", "--access-logformat", r#"%(h)s "%(r)s""#]
    );
    assert_eq!(split(r#"a\ b "c\"d\e" '\' "" #x"#).unwrap(), ["a b", r#"c"d\e"#, r"\", "", "#x"]);
    assert_eq!(split(" \t\n").unwrap(), [""; 0]);
    assert_eq!(split("a\\"), Err("No escaped character"));
    assert_eq!(split("\"a"), Err("No closing quotation"));
}

#[test]
fn flags_in_the_variable_count_less_than_typed_ones() {
    let invocation = invocation(&[("GUNICORN_CMD_ARGS", "-c a.py --python x --check-config")], &["app:app"]);
    assert_eq!(invocation.python(), Some("x"));
    assert_eq!(invocation.mode(), rgunicorn::settings::Mode::CheckConfig);
    let settings = rgunicorn::settings::merge(&invocation, rgunicorn::settings::FileLayer::None).unwrap();
    assert_eq!(settings.get("config"), &PyValue::Str("a.py".to_owned()));
    assert_eq!(settings.app_uri(), "app:app");
}
