//! Layers, and what follows from them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rgunicorn::settings::{Bind, ConfigSource, Environment, FileLayer, Mode, TomlFile};
use rgunicorn_wire::PyValue;
use rgunicorn_wire::message::PythonConfig;

use crate::{environment, int, invocation_in, merged, python, text};

#[test]
fn each_layer_overrides_the_one_before() {
    let file = || python(&[("workers", 4, int(3)), ("threads", 5, int(2))]);
    let vars = [("WEB_CONCURRENCY", "2"), ("GUNICORN_CMD_ARGS", "--workers 4 other:ignored")];
    let workers = |vars: &[(&str, &str)], words: &[&str], file| {
        let settings = merged(vars, words, file).unwrap();
        (settings.int("workers"), settings.origin("workers").to_string())
    };
    assert_eq!(workers(&[], &["a"], FileLayer::None), (1, "default".to_owned()));
    assert_eq!(workers(&vars[..1], &["a"], FileLayer::None), (2, "environment variable WEB_CONCURRENCY".to_owned()));
    assert_eq!(workers(&vars[..1], &["a"], file()), (3, "gunicorn.conf.py, line 4".to_owned()));
    assert_eq!(workers(&vars, &["a"], file()), (4, "GUNICORN_CMD_ARGS".to_owned()));
    assert_eq!(workers(&vars, &["-w5", "a"], file()), (5, "command line".to_owned()));
}

#[test]
fn explain_tells_where_values_come_from_and_what_they_overrode() {
    let vars = [("WEB_CONCURRENCY", "2"), ("GUNICORN_CMD_ARGS", "--workers 4")];
    let file = python(&[("workers", 4, int(3)), ("threads", 5, text("2"))]);
    let settings = merged(&vars, &["-w5", "app:app"], file).unwrap();
    assert_eq!(
        settings.explain_config(),
        "default_proc_name = app:app
    set by: application on the command line
    overrides: gunicorn (default)
threads = 2
    set by: gunicorn.conf.py, line 5
    overrides: 1 (default)
workers = 5
    set by: command line
    overrides: 4 (GUNICORN_CMD_ARGS)
    overrides: 3 (gunicorn.conf.py, line 4)
    overrides: 2 (environment variable WEB_CONCURRENCY)
    overrides: 1 (default)
The worker class becomes gthread, since threads is 2.
"
    );
}

#[test]
fn a_list_of_a_higher_layer_replaces_the_lower_one() {
    let file = python(&[("bind", 1, PyValue::List(vec![text(":1"), text(":2")]))]);
    let settings = merged(&[("PORT", "5005")], &["-b", ":3", "a"], file).unwrap();
    assert_eq!(settings.list("bind"), [":3"]);
}

#[test]
fn environment_variables_move_defaults() {
    let vars = [("PORT", "5005"), ("WEB_CONCURRENCY", " 4 "), ("FORWARDED_ALLOW_IPS", "*"), ("SENDFILE", "no")];
    let settings = merged(&vars, &["a"], FileLayer::None).unwrap();
    assert_eq!(settings.list("bind"), ["0.0.0.0:5005"]);
    assert_eq!(settings.int("workers"), 4);
    assert_eq!(settings.list("forwarded_allow_ips"), ["*"]);
    assert!(!settings.sendfile());
    assert!(merged(&[("SENDFILE", "YES")], &["a"], FileLayer::None).unwrap().sendfile());
    assert!(merged(&[], &["a"], FileLayer::None).unwrap().sendfile());
    // Any value turns it off, as in Gunicorn.
    assert!(!merged(&[], &["a"], python(&[("sendfile", 1, PyValue::Bool(true))])).unwrap().sendfile());

    assert_eq!(merged(&[("WEB_CONCURRENCY", "")], &["a"], FileLayer::None).unwrap().int("workers"), 1);
    for bad in ["many", "0x2", "2.5"] {
        let error = merged(&[("WEB_CONCURRENCY", bad)], &["a"], FileLayer::None).unwrap_err().to_string();
        let expected =
            format!("invalid value for workers: '{bad}' is not an integer (environment variable WEB_CONCURRENCY)");
        assert!(error.ends_with(&expected), "{error}");
    }
    assert!(merged(&[("WEB_CONCURRENCY", "-1")], &["a"], FileLayer::None).is_err());
    assert!(merged(&[("FORWARDED_ALLOW_IPS", "proxy")], &["a"], FileLayer::None).is_err());
}

