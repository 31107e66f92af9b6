"""What the tests about ours share."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest


@pytest.fixture
def free_port() -> Iterator[Callable[[], int]]:
    """Chooses ports that a server may listen at, and nobody else is given before the test has ended.

    Each stays bound to a socket that does not listen. With SO_REUSEADDR, which servers set too, that keeps nobody out who
    asks for the port by its number; the kernel chooses it for nobody.
    """
    with ExitStack() as held:

        def choose() -> int:
            holder = held.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
            return holder.getsockname()[1]

        yield choose
