//! The TOML file.

use rgunicorn::settings::{FileLayer, TomlFile};
use rgunicorn_wire::PyValue;

use crate::{int, merged, text};

fn error(toml: &str) -> String {
    match TomlFile::parse(toml, "rgunicorn.toml") {
        Err(error) => error.to_string(),
        Ok(file) => merged(&[], &["app:app"], FileLayer::Toml(file)).unwrap_err().to_string(),
    }
}

#[test]
fn types_are_toml_types() {
    let file = TomlFile::parse(
        "bind = ['127.0.0.1:80', 'unix:/run/s']\nworkers = 3\numask = 0o022\npreload_app = true\nraw_env = 'A=1'\n\
         forwarded_allow_ips = ['10.0.0.0/8', '::1']\nproxy_protocol = true\nuser = 1000\ngroup = '1001'\n\
         post_fork = 'hooks.post_fork'\npython = 'python3.12'\nstatsd_host = 'localhost:8125'\n\
         [secure_scheme_headers]\nX-FORWARDED-PROTO = 'https'\nA = 'b'\n",
        "rgunicorn.toml",
    );
    let settings = merged(&[], &["app:app"], FileLayer::Toml(file.unwrap())).unwrap();
    assert_eq!(settings.list("bind"), ["127.0.0.1:80", "unix:/run/s"]);
    assert_eq!(settings.int("workers"), 3);
    assert_eq!(settings.int("umask"), 0o22);
    assert!(settings.bool("preload_app"));
    assert_eq!(settings.list("raw_env"), ["A=1"]);
    assert_eq!(settings.list("forwarded_allow_ips"), ["10.0.0.0/8", "::1"]);
    assert_eq!(settings.text("proxy_protocol"), Some("auto"));
    assert_eq!((settings.int("user"), settings.int("group")), (1000, 1001));
    assert_eq!(settings.get("post_fork"), &text("hooks.post_fork"));
    assert_eq!(settings.python(), Some("python3.12"));
    assert_eq!(settings.get("statsd_host"), &PyValue::List(vec![text("localhost"), int(8125)]));
    assert_eq!(settings.map("secure_scheme_headers"), [("X-FORWARDED-PROTO", "https"), ("A", "b")]);
    assert_eq!(settings.origin("secure_scheme_headers").to_string(), "rgunicorn.toml, line 13");
}

#[test]
fn a_wrong_type_is_an_error_with_its_line() {
    assert_eq!(
        error("bind = ':80'\n\nworkers = '4'\n"),
        "Error: invalid value for workers: '4' is a string; an integer is wanted (rgunicorn.toml, line 3)"
    );
    for (toml, part) in [
        ("timeout = 2.5", "timeout: 2.5 is a float; an integer is wanted"),
        ("preload_app = 1", "preload_app: 1 is an integer; true or false is wanted"),
        ("pidfile = ['a']", "pidfile: ['a'] is an array; a string is wanted"),
        ("bind = [1]", "bind: [1] is an array; an array of strings is wanted"),
        ("secure_scheme_headers = 'x'", "a table is wanted"),
        ("proc_name = 2026-01-01", "proc_name: 2026-01-01 is a datetime; a string is wanted"),
        ("workers = -1", "workers: -1 is negative"),
        ("loglevel = true", "loglevel: True is a boolean; a string is wanted"),
        ("workers = 99999999999999999999", "too large"),
        ("post_fork = 'hooks'", "Value 'hooks' is not import string"),
    ] {
        let error = error(toml);
        assert!(error.contains(part) && error.ends_with("(rgunicorn.toml, line 1)"), "{error}");
    }
}

#[test]
fn an_unknown_key_is_an_error_with_a_suggestion() {
    assert_eq!(
        error("workers = 1\nlog-level = 'debug'\n"),
        "Error: unknown setting 'log-level' (rgunicorn.toml, line 2); did you mean 'loglevel'?"
    );
    for (key, meant) in [
        ("worker", "workers"),
        ("wrokers", "workers"),
        ("access-logfile", "accesslog"),
        ("log_file", "errorlog"),
        ("preload", "preload_app"),
        ("keep_alive", "keepalive"),
        ("env", "raw_env"),
        ("name", "proc_name"),
        ("max-requests", "max_requests"),
        ("workerclass", "worker_class"),
    ] {
        let error = error(&format!("{key} = 1"));
        assert!(error.ends_with(&format!("did you mean '{meant}'?")), "{error}");
    }
    assert!(error("[server]\nworkers = 1").ends_with("settings stand at the top level, not in tables"));
    assert!(error("utterly_different = 1").ends_with("no setting has a similar name"));
    assert!(error("explain_config = true").ends_with("it is the flag --explain-config"));
    assert!(error("config = 'x.py'").contains("command line"));
}

#[test]
fn broken_toml_is_an_error_with_its_line() {
    for toml in ["workers = 1\nbind = \n", "workers = 1\nworkers = 2\n", "workers = 1\n[bind\n"] {
        let error = error(toml);
        assert!(error.starts_with("Error: ") && error.ends_with("(rgunicorn.toml, line 2)"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = TomlFile::read(&dir.path().join("no.toml"), "no.toml").unwrap_err().to_string();
    assert!(error.contains("Failed to read config file: no.toml"), "{error}");
    std::fs::write(dir.path().join("bad.toml"), b"bind = '\xff'").unwrap();
    let error = TomlFile::read(&dir.path().join("bad.toml"), "bad.toml").unwrap_err().to_string();
    assert!(error.contains("not UTF-8"), "{error}");
}
