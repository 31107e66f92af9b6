"""--reload: code that changed is served, code that cannot be compiled is shown with its traceback until it is mended."""

import pytest

from support import processes

# Gunicorn has inotify only with a package that nobody has.
RELOAD = ["--reload", "--reload-engine", "poll"]

APP = """
import os
LOADED = {name: open(name).read() for name in os.listdir(".") if name.endswith(".txt")}
def app(environ, start_response):
    import late
    body = f"{WORD} {late.WORD} {sorted(LOADED.items())}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
WORD = "one"
"""


def serves(server, wanted, status=200):
    """Waits until it does. While Gunicorn's one worker restarts, a connection can end without an answer."""

    def served():
        try:
            response = server.get()
        except (ConnectionError, AssertionError):
            return False
        return response.status == status and wanted in response.body

    assert processes.wait_until(served), f"{wanted} is not served"


@pytest.fixture
def files(launcher):
    launcher.write("served.py", APP)
    launcher.write("late.py", 'WORD = "first"\n')
    launcher.write("words.txt", "old")
    return launcher


@pytest.fixture
def serve(start, files):
    def serve(*arguments, **options):
        server = start(*RELOAD, *arguments, "served:app", **options)
        assert server.get().body.startswith(b"one first ")
        server.stderr.find("Reloader is on. Use in development only!")
        settle()
        return server

    return serve


def settle():
    """Gunicorn's reloader takes what it sees at its first look for the start, and has a look a second."""
    import time

    time.sleep(2.5)


def test_a_changed_module_is_served(serve, files):
    server = serve()
    files.write("served.py", APP.replace('"one"', '"two"'))
    serves(server, b"two first")
    assert server.stderr.find(r"eloading: (\S+) modified")[0][1].endswith("served.py")


def test_a_module_that_was_imported_by_a_request(serve, files):
    server = serve()
    files.write("late.py", 'WORD = "second"\n')
    serves(server, b"one second")


@pytest.mark.parametrize("named", ["words.txt", "*.txt"])
def test_extra_files(serve, files, named):
    server = serve("--reload-extra-file", named)
    files.write("words.txt", "new")
    serves(server, b"('words.txt', 'new')")


def test_what_cannot_be_compiled_is_shown_and_mended(serve, files):
    server = serve(allowed=["SyntaxError"])
    files.write("served.py", "def app(:\n    pass\n")
    serves(server, b"SyntaxError", status=500)
    response = server.get()
    assert response.header("content-type") == "text/plain"
    assert b"served.py" in response.body and b"def app(:" in response.body
    settle()
    files.write("served.py", APP.replace('"one"', '"mended"'))
    serves(server, b"mended first")


def test_at_the_first_start_too(start, files):
    files.write("served.py", "def app(:\n    pass\n")
    server = start(*RELOAD, "served:app", allowed=["SyntaxError"])
    assert server.get().status == 500
    settle()
    files.write("served.py", APP.replace('"one"', '"mended"'))
    serves(server, b"mended first")


def test_an_extra_file_has_to_exist_and_a_pattern_has_not(run, start, files):
    server = run(*RELOAD, "--reload-extra-file", "missing.txt", "served:app", code=1)
    assert "missing.txt" in server.stderr.text
    server = start(*RELOAD, "--reload-extra-file", "missing*.txt", "served:app")
    assert server.get().status == 200
    server.stderr.find(r"Pattern missing\*\.txt currently matches no files")
