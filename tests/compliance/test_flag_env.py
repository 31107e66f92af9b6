"""`-e`, `--env` and `raw_env`."""

import pytest


def environ(server):
    return server.get().json["environ"]


@pytest.mark.parametrize("flags", [["-e", "A=1", "-e", "B=x=y"], ["--env", "A=1", "--env=B=x=y"]])
def test_variables(start, flags):
    seen = environ(start(*flags, "process:app"))
    assert (seen["A"], seen["B"]) == ("1", "x=y")


def test_empty_value(start):
    assert environ(start("-e", "A=", "process:app"))["A"] == ""


def test_they_replace_what_is_there(start):
    assert environ(start("-e", "A=new", "process:app", env={"A": "old"}))["A"] == "new"


def test_from_the_config_file(start):
    assert environ(start("process:app", conf="raw_env = ['A=file']"))["A"] == "file"


def test_the_command_line_replaces_the_list(start):
    seen = environ(start("-e", "B=cli", "process:app", conf="raw_env = ['A=file']"))
    assert seen["B"] == "cli" and "A" not in seen


def test_they_are_there_when_the_app_is_imported(start, launcher):
    launcher.write(
        "app.py",
        """
        import os
        VALUE = os.environ["A"].encode()
        def app(environ, start_response):
            start_response("200 OK", [])
            return [VALUE]
        """,
    )
    assert start("-e", "A=early", "app:app").get().body == b"early"


def test_hooks_see_them(start):
    server = start(
        "-e", "A=1", "hello:app", conf="import os\nfrom events import tell\ndef on_starting(server): tell('env', os.environ['A'])"
    )
    assert server.events.until("env")[1] == "1"


def test_without_an_equals_sign(run):
    run("-e", "NOTHING", "hello:app", code=1)


def test_server_software_is_set(start):
    """Frameworks look at it to learn what they run under."""
    assert environ(start("process:app"))["SERVER_SOFTWARE"].startswith("gunicorn/27.0.1")
