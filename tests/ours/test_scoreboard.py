"""The arbiter believes nothing that a worker writes."""

import signal

import pytest

from support import processes

pytestmark = pytest.mark.only("ours")

CONF = """
from events import tell
def post_worker_init(worker): tell("booted", worker.pid)
"""

# What an app can do to the memory and the descriptors that it shares with the arbiter.
HOSTILE = """
import ctypes, os, re, socket, struct

def shared_descriptors():
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue
        if "memfd:rgunicorn-scoreboard" in target:
            yield int(name)

def shared_mappings():
    for line in open("/proc/self/maps"):
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\\S+) .*/memfd:", line)
        if found and "w" in found[3] and "s" in found[3]:
            yield int(found[1], 16), int(found[2], 16)

def links():
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with sock:
            if sock.family == socket.AF_UNIX and sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_SEQPACKET:
                yield sock

def truncate():
    done = 0
    for fd in shared_descriptors():
        for size in (0, 1 << 30):
            try:
                os.ftruncate(fd, size)
                done += 1
            except OSError:
                pass
    return done

def scribble(byte):
    count = 0
    for start, end in shared_mappings():
        ctypes.memset(start, byte, end - start)
        count += end - start
    return count

def garbage():
    sent = 0
    for sock in links():
        for data in (b"", b"\\x00", b"\\xff" * 1000, b"{", b"[]", b"null", b'{"type": "no such"}', b'{"type": "hello"}', b'{"type": "ready"}' * 50,
                     b'{"type": "failed", "exit": -1, "reason": "' + b"x" * 50000 + b'"}', b'{"type": "silent", "for_ms": -1}', b"x" * 100000):
            try:
                sock.send(data, socket.MSG_DONTWAIT)
                sent += 1
            except OSError:
                pass
    return sent

def app(environ, start_response):
    path = environ["PATH_INFO"]
    actions = {"/truncate": truncate, "/ones": lambda: scribble(0xff), "/zeroes": lambda: scribble(0), "/noise": lambda: scribble(0x5a), "/garbage": garbage}
    result = actions[path]() if path in actions else os.getpid()
    body = str(result).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def server(start, launcher):
    launcher.write("app.py", HOSTILE)
    return start("--workers", "2", "app:app", conf=CONF, allowed=[""])


def still_in_order(server):
    """The arbiter goes on: it replaces a worker, answers signals, and stops."""
    assert processes.alive(server.pid)
    victim = int(server.get("/pid").body)
    server.send_signal(signal.SIGKILL, victim)
    while server.events.until("booted")[1] == victim:
        pass
    server.send_signal(signal.SIGTTIN)
    server.events.until("booted")
    assert server.get("/pid").status == 200
    assert server.stop() == 0
    assert "panicked" not in server.stderr.text


def test_truncation(server):
    """In a plain file it would kill the arbiter by SIGBUS: the memory is sealed, or not there to be found."""
    server.events.take("booted", 2)
    assert server.get("/truncate").body == b"0"
    still_in_order(server)


@pytest.mark.parametrize("how", ["/ones", "/zeroes", "/noise"])
def test_scribbling(server, how):
    server.events.take("booted", 2)
    assert int(server.get(how).body) > 0, "no shared memory found: the test looks in the wrong place"
    # Where a connection is to stay, its worker looks at what those have that say, once they wake, that they are idle.
    for pid in server.workers():
        server.send_signal(signal.SIGUSR1, pid)
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        assert client.request(target="/pid").response().status == 200
    for client in clients:
        client.close()
    still_in_order(server)


def test_garbage_on_the_link(server):
    server.events.take("booted", 2)
    with server.connect() as connection:
        connection.request(target="/garbage").rest()
    still_in_order(server)
