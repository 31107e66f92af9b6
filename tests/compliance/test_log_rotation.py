"""USR1: log files that were moved away are opened again."""

import os
import signal

from support import processes

APP = """
import logging, os
handler = logging.FileHandler("own.log")
logging.getLogger("own").addHandler(handler)
def app(environ, start_response):
    logging.getLogger("own").warning("handled")
    print("printed", flush=True)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


CONF = """
from events import tell
def post_worker_init(worker): tell("booted", worker.pid)
"""


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def files(pid):
    """What a process has open, by name."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    return found


def test_every_log_is_opened_again(start, launcher):
    launcher.write("served.py", APP)
    flags = ["--error-logfile", "error.log", "--access-logfile", "access.log", "--capture-output"]
    server = start("--workers", "2", *flags, "served:app", conf=CONF, allowed=[""])
    # Each has its handler, for USR1 and of its own log.
    workers = [pid for _, pid in server.events.take("booted", 2)]
    server.get()
    names = ["error", "access", "own"]
    old = {name: (launcher.directory / f"{name}.log").rename(launcher.directory / f"{name}.1") for name in names}
    new = {name: launcher.directory / f"{name}.log" for name in names}
    # Until they are told, everybody writes to the files that they have.
    server.get()
    assert processes.wait_until(lambda: len(lines(old["access"])) == 2)
    server.send_signal(signal.SIGUSR1)
    assert processes.wait_until(lambda: all(path.exists() for path in new.values()))
    # One of the workers has opened its own log again; the other may not have got its signal yet.
    assert processes.wait_until(lambda: all(str(new["own"]) in files(pid) for pid in workers))
    for _ in range(20):
        server.get()
    assert processes.wait_until(lambda: len(lines(new["access"])) + len(lines(old["access"])) == 22)
    assert processes.wait_until(lambda: sum(map(len, (lines(new["own"]), lines(old["own"])))) == 22)
    assert processes.wait_until(lambda: len([line for name in (new, old) for line in lines(name["error"]) if line == "printed"]) == 22)
    assert len(lines(new["access"])) >= 19 and len(lines(new["own"])) >= 19
    server.stop()
    assert any("Shutting down" in line for line in lines(new["error"]))


def test_none_is_lost_while_they_are_opened_again(start, launcher):
    server = start("--workers", "2", "--access-logfile", "access.log", "hello:app")
    server.get()
    for number in range(1, 6):
        (launcher.directory / "access.log").rename(launcher.directory / f"access.{number}")
        server.send_signal(signal.SIGUSR1)
        for _ in range(20):
            server.get()
        assert processes.wait_until(lambda: (launcher.directory / "access.log").exists())
    total = lambda: sum(len(lines(path)) for path in launcher.directory.glob("access.*"))  # noqa: E731
    assert processes.wait_until(lambda: total() == 101), total()
