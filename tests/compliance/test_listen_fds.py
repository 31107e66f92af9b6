"""Socket activation: `LISTEN_FDS` and `LISTEN_PID`, as systemd sets them."""

import os
import socket
import sys

# Becomes the program under its own pid, with the sockets from descriptor 3 on.
ACTIVATE = """
import fcntl, os, sys
count, of = int(sys.argv[1]), sys.argv[2]
# Out of the way, so that none is overwritten before it is copied.
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 100) for fd in sys.argv[3 : 3 + count]]
for number, fd in enumerate(fds, 3):
    os.dup2(fd, number)
os.environ["LISTEN_PID"] = str(os.getpid() if of == "own" else os.getppid())
os.environ["LISTEN_FDS"] = str(count)
os.execv(sys.argv[3 + count], sys.argv[3 + count :])
"""


def activated(start, sockets, *arguments, of="own"):
    fds = tuple(sock.fileno() for sock in sockets)
    before = (sys.executable, "-c", ACTIVATE, str(len(fds)), of, *map(str, fds))
    return start(*arguments, bind=False, before=before, pass_fds=fds)


def test_one_socket(start):
    with socket.create_server(("127.0.0.1", 0)) as given:
        server = activated(start, [given], "hello:app")
        assert server.listening() == [given.getsockname()]
    assert server.get().status == 200


def test_two_sockets(start):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        server = activated(start, [one, two], "hello:app")
        addresses = server.listening()
        assert addresses == [one.getsockname(), two.getsockname()]
    for server.address in addresses:
        assert server.get().status == 200


def test_they_win_over_bind(start):
    with socket.create_server(("127.0.0.1", 0)) as given:
        server = activated(start, [given], "--bind", "unix:unused.sock", "hello:app")
        assert server.listening() == [given.getsockname()]
    assert server.get().status == 200


def test_for_another_process_they_are_ignored(start):
    with socket.create_server(("127.0.0.1", 0)) as given:
        server = activated(start, [given], "--bind", "unix:own.sock", "hello:app", of="other")
        assert server.listening() == ["own.sock"]


def test_the_app_does_not_see_the_variables(start):
    with socket.create_server(("127.0.0.1", 0)) as given:
        server = activated(start, [given], "process:app")
        server.address = given.getsockname()
    environ = server.get().json["environ"]
    assert not {"LISTEN_PID", "LISTEN_FDS"} & environ.keys()


def test_a_unix_socket_stays_for_systemd(start, launcher):
    path = str(launcher.directory / "activated.sock")
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(path)
        given.listen()
        server = activated(start, [given], "environ:app")
    server.address = path
    assert server.get().json["REMOTE_ADDR"] == ""
    assert server.stop() == 0
    assert os.path.exists(path)
    os.unlink(path)