#[test]
fn the_control_socket_is_below_the_runtime_directory_if_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let socket = |vars: &[(&str, &str)]| {
        merged(vars, &["a"], FileLayer::None).unwrap().text("control_socket").unwrap().to_owned()
    };
    assert_eq!(socket(&[("XDG_RUNTIME_DIR", dir), ("HOME", "/h")]), format!("{dir}/gunicorn.ctl"));
    assert_eq!(socket(&[("XDG_RUNTIME_DIR", "/missing"), ("HOME", "/h")]), "/h/.gunicorn/gunicorn.ctl");
    assert!(socket(&[]).ends_with("/.gunicorn/gunicorn.ctl"));
}

#[test]
fn the_application_comes_from_the_command_line_or_wsgi_app() {
    let wsgi_app = || python(&[("wsgi_app", 1, text("other:app"))]);
    let settings = merged(&[], &["app", "ignored"], wsgi_app()).unwrap();
    assert_eq!((settings.app_uri(), settings.proc_name()), ("app", "app"));
    let settings = merged(&[], &[], wsgi_app()).unwrap();
    assert_eq!((settings.app_uri(), settings.proc_name()), ("other:app", "gunicorn"));
    let settings = merged(&[], &["-n", "shop", "app"], python(&[("default_proc_name", 1, text("x"))])).unwrap();
    assert_eq!(settings.proc_name(), "shop");
    assert_eq!(settings.text("default_proc_name"), Some("x"));
    let error = merged(&[("GUNICORN_CMD_ARGS", "app:app")], &[], FileLayer::None).unwrap_err();
    assert!(error.to_string().starts_with("Error: No application module specified."), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn paste_names_process_and_logs() {
    let dir = tempfile::tempdir().unwrap();
    let start = Environment { start_dir: dir.path().to_owned(), ..environment(&[]) };
    let merge = |words: &[&str], file| rgunicorn::settings::merge(&invocation_in(start.clone(), words), file);
    let error = merge(&["--paste", "site.ini"], FileLayer::None).unwrap_err().to_string();
    assert!(error.contains("invalid value for paste") && error.contains("site.ini' not found"), "{error}");

    let ini = dir.path().join("site.ini");
    std::fs::write(&ini, "[app:main]\nuse = egg:site\n").unwrap();
    let ini = ini.to_str().unwrap();
    let settings = merge(&["--paste", "./site.ini#main", "ignored:app"], FileLayer::None).unwrap();
    assert_eq!(settings.paste_uri(), Some(format!("{ini}#main").as_str()));
    assert_eq!((settings.app_uri(), settings.proc_name()), ("", ini));
    assert_eq!(settings.text("logconfig"), None);

    std::fs::write(ini, "[loggers]\nkeys = root\n").unwrap();
    assert_eq!(merge(&["--paste", "site.ini"], FileLayer::None).unwrap().text("logconfig"), Some(ini));
    let file = python(&[("logconfig", 1, text("mine.ini"))]);
    assert_eq!(merge(&["--paste", "site.ini"], file).unwrap().text("logconfig"), Some("mine.ini"));

    // In a file it serves nothing, as in Gunicorn.
    let error = merge(&[], python(&[("paste", 7, text("site.ini"))])).unwrap_err().to_string();
    assert!(error.contains("No application module specified") && error.contains("line 7"), "{error}");
}

#[test]
fn the_config_file_is_the_one_named_or_the_first_that_exists() {
    let dir = tempfile::tempdir().unwrap();
    let start = Environment { start_dir: dir.path().to_owned(), ..environment(&[]) };
    let source = |words: &[&str]| invocation_in(start.clone(), words).config_source();
    let path = |name: &str| dir.path().join(name);
    let python_file = |name: &str| ConfigSource::Python(PythonConfig::File(name.to_owned()));
    let usual = source(&["a"]).unwrap();
    assert!(matches!(usual, ConfigSource::None | ConfigSource::Toml { .. }), "{usual:?}");

    for name in ["gunicorn.conf.py", "conf.ini", "x.toml"] {
        std::fs::write(path(name), "").unwrap();
    }
    assert_eq!(source(&["a"]).unwrap(), python_file(path("gunicorn.conf.py").to_str().unwrap()));
    std::fs::write(path("rgunicorn.toml"), "").unwrap();
    let toml = |path: PathBuf, name: &str| ConfigSource::Toml { path, name: name.to_owned() };
    assert_eq!(source(&["a"]).unwrap(), toml(path("rgunicorn.toml"), "rgunicorn.toml"));
    assert_eq!(source(&["-c", "x.toml", "a"]).unwrap(), toml(path("x.toml"), "x.toml"));
    assert_eq!(source(&["-c", "file:x.toml", "a"]).unwrap(), toml(path("x.toml"), "x.toml"));
    assert_eq!(source(&["-c=gunicorn.conf.py", "a"]).unwrap(), python_file("gunicorn.conf.py"));
    assert_eq!(source(&["-c", "python:x.y", "a"]).unwrap(), ConfigSource::Python(PythonConfig::Module("x.y".into())));
    // Nothing named is nothing said.
    assert_eq!(source(&["-c", "", "a"]).unwrap(), toml(path("rgunicorn.toml"), "rgunicorn.toml"));

    assert_eq!(source(&["-c", "gunicorn.conf.py", "a"]).unwrap().warning(), None);
    assert!(source(&["-c", "conf.ini", "a"]).unwrap().warning().unwrap().contains("valid Python extension"));

    let vars = [("GUNICORN_CMD_ARGS", "-c conf.ini")];
    let with_variable = Environment { start_dir: dir.path().to_owned(), ..environment(&vars) };
    assert_eq!(invocation_in(with_variable.clone(), &["a"]).config_source().unwrap(), python_file("conf.ini"));
    let both = invocation_in(with_variable, &["-c", "x.toml", "a"]).config_source().unwrap();
    assert_eq!(both, toml(path("x.toml"), "x.toml"));

    assert_eq!(source(&["-c", "no.py", "a"]).unwrap_err().to_string(), "Error: 'no.py' doesn't exist");
    let directory = source(&["-c", ".", "a"]).unwrap_err().to_string();
    assert!(directory.contains("Failed to read config file: .") && directory.contains("directory"), "{directory}");
}

#[test]
fn sync_with_threads_is_gthread() {
    let class = |class: &str, threads| {
        let file = python(&[("worker_class", 1, text(class)), ("threads", 2, int(threads))]);
        merged(&[], &["a"], file).unwrap().worker_class()
    };
    assert_eq!(class("sync", 1), "sync");
    assert_eq!(class("sync", 2), "gthread");
    assert_eq!(class("gunicorn.workers.sync.SyncWorker", 2), "gthread");
    assert_eq!(class("my_worker.SideWorker", 2), "my_worker.SideWorker");
    assert_eq!(class("gevent", 2), "gevent");
}

#[test]
fn addresses_are_read_as_gunicorn_reads_them() {
    let tcp = |host: &str, port| Bind::Tcp { host: host.to_owned(), port };
    for (given, expected) in [
        ("127.0.0.1:80", tcp("127.0.0.1", 80)),
        ("LocalHost", tcp("localhost", 8000)),
        (":80", tcp("", 80)),
        ("", tcp("0.0.0.0", 8000)),
        ("[::1]", tcp("::1", 8000)),
        ("[::]:80", tcp("::", 80)),
        ("tcp://h:80", tcp("h", 80)),
        ("h:80:81", tcp("h", 80)),
        ("h: 80", tcp("h", 80)),
        ("unix:/run/s", Bind::Unix("/run/s".into())),
        ("unix:///run/s", Bind::Unix("/run/s".into())),
        ("unix:s", Bind::Unix("s".into())),
        ("fd://3", Bind::Fd(3)),
    ] {
        assert_eq!(Bind::parse(given, 8000).as_ref(), Ok(&expected), "{given}");
    }
    for bad in ["h:port", "h:", "::1:80", "h:65536", "h:-1", "fd://x", "fd://-1"] {
        assert!(Bind::parse(bad, 8000).is_err(), "{bad}");
    }
    assert_eq!(tcp("::1", 80).to_string(), "[::1]:80");
    let bind = PyValue::List(vec![text("127.0.0.1:80"), text("h:http")]);
    let settings = merged(&[], &["a"], python(&[("bind", 9, bind)])).unwrap();
    assert_eq!(
        settings.addresses().unwrap_err().to_string(),
        "Error: invalid value for bind: 'http' is not a valid port number in 'h:http' (gunicorn.conf.py, line 9)"
    );
}

#[test]
fn raw_env_becomes_an_environment_at_a_start_only() {
    let settings = merged(&[], &["-e", "A=1=2", "-e", "B=", "a"], FileLayer::None).unwrap();
    assert_eq!(settings.env().unwrap(), [("A".to_owned(), "1=2".to_owned()), ("B".to_owned(), String::new())]);
    let settings = merged(&[], &["-e", "JUST_A_NAME", "a"], FileLayer::None).unwrap();
    assert!(settings.env().unwrap_err().to_string().contains("environment setting 'JUST_A_NAME' invalid"));
}

#[test]
fn a_python_file_may_have_other_names() {
    let file = python(&[
        ("debug", 1, int(1)),
        ("python", 2, text("x")),
        ("explain_config", 3, int(1)),
        ("workers", 4, int(2)),
    ]);
    let settings = merged(&[], &["a"], file).unwrap();
    assert_eq!(settings.int("workers"), 2);
    assert_eq!(settings.python(), None);
    assert_eq!(settings.mode(), Mode::Serve);
}

#[test]
fn a_file_can_ask_for_a_check() {
    let settings = merged(&[], &["a"], python(&[("check_config", 1, PyValue::Bool(true))])).unwrap();
    assert_eq!(settings.mode(), Mode::CheckConfig);
    assert_eq!(merged(&[], &["--print-config", "a"], FileLayer::None).unwrap().mode(), Mode::PrintConfig);
    assert_eq!(merged(&[], &["--explain-config", "a"], FileLayer::None).unwrap().mode(), Mode::ExplainConfig);
}

#[test]
fn dicts_print_as_python_said() {
    let pairs = PyValue::Map(vec![("X-Forwarded-Proto".to_owned(), text("https"))]);
    let config = merged(&[], &["a"], python(&[("secure_scheme_headers", 1, pairs)])).unwrap();
    assert!(config.print_config(&BTreeMap::new()).contains("= {'X-Forwarded-Proto': 'https'}\n"));
    let shown = BTreeMap::from([("when_ready".to_owned(), "<boot()>".to_owned())]);
    let config = merged(&[], &["a"], python(&[("when_ready", 1, text("hooks.boot"))])).unwrap();
    assert!(
        config.print_config(&shown).lines().any(|line| line.starts_with("when_ready ") && line.ends_with("= <boot()>"))
    );
}

fn unbuilt(toml: &str) -> Vec<String> {
    let file = TomlFile::parse(toml, "rgunicorn.toml").unwrap();
    merged(&[], &["a"], FileLayer::Toml(file)).unwrap().unbuilt()
}

#[test]
fn what_is_not_built_is_named_in_one_line_when_it_matters() {
    // Not set, set to its default, or part of something that is off: no word.
    for toml in [
        "",
        "workers = 4\nkeepalive = 75\npreload_app = true",
        "reload = false\nreload_engine = 'poll'\nsyslog_prefix = 'x'\nstatsd_prefix = 'x'\nuwsgi_allow_ips = '*'",
        "worker_class = 'gunicorn.workers.sync.SyncWorker'\nworker_connections = 10\nthreads = 1\nasgi_loop = 'uvloop'",
        "threads = 4",
        "worker_class = 'gthread'\nthreads = 4\nrequest_timeout = 9\nlimit_request_body = 5\nmax_queue_wait = 1",
        "worker_class = 'my.Worker'\nrequest_head_timeout = 9\nrequest_buffer = 5\nresponse_buffer = 5",
        "proxy_protocol = 'v1'\nproxy_allow_ips = '*'",
        "proxy_protocol = 'off'\nprotocol = 'http'\nhttp_protocols = 'h1'\nhttp2_max_frame_size = 20000\ncert_reqs = 2",
        "logger_class = 'simple'\ncontrol_socket = '/x'\ncontrol_socket_mode = 432\nlogconfig_dict = {}\nlogconfig = ''\ndirty_threads = 3",
    ] {
        assert_eq!(unbuilt(toml), [""; 0], "{toml}");
    }
    for (toml, named) in [
        ("worker_class = 'gevent'\nthreads = 4", "worker_class = gevent (sync serves)"),
        ("worker_class = 'tornado'", "worker_class = tornado (sync serves)"),
        ("reload = true\nreload_engine = 'poll'", "reload, reload_engine = poll"),
        ("statsd_host = 'h'\nstatsd_prefix = 'p'", "statsd_host = ['h', 8125], statsd_prefix = p"),
        ("protocol = 'uwsgi'\nhttp_protocols = 'h2,h1'", "protocol = uwsgi, http_protocols = ['h2', 'h1']"),
        ("logconfig_dict = { version = 1 }", "logconfig_dict"),
        ("spew = true\nsyslog = true", "spew, syslog"),
        ("dirty_workers = 1\ndirty_apps = 'a:B'", "dirty_apps = ['a:B'], dirty_workers = 1"),
    ] {
        assert_eq!(unbuilt(toml), [format!("Accepted, but without effect in this version: {named}")], "{toml}");
    }
}

#[test]
fn tls_is_refused_rather_than_served_in_the_clear() {
    let settings = merged(&[], &["--certfile", "x.pem", "a"], FileLayer::None).unwrap();
    let error = settings.check_start().unwrap_err();
    assert!(error.to_string().starts_with("Error: certfile = x.pem (command line) asks for TLS"), "{error}");
    assert_eq!(error.exit_code(), 1);
    assert!(merged(&[], &["a"], FileLayer::None).unwrap().check_start().is_ok());
}

#[test]
fn a_log_configuration_has_to_exist() {
    let check = |words: &[&str]| merged(&[], words, FileLayer::None).unwrap().check_start();
    assert!(check(&["--log-config", "argv.json", "a"]).is_ok());
    // Relative to the directory that is entered, and of no interest when another one is used.
    assert!(check(&["--log-config", "argv.json", "--chdir", "/", "a"]).is_err());
    assert!(check(&["--log-config", "nowhere.ini", "--log-config-json", "x", "a"]).is_ok());
    let error = check(&["--log-config", "nowhere.ini", "a"]).unwrap_err().to_string();
    assert!(error.contains("logconfig") && error.contains("'nowhere.ini' not found (command line)"), "{error}");
}

#[test]
fn warnings_are_kept() {
    let file = python(&[("reload_extra_files", 1, text("locale/*.mo")), ("ssl_version", 2, text("TLS"))]);
    let settings = merged(&[], &["a"], file).unwrap();
    assert_eq!(settings.warnings()[0], "Pattern locale/*.mo currently matches no files.");
    assert!(settings.warnings()[1].contains("ssl_version"));
}
