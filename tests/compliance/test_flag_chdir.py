"""`--chdir`: where the app runs and is looked for."""

APP = """
import json, os, sys
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"cwd": os.getcwd(), "path": sys.path}).encode()]
"""


def test_start_directory_by_default(start, launcher):
    facts = start("process:app").get().json
    assert facts["cwd"] == str(launcher.directory)
    assert facts["path"][0] == str(launcher.directory)


def test_relative(start, launcher):
    launcher.write("inner/place.py", APP)
    facts = start("--chdir", "inner", "place:app").get().json
    assert facts["cwd"] == str(launcher.directory / "inner")
    assert str(launcher.directory / "inner") in facts["path"]


def test_absolute(start, launcher):
    launcher.write("inner/place.py", APP)
    facts = start("--chdir", str(launcher.directory / "inner"), "place:app").get().json
    assert facts["cwd"] == str(launcher.directory / "inner")


def test_from_the_config_file(start, launcher):
    launcher.write("inner/place.py", APP)
    facts = start("place:app", conf="chdir = 'inner'").get().json
    assert facts["cwd"] == str(launcher.directory / "inner")


def test_the_config_file_is_looked_for_before(start, launcher):
    """In the start directory, not where `--chdir` leads; its own imports come from there too."""
    launcher.write("inner/place.py", APP)
    launcher.write("inner/gunicorn.conf.py", "raise RuntimeError('the wrong file')")
    launcher.write("beside.py", "ENV = ['FROM=start']")
    facts = start("--chdir", "inner", "place:app", conf="from beside import ENV as raw_env").get().json
    assert facts["cwd"] == str(launcher.directory / "inner")


def test_missing(run):
    run("--chdir", "nowhere", "hello:app", code=1)


def test_unix_socket_is_relative_to_it(start, launcher):
    launcher.write("inner/place.py", APP)
    server = start("--chdir", "inner", "--bind", "unix:app.sock", "place:app", bind=False)
    server.listening()
    server.address = str(launcher.directory / "inner" / "app.sock")
    assert server.get().status == 200
