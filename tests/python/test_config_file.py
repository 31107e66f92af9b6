"""What the forkserver makes of a Python config file."""

from __future__ import annotations

import signal
import subprocess

import pytest
from harness import EXTENSION, LIMIT, ROOT


def load(arbiter, **more):
    arbiter.expect("hello")
    return arbiter.load(**more)


def settings(arbiter, **more):
    loaded = load(arbiter, **more)
    assert loaded["type"] == "loaded", (loaded, arbiter.output())
    return loaded["settings"]


def test_hello_names_the_build(start):
    hello = start().expect("hello")
    assert hello["wire"] >= 1 and "+" in hello["build"] and hello["python"].startswith("3.")


def test_without_a_file_nothing_is_set(start):
    assert settings(start()) == {}


def test_values_lines_and_other_names(start):
    told = settings(
        start(
            config="""
            import os
            from helpers import child_exit
            workers = "0x4"
            bind = ["a:1", ("b:2")]
            timeout = 3.5
            daemon = None
            log_level = "not a setting"
            Workers = 9
            secure_scheme_headers = {"X": "y"}
            logconfig_dict = {"handlers": [object()]}
            max_requests = 1 << 70
            if workers:
                threads = 1
                for keepalive in (1, 2):
                    pass
            else:
                threads = 2
            with open(os.devnull):
                loglevel: str = "ERROR"
            globals().update(backlog=7)
            def post_fork(server, worker, extra=None): pass
            when_ready = lambda server: None
            """,
            helpers="def child_exit(server, worker): pass",
        )
    )
    assert told["workers"] == {"value": {"kind": "str", "value": "0x4"}, "line": 4, "shown": "0x4"}
    assert told["bind"]["value"] == {"kind": "list", "value": [{"kind": "str", "value": v} for v in ("a:1", "b:2")]}
    assert told["timeout"]["value"] == {"kind": "float", "value": 3.5}
    assert told["daemon"]["value"] == {"kind": "none"}
    assert told["secure_scheme_headers"]["value"] == {"kind": "map", "value": [["X", {"kind": "str", "value": "y"}]]}
    assert told["logconfig_dict"]["value"]["kind"] == "live"
    assert told["max_requests"]["value"]["value"]["arity"] is None
    assert (told["threads"]["line"], told["keepalive"]["line"], told["loglevel"]["line"]) == (18, 15, 20)
    assert told["keepalive"]["value"] == {"kind": "int", "value": 2}
    assert told["backlog"]["line"] is None
    assert told["post_fork"]["value"]["value"] == {"shown": "<post_fork()>", "arity": 3}
    assert told["when_ready"]["value"]["value"] == {"shown": "<<lambda>()>", "arity": 1}
    assert told["child_exit"]["line"] == 3
    assert "log_level" not in told and "Workers" not in told


def test_arity_is_counted_as_gunicorn_counts(start):
    told = settings(
        start(
            config="""
            import functools
            class C:
                def method(self, server): pass
                def __call__(self, a, b): pass
            def two(a, b): pass
            def rest(worker, *args, **kwargs): pass
            @functools.wraps(two)
            def wrapper(*args): pass
            on_starting = C().method
            post_fork = C()
            when_ready = functools.partial(two, 1)
            post_request = rest
            pre_fork = wrapper
            worker_int = C.method
            logger_class = C
            """
        )
    )
    counted = {name: value["value"]["value"]["arity"] for name, value in told.items()}
    assert counted == {
        "on_starting": 1,
        "post_fork": 2,
        "when_ready": 1,
        "post_request": 1,
        "pre_fork": 2,
        "worker_int": 2,
        "logger_class": 0,
    }
    assert told["logger_class"]["value"]["value"]["shown"] == "<C()>"


def test_it_looks_like_gunicorn_from_inside(start):
    arbiter = start(
        config="""
        import os, sys, sibling
        proc_name = "|".join([__name__, os.path.basename(__file__), sys.argv[0], sys.argv[1], os.getcwd(), sys.path[0]])
        assert sys.modules["__config__"].__name__ == "__config__"
        assert "" not in sys.path and len(sys.modules["__main__"].__dict__.keys() - {"name"}) < 12
        import gunicorn
        pidfile = gunicorn.__version__
        """,
        sibling="",
    )
    told = settings(arbiter, argv=["/opt/bin/gunicorn", "--preload"])
    where = str(arbiter.directory)
    expected = f"__config__|gunicorn.conf.py|/opt/bin/gunicorn|--preload|{where}|{where}"
    assert told["proc_name"]["value"]["value"] == expected
    assert told["pidfile"]["value"]["value"] == "27.0.1"


def test_a_module_and_a_file_with_another_suffix(start):
    arbiter = start(config=None, conf="workers = 5")
    assert settings(arbiter, config="conf", source="module")["workers"]["value"]["value"] == 5
    (arbiter.directory / "gunicorn.ini").write_text("workers = 6")
    assert arbiter.load("gunicorn.ini")["settings"]["workers"]["value"]["value"] == 6
    assert "valid Python extension" in arbiter.output()


def test_a_worker_class_function_is_called(start):
    told = settings(start(config="def worker_class(): return 'sync'"))
    assert told["worker_class"]["value"] == {"kind": "str", "value": "sync"}


