"""`--check-config` and `--print-config`."""

import json

import pytest

from support.program import REPOSITORY

CONF = """
workers = 3
def post_fork(server, worker): pass
"""


def settings(server):
    return {name.rstrip(): value for name, _, value in (line.partition(" = ") for line in server.stdout.lines)}


def test_check_says_nothing_when_all_is_well(run):
    server = run("--check-config", "hello:app", conf=CONF, code=0, allowed=[])
    assert server.stdout.text == "" and server.stderr.text == ""


def test_nothing_is_started(run, launcher):
    run("--check-config", "--bind", "unix:app.sock", "--pid", "app.pid", "hello:app", bind=False, code=0, allowed=[])


@pytest.mark.parametrize("app", ["missing:app", "hello:missing", "failing:app"])
def test_check_imports_the_app(run, launcher, app, program):
    launcher.write("failing.py", "raise RuntimeError('on purpose')\n")
    server = run("--check-config", app, code=1)
    assert "Traceback" in server.stderr.text
    if program.theirs:
        assert "Error while loading the application" in server.stderr.text


def test_check_runs_no_hook(run):
    conf = """
    from events import tell
    def on_starting(server): tell("hook")
    def nworkers_changed(server, new, old): tell("hook")
    def when_ready(server): tell("hook")
    """
    server = run("--check-config", "hello:app", conf=conf, code=0, allowed=[])
    assert server.events.names() == []


def test_print_lists_every_setting(run):
    server = run("--print-config", "hello:app", conf=CONF, code=0, allowed=[])
    printed = settings(server)
    names = [setting["name"] for setting in json.loads((REPOSITORY / "tests" / "data" / "gunicorn-settings.json").read_text())]
    assert set(names) <= printed.keys()
    assert list(printed) == sorted(printed)
    assert printed["workers"] == "3"
    assert printed["post_fork"] == "<post_fork()>"
    assert printed["timeout"] == "30"


def test_print_aligns(run):
    server = run("--print-config", "hello:app", code=0, allowed=[])
    assert len({line.index(" = ") for line in server.stdout.lines}) == 1


def test_print_shows_bind_as_a_list(run):
    server = run("--print-config", "-b", "127.0.0.1:1", "-b", "unix:/a", "hello:app", bind=False, code=0, allowed=[])
    assert settings(server)["bind"] == "['127.0.0.1:1', 'unix:/a']"


@pytest.mark.parametrize(("env", "shown"), [({}, "['127.0.0.1:8000']"), ({"PORT": "5000"}, "['0.0.0.0:5000']")], ids=["plain", "PORT"])
def test_default_bind(run, env, shown):
    assert settings(run("--print-config", "hello:app", bind=False, env=env, code=0, allowed=[]))["bind"] == shown


def test_print_imports_the_app_too(run):
    server = run("--print-config", "missing:app", code=1)
    assert settings(server)["workers"] == "1"


def test_from_the_config_file(run):
    assert run("hello:app", conf="check_config = True", code=0, allowed=[]).stderr.text == ""
