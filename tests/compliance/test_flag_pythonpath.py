"""`--pythonpath`: a comma list that goes in front of sys.path."""

APP = """
import json, sys
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([entry for entry in sys.path]).encode()]
"""


def test_one_directory(start, launcher):
    launcher.write("lib/hidden.py", APP)
    path = start("--pythonpath", "lib", "hidden:app").get().json
    assert path[0] == str(launcher.directory / "lib")


def test_several(start, launcher):
    """The last one comes first."""
    launcher.write("one/hidden.py", APP)
    launcher.write("two/other.py", "")
    path = start("--pythonpath", f"one,{launcher.directory}/two", "hidden:app").get().json
    assert path[:2] == [str(launcher.directory / "two"), str(launcher.directory / "one")]


def test_from_the_config_file(start, launcher):
    launcher.write("lib/hidden.py", APP)
    assert start("hidden:app", conf="pythonpath = 'lib'").get().status == 200


def test_it_is_relative_to_chdir(start, launcher):
    launcher.write("inner/lib/hidden.py", APP)
    path = start("--chdir", "inner", "--pythonpath", "lib", "hidden:app").get().json
    assert path[0] == str(launcher.directory / "inner" / "lib")
