"""--reload is a new generation: no request fails, however a file is saved, and whatever cannot come up."""

import os
import resource
import shutil
import signal

import pytest

from support import processes
from support.control import Control
from support.load import Load

pytestmark = pytest.mark.only("ours")

APP = """
import parts
def app(environ, start_response):
    body = f"{parts.WORD} {CONF} {EXTRA}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
import os
CONF = os.environ.get("FROM_CONFIG")
EXTRA = open("extra.txt").read() if os.path.exists("extra.txt") else "none"
"""

CONF = "raw_env = ['FROM_CONFIG=conf']\n"
WATCHES = r"Reloaded: generation \d+ serves"


@pytest.fixture
def files(launcher):
    launcher.write("served.py", APP)
    launcher.write("parts/__init__.py", 'WORD = "one"\n')
    return launcher


@pytest.fixture
def serve(start, files):
    def serve(*arguments, conf=CONF, **options):
        server = start("--reload", *arguments, "served:app", conf=conf, **options)
        assert server.get().body.startswith(b"one ")
        return server

    return serve


def serves(server, wanted, status=200):
    def served():
        response = server.get()
        return response.status == status and wanted in response.body

    assert processes.wait_until(served), f"{wanted} is not served"


def served(server):
    """How many requests it has answered."""
    with Control(server.directory / ".gunicorn" / "gunicorn.ctl") as control:
        return control.do("show stats")["requests"]


def word(text):
    return f'WORD = "{text}"\n'


def in_place(path, text):
    path.write_text(text)


def renamed_over(path, text):
    new = path.with_name(".new")
    new.write_text(text)
    new.rename(path)


def by_backup(path, text):
    path.rename(path.with_name(path.name + "~"))
    path.write_text(text)


def deleted_first(path, text):
    path.unlink()
    path.write_text(text)


def with_its_directory(path, text):
    """As `git checkout` may do it."""
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    path.write_text(text)


def directory_exchanged(path, text):
    """As a deployment does it."""
    new = path.parent.with_name("new")
    new.mkdir()
    (new / path.name).write_text(text)
    path.parent.rename(path.parent.with_name("old"))
    new.rename(path.parent)


@pytest.mark.parametrize("engine", ["inotify", "poll"])
@pytest.mark.parametrize(
    "save", [in_place, renamed_over, by_backup, deleted_first, with_its_directory, directory_exchanged], ids=lambda save: save.__name__
)
def test_every_way_of_saving(serve, files, engine, save):
    server = serve("--reload-engine", engine)
    path = files.directory / "parts/__init__.py"
    for text in ("two", "three"):
        save(path, word(text))
        serves(server, text.encode())
        for left in ("old", "new"):
            shutil.rmtree(files.directory / left, ignore_errors=True)


def test_a_link_that_is_pointed_elsewhere(start, launcher):
    for release in ("one", "two"):
        launcher.write(f"releases/{release}/served.py", APP.replace("import parts", "class parts: WORD = %r" % release))
    (launcher.directory / "current").symlink_to("releases/one")
    server = start("--reload", "--pythonpath", "current", "served:app")
    assert server.get().body.startswith(b"one ")
    (launcher.directory / "next").symlink_to("releases/two")
    (launcher.directory / "next").rename(launcher.directory / "current")
    serves(server, b"two")


def test_many_files_at_once_are_one_reload(serve, files):
    for number in range(50):
        files.write(f"parts/m{number}.py", "N = 1\n")
    files.write("parts/__init__.py", word("one") + "".join(f"from . import m{number}\n" for number in range(50)))
    server = serve()
    # However long it takes to write them, the arbiter finds all of them written.
    server.send_signal(signal.SIGSTOP)
    assert processes.wait_until(lambda: processes.state(server.pid) == "T")
    for number in range(50):
        files.write(f"parts/m{number}.py", "N = 2\n")
    files.write("parts/__init__.py", word("two"))
    server.send_signal(signal.SIGCONT)
    serves(server, b"two")
    server.stderr.find(WATCHES)
    assert len(server.stderr.find("Reloading: ")) <= 2


def test_the_config_file_is_read_anew_and_a_broken_one_changes_nothing(serve, files):
    server = serve(allowed=["Reload failed"])
    files.write("gunicorn.conf.py", CONF.replace("=conf", "=changed"))
    serves(server, b"one changed")
    files.write("gunicorn.conf.py", "from helper import *\n")
    files.write("helper.py", "workers = (\n")
    server.stderr.find("Reload failed, nothing has changed")
    serves(server, b"one changed")
    # The file that has to be mended is one that was never loaded.
    files.write("helper.py", CONF.replace("=conf", "=mended"))
    serves(server, b"one mended")


