"""How the command line is read: as argparse reads it."""

import pytest


def test_version(run):
    server = run("--version", bind=False, code=0, allowed=[])
    assert "gunicorn" in server.stdout.text and "version" in server.stdout.text


def test_short_version(run):
    run("-v", bind=False, code=0, allowed=[])


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(run, flag):
    text = run(flag, bind=False, code=0, allowed=[]).stdout.text
    for option in ("--bind", "--workers", "--worker-class", "--no-control-socket", "--limit-request-field_size", "-c", "--print-config"):
        assert option in text


@pytest.mark.parametrize(
    "arguments",
    [["--no-such-flag"], ["--keepalive", "2"], ["--access-log", "-"], ["--workers"], ["--workers", "x"], ["--log-config-dict", "x"]],
    ids=["unknown", "misspelt", "ambiguous", "no value", "no number", "file only"],
)
def test_wrong_usage(run, arguments):
    """Exit 2, the usage on stderr."""
    server = run(*arguments, "hello:app", code=2)
    assert "usage" in server.stderr.text.lower() or "error" in server.stderr.text.lower()
    assert server.stdout.text == ""


@pytest.mark.parametrize("flag", ["--error-log", "--error-logf"])
def test_abbreviations(start, launcher, flag):
    server = start(flag, "error.log", "hello:app")
    server.get()
    server.stop()
    assert server.stderr.text == ""


def test_the_last_one_wins(start):
    server = start("--name", "one", "--access-logfile", "-", "--access-logformat", "x", "--access-logformat", "y", "hello:app")
    server.get()
    server.stop()
    assert server.stdout.lines == ["y"]


def test_further_positionals_are_the_apps(start):
    facts = start("process:app", "one.csv", "two.csv").get().json
    assert facts["argv"][-3:] == ["process:app", "one.csv", "two.csv"]


def test_flags_after_the_app(start):
    server = start("process:app", "--env", "A=1")
    assert server.get().json["environ"]["A"] == "1"


def test_a_positional_after_flags_after_the_app(run):
    run("hello:app", "--env", "A=1", "more", code=2)


def test_argv_is_real(start):
    """Config files and apps look for flags in it."""
    argv = start("--preload", "process:app").get().json["argv"]
    assert argv[0].endswith("gunicorn")
    assert "--preload" in argv


def test_blanks_inside_a_token(start):
    server = start("-e A=1", "-w 1", "process:app")
    assert server.get().json["environ"]["A"] == "1"