@pytest.mark.parametrize(
    ("text", "message", "trace", "code"),
    [
        ("import os\nbind = os.environ['NOT_SET']", "Failed to read config file: ", "KeyError: 'NOT_SET'", 1),
        ("bind = (", "Failed to read config file: ", "SyntaxError", 1),
        ("import sys; sys.exit(7)", "called exit(7)", "", 7),
        ("raise SystemExit('so be it')", "so be it", "", 1),
        ("import sys; sys.exit()", "called exit()", "", 0),
        ("raise KeyboardInterrupt", "Failed to read config file: ", "KeyboardInterrupt", 1),
        ("def worker_class(): raise ValueError('no class')", "no class", "ValueError", 1),
    ],
)
def test_files_that_fail(start, text, message, trace, code):
    failed = load(start(config=text))
    assert failed["type"] == "failed" and failed["stage"] == "config", failed
    assert message in failed["message"] and trace in failed["traceback"] and failed["exit"] == code, failed
    assert "config_file.py" not in failed["traceback"]


def test_missing_file_and_module(start):
    arbiter = start()
    arbiter.expect("hello")
    order = {"type": "load", "generation": 1, "argv": ["gunicorn"], "chdir": str(arbiter.directory), "names": [], "watch": False}
    arbiter.link.send({**order, "config": {"source": "file", "name": "nowhere.py"}})
    assert "'nowhere.py' doesn't exist" in arbiter.expect("failed")["message"]
    arbiter.link.send({**order, "config": {"source": "module", "name": "nowhere"}})
    assert "No module named 'nowhere'" in arbiter.expect("failed")["message"]


def test_a_file_that_leaves_at_once_ends_the_link(start):
    arbiter = start(config="import os; os._exit(9)")
    arbiter.expect("hello")
    assert arbiter.load() is None
    assert arbiter.process.wait(LIMIT) == 9


def test_a_file_that_prints_and_forks(start):
    """Its child comes back out of the file, and must not speak on the link."""
    arbiter = start(
        config="""
        import os
        print("reading")
        child = os.fork()
        if child:
            workers = 3
            os.waitpid(child, 0)
        """
    )
    assert settings(arbiter)["workers"]["value"]["value"] == 3
    arbiter.link.send({"type": "exit", "on_exit": False})
    assert arbiter.process.wait(LIMIT) == 0
    assert arbiter.link.receive() is None
    assert arbiter.stdout() == "reading\n"


def test_big_messages_travel(start):
    arbiter = start(config="raw_env = ['A=' + 'x' * 300_000]")
    told = settings(arbiter)
    assert len(told["raw_env"]["value"]["value"][0]["value"]) == 300_002
    arbiter.told = told
    arbiter.configure()
    arbiter.expect("started")


def test_values_that_utf8_does_not_have_stay(start):
    told = settings(start(config="bind = b'\\xff'.decode('utf-8', 'surrogateescape')"))
    assert told["bind"]["value"]["kind"] == "live" and told["bind"]["shown"] == "\\udcff"


def test_signals_do_not_disturb(start):
    arbiter = start(config="import os, signal\nfor s in (1, 2, 3, 15): os.kill(os.getpid(), s)\nworkers = 2")
    assert settings(arbiter)["workers"]["value"]["value"] == 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        arbiter.process.send_signal(number)
    arbiter.configure()
    arbiter.expect("started")


def test_it_ends_with_its_link(start):
    arbiter = start()
    arbiter.expect("hello")
    arbiter.link.close()
    assert arbiter.process.wait(LIMIT) == 0


def test_unknown_and_untimely_orders_do_no_harm(start):
    arbiter = start()
    arbiter.expect("hello")
    arbiter.link.send({"type": "dance"})
    arbiter.link.send({"type": "__class__"})
    arbiter.link.send({"type": "fork", "age": 1, "slot": 0, "listeners": 0, "addresses": []})
    assert arbiter.expect("fork_failed")["age"] == 1
    arbiter.link.send({"type": "bound", "addresses": []})
    assert arbiter.expect("failed")["stage"] == "when_ready"


@pytest.mark.parametrize(
    ("pretend", "said"),
    [
        ("sys.version_info = (3, 9, 1)", "is Python 3.9;"),
        ("sys.implementation.name = 'pypy'", "is pypy 3."),
        ("sys.abiflags = 't'", "is a free-threaded build of Python"),
    ],
)
def test_interpreters_that_will_not_do(python, pretend, said):
    boot = (ROOT / "python/boot.py").read_text()
    code = f"import sys\n{pretend}\nexec(sys.argv.pop(1))"
    done = subprocess.run(
        [python, "-c", code, boot, "3", str(ROOT / "python"), EXTENSION], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_the_title(start):
    arbiter = start()
    arbiter.boot()
    with open(f"/proc/{arbiter.process.pid}/cmdline", "rb") as file:
        assert file.read().rstrip(b"\0") == b"rgunicorn: forkserver [app:app]"
    with open(f"/proc/{arbiter.process.pid}/comm") as file:
        assert file.read() == "gunicorn\n"


def test_little_is_imported_before_the_first_fork(start, python):
    """Every module costs start-up time in every generation; `ssl` before a gevent patch breaks apps."""
    heavy = ["ssl", "socket", "asyncio", "multiprocessing", "json", "inspect", "ast", "random", "datetime", "email"]
    bare = "import sys; print(*[name for name in sys.argv[1:] if name not in sys.modules])"
    absent = subprocess.run([python, "-c", bare, *heavy], capture_output=True, text=True, check=True).stdout.split()
    arbiter = start(
        config=f"""
        def when_ready(server):
            import sys
            print(sorted(set({absent!r}) & set(sys.modules)))
        """
    )
    arbiter.boot()
    assert "ssl" in absent and arbiter.stdout() == "[]\n"
