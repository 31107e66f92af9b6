"""Starts that fail: exit code, a line that says why, nothing left behind.

1: configuration, bind, pidfile. 2: usage. 3: a worker did not boot. 4: the app is not in its module.
"""

import pytest


@pytest.fixture
def fails(run, launcher):
    """Starts with pidfile and socket file, both of which the guard looks for at the end."""

    def fails(*arguments, code, **options):
        server = run("--pid", "app.pid", "--bind", "unix:app.sock", *arguments, bind=False, code=code, **options)
        assert server.stderr.text.strip()
        assert not list(launcher.directory.glob("app.*"))
        return server

    return fails


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("missing", None),
        ("failing", "raise LookupError('on purpose')"),
        ("broken", "def app(:"),
        ("importing", "import no_such_module_anywhere"),
        ("exiting", "import sys\nsys.exit(3)"),
    ],
)
def test_the_module_cannot_be_imported(fails, launcher, name, source):
    if source is not None:
        launcher.write(f"{name}.py", source + "\n")
    server = fails(f"{name}:app", code=3)
    assert "Worker failed to boot." in server.stderr.text
    if name != "exiting":
        assert "Traceback (most recent call last):" in server.stderr.text


@pytest.mark.parametrize(
    "app",
    ["hello:missing", "hello:app.attribute", "hello:1", "hello:[", "hello:app()", "hello:nothing", "hello:number", "hello:app(undefined)"],
)
def test_the_app_is_not_in_its_module(fails, launcher, app):
    """Also what is no callable, and factories called in a way they don't take."""
    with (launcher.directory / "hello.py").open("a") as module:
        module.write("nothing = None\nnumber = 7\n")
    server = fails(app, code=4)
    assert "App failed to load." in server.stderr.text
    assert "Traceback" not in server.stderr.text


def test_a_factory_that_fails(fails, launcher):
    launcher.write("factory.py", "def make(): raise LookupError('on purpose')\n")
    assert "LookupError: on purpose" in fails("factory:make()", code=3).stderr.text


def test_a_file_instead_of_a_module(fails):
    """The message says what was meant."""
    assert "hello:" in fails("hello.py", code=3).stderr.text


def test_unknown_worker_class(fails):
    fails("--worker-class", "no.such.Class", "hello:app", code=1)


def test_no_such_certificate(run):
    run("--certfile", "missing.pem", "--keyfile", "missing.pem", "hello:app", code=1)


# -- how the app may be named ---------------------------------------------------------------------------------------------


FACTORY = """
def make(word="plain", *, shout=False):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [(word.upper() if shout else word).encode()]
    return app
application = make("application")
"""


@pytest.mark.parametrize(
    ("app", "body"),
    [
        ("factory", b"application"),
        ("factory:application", b"application"),
        ("factory:make()", b"plain"),
        ("factory:make('x')", b"x"),
        ("factory:make(word='y', shout=True)", b"Y"),
    ],
)
def test_forms_of_the_app(start, launcher, app, body):
    launcher.write("factory.py", FACTORY)
    assert start(app).get().body == body


def test_in_a_package(start, launcher):
    launcher.write("package/__init__.py", "")
    launcher.write("package/inner.py", FACTORY)
    assert start("package.inner:make('deep')").get().body == b"deep"
