"""Configuration, as ours differs: files that misbehave, TOML, messages of a size, where a value came from."""

import json
import re

import pytest

from support.program import REPOSITORY

pytestmark = pytest.mark.only("ours")


# -- Python files that misbehave ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["sys.exit(1)", "sys.exit('words')", "os._exit(0)", "os._exit(9)", "os.kill(os.getpid(), 9)", "raise KeyboardInterrupt"])
def test_it_ends_the_interpreter(run, how):
    server = run("--pid", "app.pid", "--bind", "unix:app.sock", "hello:app", bind=False, conf=f"import os, sys\n{how}\n", code=1)
    assert "gunicorn.conf.py" in server.stderr.text


def test_it_prints(start):
    server = start("hello:app", conf="import sys\nprint('one')\nprint('two', file=sys.stderr)\nsys.stdout.write('no newline')\n")
    server.get()
    server.stop()
    assert server.stdout.text.count("one") == 1
    assert "no newline" in server.stdout.text
    assert "two" in server.stderr.lines


def test_it_forks(start):
    """A child that ends; one that is left running does not hold anything up."""
    conf = """
    import os, subprocess, sys
    from events import tell, wait
    if (child := os.fork()) == 0:
        os._exit(3)
    os.waitpid(child, 0)
    if os.fork() == 0:
        tell("child", os.getpid())
        wait()
        os._exit(0)
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    """
    server = start("hello:app", conf=conf)
    server.events.until("child")
    assert server.get().status == 200
    server.events.release()


def test_it_takes_its_time(start):
    """Nothing is served before, all is well after."""
    server = start("hello:app", conf="from events import tell, wait\ntell('reading')\nwait()\n")
    server.events.until("reading")
    with server.connect() as connection:
        connection.request()
        connection.expect_open()
        server.events.release()
        assert connection.response().status == 200


def test_it_closes_descriptors(start):
    """As daemonising code does: all but the standard ones. The link is lost, and that is said."""
    server = start("hello:app", conf="import os\nos.closerange(3, 256)\n", allowed=[""])
    assert server.wait() == 1
    assert server.stderr.text.strip()


def test_it_changes_the_standard_streams(start):
    """No message between the processes goes over them."""
    server = start("hello:app", conf="import os, sys\nsys.stdout = sys.stderr = open(os.devnull, 'w')\nos.close(0)\n")
    assert server.get().status == 200


# -- large messages -------------------------------------------------------------------------------------------------------


def test_large_settings(start):
    """More than a datagram holds, in both directions."""
    conf = """
    raw_env = [f"LARGE_{number}=" + chr(97 + number % 26) * 50_000 for number in range(40)]
    """
    environ = start("process:app", conf=conf).get().json["environ"]
    large = {name: value for name, value in environ.items() if name.startswith("LARGE_")}
    assert len(large) == 40
    assert large["LARGE_27"] == "b" * 50_000


def test_a_large_live_value(start):
    """It never leaves the interpreter."""
    conf = """
    import logging
    class Filter(logging.Filter): pass
    secure_scheme_headers = {f"X-{number}": "y" * 1000 for number in range(1000)} | {"X-TLS": "on"}
    """
    server = start("environ:app", conf=conf)
    assert server.get(headers=[("X-Tls", "on")]).json["wsgi.url_scheme"] == "https"


def test_a_large_failure(run, launcher):
    """A traceback of more than a megabyte, from the preload and from a worker."""
    launcher.write("failing.py", "raise LookupError('on purpose ' + 'x' * 1_500_000)\n")
    assert "LookupError: on purpose xxx" in run("--preload", "failing:app", code=1).stderr.text
    assert "LookupError: on purpose xxx" in run("failing:app", code=3).stderr.text


def test_a_long_command_line(start):
    arguments = [f"--env=LONG_{number}=" + "z" * 10_000 for number in range(50)]
    assert start(*arguments, "process:app").get().json["environ"]["LONG_49"] == "z" * 10_000


# -- TOML -----------------------------------------------------------------------------------------------------------------


def test_toml(start, launcher):
    launcher.write("rgunicorn.toml", 'workers = 2\nraw_env = ["FROM=toml"]\nwsgi_app = "process:app"\n')
    server = start()
    assert server.get().json["environ"]["FROM"] == "toml"
    server.stderr.find("Booting worker", 2)


def test_toml_comes_before_python(start, launcher):
    launcher.write("rgunicorn.toml", 'raw_env = ["FROM=toml"]\n')
    assert start("process:app", conf="raw_env = ['FROM=python']").get().json["environ"]["FROM"] == "toml"


def test_toml_by_name(start, launcher):
    launcher.write("conf/site.toml", 'raw_env = ["FROM=site"]\n')
    assert start("-c", "conf/site.toml", "process:app").get().json["environ"]["FROM"] == "site"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("timeuot = 30\n", ["rgunicorn.toml", "1", "timeuot", "timeout"]),
        ("\n\nworkers = 'many'\n", ["rgunicorn.toml", "3", "workers", "many"]),
        ("workers = [1]\n", ["rgunicorn.toml", "workers"]),
        ("workers = \n", ["rgunicorn.toml", "1"]),
        ("[server]\nworkers = 2\n", ["rgunicorn.toml", "server"]),
    ],
    ids=["unknown", "value", "type", "syntax", "table"],
)
def test_bad_toml(run, launcher, text, pieces):
    """File, line, and the nearest name that is right."""
    launcher.write("rgunicorn.toml", text)
    server = run("hello:app", code=1)
    for piece in pieces:
        assert piece in server.stderr.text


# -- where values come from -----------------------------------------------------------------------------------------------


def test_explain(run):
    conf = "\nworkers = 3\ntimeout = 60\n"
    env = {"GUNICORN_CMD_ARGS": "--timeout 90", "PORT": "5000"}
    text = run("--explain-config", "--keep-alive", "7", "hello:app", bind=False, conf=conf, env=env, code=0, allowed=[]).stdout.text
    # A setting begins a line; what is said about it is indented.
    said = dict(re.findall(r"^(\w+) = (.*(?:\n[ \t].*)*)", text, re.MULTILINE))
    assert re.match(r"3\n.*gunicorn\.conf\.py\b.*\b2\b", said["workers"])
    assert re.match(r"90\n.*GUNICORN_CMD_ARGS[^$]*60.*gunicorn\.conf\.py\b.*\b3\b", said["timeout"])
    assert re.match(r"7\n.*command line", said["keepalive"])
    assert "PORT" in said["bind"]
    assert "backlog" not in said, "only what is no default"


def test_bad_values_say_where_they_come_from(run):
    assert "GUNICORN_CMD_ARGS" in run("hello:app", env={"GUNICORN_CMD_ARGS": "--keep-alive=-1"}, code=1).stderr.text
    text = run("hello:app", conf="\n\nworkers = 'many'\n", code=1).stderr.text
    assert "workers" in text and "many" in text and "gunicorn.conf.py" in text


def test_what_is_not_built_yet_is_named(start):
    """Accepted, and said once; never silently ignored."""
    server = start("--statsd-host", "127.0.0.1:1", "hello:app")
    server.get()
    server.stop()
    assert len(server.stderr.find(r"\[WARNING\] .*statsd_host|\[WARNING\] .*--statsd-host")) == 1


def test_the_schema_knows_every_setting():
    """The table's own tests hold the details; this is for whoever edits a TOML file."""
    names = {setting["name"] for setting in json.loads((REPOSITORY / "tests" / "data" / "gunicorn-settings.json").read_text())}
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    assert not [name for name in names if name not in text]
