"""`--preload`: the app is imported once, before the fork."""

import pytest


def test_imported_in_each_worker_by_default(start):
    facts = start("process:app").get().json
    assert facts["imported_by"] == facts["pid"]


def test_imported_before_the_fork(start):
    facts = start("--preload", "process:app").get().json
    assert facts["imported_by"] != facts["pid"]


def test_once_for_all_workers(start, launcher):
    launcher.write(
        "app.py",
        """
        import os
        from events import tell
        tell("import", os.getpid())
        def app(environ, start_response): ...
        """,
    )
    conf = "from events import tell\ndef post_worker_init(worker): tell('booted', worker.app.callable is not None)\n"
    server = start("--preload", "--workers", "3", "app:app", conf=conf)
    assert server.events.take("booted", 3) == [["booted", True]] * 3
    server.stop()
    assert server.events.names().count("import") == 1


def test_after_nworkers_changed_and_before_on_starting(start, launcher):
    launcher.write("app.py", "from events import tell\ntell('import')\ndef app(environ, start_response): ...\n")
    conf = """
    from events import tell
    def nworkers_changed(server, new, old): tell("nworkers_changed")
    def on_starting(server): tell("on_starting")
    """
    server = start("--preload", "app:app", conf=conf)
    assert [server.events.next()[0] for _ in range(3)] == ["nworkers_changed", "import", "on_starting"]


def test_the_environment_is_set_before(start, launcher):
    launcher.write("app.py", "import os\nVALUE = os.environ['A'].encode()\ndef app(e, s):\n    s('200 OK', [])\n    return [VALUE]\n")
    assert start("--preload", "-e", "A=x", "app:app").get().body == b"x"


@pytest.mark.parametrize(
    ("app", "code"), [("missing:app", 1), ("hello:missing", 1), ("failing:app", 1)], ids=["module", "attribute", "raises"]
)
def test_failures_are_exit_1(run, launcher, app, code):
    """A preloaded app that cannot be imported is found before anything is bound."""
    launcher.write("failing.py", "raise RuntimeError('on purpose')\n")
    server = run("--preload", "--bind", "unix:app.sock", app, bind=False, code=code)
    assert "Listening at" not in server.stderr.text
