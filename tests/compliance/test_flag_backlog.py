"""`--backlog`, as the kernel sees it."""

import socket
import struct

# Of a listening socket the kernel reports how long its queue may be in tcpi_sacked.
BACKLOG_FIELD = 13


def queue_limit(sock: socket.socket) -> int:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack("B" * 8 + "I" * 24, info)[BACKLOG_FIELD]


def serve(start, *arguments):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = start("--bind", f"fd://{bound.fileno()}", *arguments, "hello:app", bind=False, pass_fds=(bound.fileno(),))
        server.listening()
        assert server.get().status == 200
        return queue_limit(bound)


def test_default(start):
    assert serve(start) == 2048


def test_given(start):
    assert serve(start, "--backlog", "17") == 17


def test_a_socket_that_listens_keeps_its_own(start):
    """Listening again can be forbidden to us."""
    with socket.create_server(("127.0.0.1", 0), backlog=21) as given:
        server = start(
            "-b", f"fd://{given.fileno()}", "--backlog", "17", "hello:app", bind=False, pass_fds=(given.fileno(),)
        )
        server.address = given.getsockname()
        assert server.get().status == 200
        assert queue_limit(given) == 21
