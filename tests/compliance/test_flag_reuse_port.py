"""`--reuse-port`."""

import socket


CONF = """
from events import tell
def post_worker_init(worker): tell("booted")
"""


def test_another_socket_may_have_the_port(start):
    """Proof that the option is set: without it the kernel refuses."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))  # bound, not listening: no connection goes there
        port = other.getsockname()[1]
        server = start("--reuse-port", "--workers", "2", "--bind", f"127.0.0.1:{port}", "hello:app", bind=False, conf=CONF)
        server.address = ("127.0.0.1", port)
        # Each worker of Gunicorn's binds for itself, some time after the master says that it listens.
        server.events.take("booted", 2)
        for _ in range(20):
            assert server.get().status == 200


def test_it_is_needed_for_that(run):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run("--bind", f"127.0.0.1:{port}", "hello:app", bind=False, code=1)


def test_the_address_is_logged(start):
    server = start("--reuse-port", "--bind", "127.0.0.1:0", "hello:app", bind=False)
    line = server.stderr.find(r"Listening at:\s*(.*)")[0][1]
    if server.ours:
        assert "http://127.0.0.1:" in line
    else:
        # The master has no listener then.
        assert line == f"({server.pid})"
    server.stderr.find("Booting worker")
