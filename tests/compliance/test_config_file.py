"""The config file: where it is looked for, how it is executed, what of it counts. (Values: tests/cases.)"""

import pytest

WHO = "raw_env = ['FROM={}']\n"


def came_from(server):
    return server.get().json["environ"].get("FROM")


def test_the_default_one(start):
    assert came_from(start("process:app", conf=WHO.format("default"))) == "default"


@pytest.mark.parametrize("flag", [["-c", "other.py"], ["--config", "other.py"], ["-c=other.py"], ["--config=file:other.py"], ["-cother.py"], ["--conf", "other.py"]])
def test_another_one(start, launcher, flag):
    launcher.write("other.py", WHO.format("other"))
    assert came_from(start(*flag, "process:app", conf=WHO.format("default"))) == "other"


def test_a_module(start, launcher):
    launcher.write("settings/__init__.py", "")
    launcher.write("settings/live.py", WHO.format("module"))
    assert came_from(start("-c", "python:settings.live", "process:app")) == "module"


def test_from_gunicorn_cmd_args(start, launcher):
    launcher.write("other file.py", WHO.format("other"))
    env = {"GUNICORN_CMD_ARGS": "--config 'other file.py'"}
    assert came_from(start("process:app", conf=WHO.format("default"), env=env)) == "other"


def test_the_command_lines_beats_that_of_gunicorn_cmd_args(start, launcher):
    launcher.write("one.py", WHO.format("one"))
    env = {"GUNICORN_CMD_ARGS": "--config missing.py"}
    assert came_from(start("-c", "one.py", "process:app", env=env)) == "one"


def test_layers(start):
    """Config file, then GUNICORN_CMD_ARGS, then the command line."""
    conf = "accesslog = '-'\naccess_log_format = 'file'\nproc_name = 'file'\nraw_env = ['FROM=file']\n"
    env = {"GUNICORN_CMD_ARGS": "--access-logformat env -e FROM=env"}
    server = start("-e", "FROM=cli", "process:app", conf=conf, env=env)
    assert came_from(server) == "cli"
    server.stop()
    assert server.stdout.lines == ["env"]


def test_positionals_in_gunicorn_cmd_args_do_not_count(start):
    assert start("hello:app", env={"GUNICORN_CMD_ARGS": "missing:app"}).get().body == b"hello\n"


def test_app_from_the_file(start):
    assert start(conf="wsgi_app = 'hello:app'").get().body == b"hello\n"


def test_the_command_lines_app_wins(start):
    assert start("hello:app", conf="wsgi_app = 'missing:app'").get().body == b"hello\n"


def test_no_app_at_all(run):
    run(code=1)


def test_how_it_is_executed(start):
    conf = """
    import os, sys
    from events import tell
    here = [__name__, os.path.basename(__file__), os.getcwd(), sys.modules["__config__"].__dict__ is globals(), sys.argv[-1]]
    tell("config", *here)
    """
    server = start("hello:app", conf=conf)
    name, file, cwd, module, argument = server.events.until("config")[1:]
    assert (name, file, cwd, module, argument) == ("__config__", "gunicorn.conf.py", str(server.directory), True, "hello:app")


def test_it_runs_once(start):
    server = start("--workers", "2", "hello:app", conf="from events import tell\ntell('config')\n")
    server.get()
    server.stop()
    assert server.events.names().count("config") == 1


def test_other_names_are_nobodys_business(start):
    conf = """
    import math, os
    debug = True
    Workers = 7
    keep_alive = 1
    class Helper: pass
    def function(): return Helper
    for index in range(3): pass
    """
    assert start("hello:app", conf=conf).get().status == 200


def test_settings_made_by_a_helper(start):
    conf = """
    def defaults(into):
        into["raw_env"] = ["FROM=helper"]
    defaults(globals())
    """
    assert came_from(start("process:app", conf=conf)) == "helper"


def test_it_may_print(start):
    server = start("hello:app", conf="import sys\nprint('hello from config', flush=True)\nprint('and here', file=sys.stderr)\n")
    server.get()
    server.stop()
    assert server.stdout.lines == ["hello from config"]
    assert "and here" in server.stderr.lines


def test_another_extension(start, launcher):
    """Read as Python, with a warning."""
    launcher.write("gunicorn.ini", WHO.format("ini"))
    server = start("-c", "gunicorn.ini", "process:app")
    assert came_from(server) == "ini"


def test_it_can_import_gunicorn(start):
    conf = """
    import gunicorn
    from gunicorn import glogging, util
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker
    from gunicorn.http.message import Request
    from gunicorn.http.wsgi import Response
    raw_env = ["FROM=" + gunicorn.__version__]
    def post_fork(server: Arbiter, worker: Worker) -> None: ...
    def pre_request(worker: Worker, req: Request) -> None: ...
    """
    assert came_from(start("process:app", conf=conf)) == "27.0.1"


def test_it_may_change_the_server_header(start):
    server = start("environ:app", conf="import gunicorn\ngunicorn.SERVER = 'unnamed'\n")
    assert server.get().header("server") == "unnamed"


def test_it_may_change_the_server_software(start):
    server = start("environ:app", conf="import gunicorn\ngunicorn.SERVER_SOFTWARE = 'unnamed/1'\n")
    assert server.get().json["SERVER_SOFTWARE"] == "unnamed/1"


@pytest.mark.parametrize(
    "conf",
    ["workers = 'many'", "raise RuntimeError('on purpose')", "def broken(:", "import no_such_module", "timeout = -5", "bind = 8000", "reload = 1"],
    ids=["value", "raises", "syntax", "import", "negative", "type", "bool"],
)
def test_bad_ones(run, launcher, conf):
    server = run("--pid", "app.pid", "hello:app", conf=conf, code=1)
    assert "Listening at" not in server.stderr.text
    assert server.stderr.text.strip()


def test_a_missing_one(run):
    server = run("-c", "missing.py", "hello:app", code=1)
    assert "missing.py" in server.stderr.text


@pytest.mark.parametrize("how", ["sys.exit(0)", "sys.exit(7)", "os._exit(9)"])
def test_one_that_exits(run, how, program):
    """Gunicorn's process is the one that reads the file: its exit is the server's. Ours cannot tell `os._exit` from a crash."""
    code = 1 if program.ours and how.startswith("os") else int(how[-2])
    run("hello:app", conf=f"import os, sys\n{how}\n", code=code)
