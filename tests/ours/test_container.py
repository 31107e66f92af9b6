"""As process 1 of a container: it reaps whatever falls to it, and passes no signal on to it."""

import os
import signal

import pytest

from support import processes

pytestmark = [pytest.mark.only("ours"), pytest.mark.root]

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

APP = """
import os, subprocess, sys
ORPHAN = '''
import signal
def note(number, frame):
    with open("signals.txt", "a") as file:
        file.write(signal.Signals(number).name)
for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "TTIN", "TTOU", "WINCH"):
    signal.signal(getattr(signal, "SIG" + name), note)
print("there", flush=True)
while True:
    signal.pause()
'''
def app(environ, start_response):
    if environ["PATH_INFO"] == "/orphan":
        # Its parent ends at once, and it has lost everybody. A group of its own: what is sent to it is meant for it.
        read, write = os.pipe()
        if os.fork() == 0:
            subprocess.Popen([sys.executable, "-c", ORPHAN, "the-orphan"], stdout=write, process_group=0)
            os._exit(0)
        os.close(write)
        os.wait()
        with os.fdopen(read) as pipe:
            assert pipe.readline() == "there\\n"
    body = f"{os.getpid()} {os.getppid()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def contained(start, launcher):
    """The server, and the arbiter's pid as it is seen from outside."""
    launcher.write("served.py", APP)
    server = start("served:app", before=CONTAINER, allowed=["USR2 signal ignored"])
    assert server.get().body.split()[1] == b"1"
    (arbiter,) = processes.children()[server.pid]
    return server, arbiter


def orphan(server):
    assert server.get("/orphan").status == 200
    (found,) = [pid for pid in server.family() if processes.command_line(pid).endswith("the-orphan")]
    return found


def test_an_orphan_is_reaped(contained):
    server, arbiter = contained
    lost = orphan(server)
    assert processes.wait_until(lambda: processes.parent(lost) == arbiter)
    os.kill(lost, signal.SIGKILL)
    assert processes.wait_until(lambda: processes.state(lost) is None), "it stays a zombie"
    assert server.get().status == 200
    end(server, arbiter)


def test_signals_are_for_the_server_alone(contained, launcher):
    server, arbiter = contained
    lost = orphan(server)
    os.kill(arbiter, signal.SIGUSR1)
    os.kill(arbiter, signal.SIGHUP)
    server.stderr.find(r"Reloaded: generation 2 serves")
    os.kill(arbiter, signal.SIGTTIN)
    os.kill(arbiter, signal.SIGUSR2)
    server.stderr.find("USR2 signal ignored: as process 1 the server cannot be replaced")
    assert processes.alive(lost)
    end(server, arbiter)
    # It ends with its container, by the kernel's hand.
    assert processes.wait_until(lambda: not processes.alive(lost))
    assert not (launcher.directory / "signals.txt").exists()


def end(server, arbiter):
    os.kill(arbiter, signal.SIGTERM)
    assert server.wait() == 0, "the exit code of the container"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_other_signals_stop_it_too(contained, number):
    server, arbiter = contained
    os.kill(arbiter, number)
    assert server.wait() == 0
