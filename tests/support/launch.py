"""Lays out a directory, starts a program in it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from types import TracebackType

from .events import Events
from .program import REPOSITORY, VENV_PYTHON, Program
from .server import Server

APPS = REPOSITORY / "tests" / "apps"


class Launcher:
    """Starts servers of one program in one directory, and closes them all at the end."""

    def __init__(self, program: Program) -> None:
        self.program = program
        # Workers that run as another user have to reach it; a unix socket's path has to be short.
        self.directory = Path(tempfile.mkdtemp(prefix="rg-")).resolve()
        self.directory.chmod(0o755)
        self.events = Events(self.directory)
        self.servers: list[Server] = []
        for module in APPS.glob("*.py"):
            shutil.copy(module, self.directory)

    @property
    def ours(self) -> bool:
        return self.program.ours

    @property
    def keepalive(self) -> list[str]:
        """Flags for a worker that keeps connections, for longer than a test pauses: Gunicorn's sync worker does not."""
        return ["--keep-alive", "30", *([] if self.ours else ["--worker-class", "gthread", "--threads", "2"])]

    def write(self, name: str, text: str) -> Path:
        """A file in the directory; the text may be indented as a whole."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """A clean environment: nothing of the machine's leaks into a test."""
        return {
            "PATH": f"{VENV_PYTHON.parent}:{os.defpath}",
            "HOME": str(self.directory),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.events.environment(),
            **(extra or {}),
        }

    def start(
        self,
        *arguments: str,
        conf: str | None = None,
        env: Mapping[str, str] | None = None,
        bind: bool = True,
        pass_fds: tuple[int, ...] = (),
        allowed: list[str] | None = None,
        before: tuple[str, ...] = (),
        new_session: bool = True,
    ) -> Server:
        """Starts the program with these arguments.

        `conf` becomes `./gunicorn.conf.py`. With `bind` the program gets a listening socket of the test's: nothing has to
        be guessed, and a client may connect before the server is up. `before` is a command that runs the program.
        """
        if conf is not None:
            self.write("gunicorn.conf.py", conf)
        listener, binds = None, []
        if bind:
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            binds, pass_fds = ["--bind", f"fd://{listener.fileno()}"], (*pass_fds, listener.fileno())
        try:
            server = Server(
                self.program,
                self.directory,
                [*before, *self.program.argv, *binds, *arguments],
                self.environment(env),
                events=self.events,
                listener=listener,
                pass_fds=pass_fds,
                allowed=allowed,
                new_session=new_session,
            )
        finally:
            # The test keeps no copy: when the server is gone, the port is closed.
            if listener is not None:
                listener.close()
        self.servers.append(server)
        return server

    def run(self, *arguments: str, code: int, allowed: list[str] | None = None, **options: object) -> Server:
        """Runs the program to its end, which must come with this exit code."""
        server = self.start(*arguments, allowed=allowed if allowed is not None else [""], **options)  # type: ignore[arg-type]
        got = server.wait()
        server.close()
        assert got == code, f"{self.program} exited {got}, not {code}:\n{server.stderr.text}"
        return server

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        failures = []
        for server in reversed(self.servers):
            try:
                server.close()
            except AssertionError as failure:
                server.destroy()
                failures.append(str(failure))
        self.events.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        if failures:
            raise AssertionError("\n".join(failures))