def test_a_toml_file_is_watched(start, files):
    files.write("rgunicorn.toml", 'reload = true\nraw_env = ["FROM_CONFIG=toml"]\n')
    server = start("served:app", allowed=["Reload failed"])
    assert server.get().body.startswith(b"one toml")
    files.write("rgunicorn.toml", "reload = true\nworkers = many\n")
    server.stderr.find("Reload failed, nothing has changed")
    files.write("rgunicorn.toml", 'reload = true\nraw_env = ["FROM_CONFIG=mended"]\n')
    serves(server, b"one mended")


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["plain", "preload"])
@pytest.mark.parametrize(
    "broken, shown",
    [
        ("WORD = (", b"SyntaxError"),
        ("1 / 0", b"ZeroDivisionError"),
        ("WORLD = 1", b"AttributeError"),
        ("from .coming import WORD", b"ModuleNotFoundError"),
    ],
)
def test_an_app_that_cannot_be_imported_is_shown_and_mended(serve, files, preload, broken, shown):
    if shown == b"AttributeError":
        files.write("served.py", APP + "parts.WORD\n")
    server = serve(*preload, allowed=[shown.decode()])
    files.write("parts/__init__.py", broken + "\n")
    serves(server, shown, status=500)
    if "coming" in broken:
        # A module that was missed may come.
        files.write("parts/coming.py", word("mended"))
    else:
        files.write("parts/__init__.py", word("mended"))
    serves(server, b"mended")


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["plain", "preload"])
def test_a_start_with_a_broken_app(start, files, preload):
    files.write("parts/__init__.py", "import no_such_module_yet\n")
    server = start("--reload", *preload, "served:app", conf=CONF, allowed=["no_such_module_yet"])
    response = server.get()
    assert response.status == 500 and b"no_such_module_yet" in response.body
    # Whatever is loaded between the two is as broken as before.
    files.write("parts/__init__.py", "import no_such_module_yet\n" + word("mended"))
    files.write("no_such_module_yet.py", "")
    serves(server, b"mended")


def test_extra_files_and_directories_that_come_later(serve, files):
    server = serve("--reload-extra-file", "**/*.txt", conf=CONF)
    files.write("extra.txt", "first")
    serves(server, b"first")
    files.write("deep/er/other.txt", "")
    server.stderr.find(r"Reloading: \S+/deep/er/other.txt modified")
    files.write("extra.txt", "second")
    serves(server, b"second")


def test_a_file_that_is_removed_is_no_change_and_its_return_is_one(serve, files):
    server = serve(allowed=["has no attribute 'WORD'"])
    (files.directory / "parts/__init__.py").unlink()
    files.write("served.py", APP + "# this one is written\n")
    # Without the file `parts` is a namespace, which has no WORD.
    serves(server, b"", status=500)
    files.write("parts/__init__.py", word("back"))
    serves(server, b"back")


def test_an_extension_module_is_watched(serve, files):
    library = shutil.copy(_shared_object(), files.directory / "copied.so")
    files.write("parts/__init__.py", word("one") + f"import sys, types\nm = types.ModuleType('copied')\nm.__file__ = {str(library)!r}\nsys.modules['copied'] = m\n")
    server = serve()
    os.utime(library)
    server.stderr.find(r"Reloading: \S+/copied.so modified")
    server.stderr.find(WATCHES)


def _shared_object():
    import _ctypes

    return _ctypes.__file__


def test_links_in_a_circle_hold_nobody_up(serve, files):
    """At the start, and at HUP; what is beside them is watched."""
    (files.directory / "t" / "deep").mkdir(parents=True)
    for link in ("a", "b", "deep/c"):
        (files.directory / "t" / link).symlink_to(".")
    page = files.write("t/deep/page.html", "one")
    server = serve(conf=CONF + "reload_extra_files = ['t/**/*.html', 't/**/*.none']\n", allowed=["matches no files"])
    server.stderr.find(r"Pattern t/\*\*/\*.none currently matches no files")
    server.send_signal(signal.SIGHUP)
    server.stderr.find(WATCHES)
    page.write_text("another")
    server.stderr.find(r"Reloading: \S+/deep/page.html modified")


def test_no_request_fails(serve, files):
    server = serve("--workers", "2", "--keep-alive", "60")
    with Load(server.address[1]) as load:
        count = 0
        # However slow the clients are.
        while count < 5 or served(server) < 200:
            count += 1
            files.write("parts/__init__.py", word(f"version {count}"))
            server.stderr.find(WATCHES, count)
        report = load.stop()
    assert report.failed == 0, report
    assert report.requests > 100


@pytest.mark.root
@pytest.mark.parametrize("limit", ["max_inotify_instances", "max_inotify_watches"])
def test_where_inotify_is_not_to_be_had_files_are_polled(serve, files, limit):
    limited = ("unshare", "--user", "--map-root-user", "sh", "-c", f'echo 2 >/proc/sys/user/{limit}; exec "$@"', "sh")
    if limit == "max_inotify_instances":
        limited = tuple(word.replace("echo 2", "echo 0") for word in limited)
    server = serve(before=limited)
    files.write("parts/__init__.py", word("two"))
    serves(server, b"two")
    files.write("parts/__init__.py", word("three"))
    serves(server, b"three")
    assert len(server.stderr.find("WARNING. reload: inotify is not to be had")) == 1


def test_a_hup_and_a_change_at_the_same_time(serve, files):
    server = serve(allowed=["another reload was asked for"])
    for count in range(5):
        # Whole at any moment: the reload of before may be reading it.
        renamed_over(files.directory / "parts/__init__.py", word(f"version {count}"))
        server.send_signal(signal.SIGHUP)
    serves(server, b"version 4")
    wait_for(lambda: len(server.family()) == 3)


def test_it_can_be_turned_on_and_off_by_hup(start, files):
    server = start("served:app", conf=CONF)
    assert server.get().body.startswith(b"one ")
    files.write("gunicorn.conf.py", CONF + "reload = True\n")
    server.send_signal(signal.SIGHUP)
    server.stderr.find(WATCHES)
    before = processes.descriptors(server.pid)
    files.write("parts/__init__.py", word("two"))
    serves(server, b"two")
    files.write("gunicorn.conf.py", CONF)
    server.stderr.find(WATCHES, 3)
    wait_for(lambda: processes.descriptors(server.pid) < before)


def wait_for(condition):
    assert processes.wait_until(condition), "it did not come about"
