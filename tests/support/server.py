"""A server process in its own directory, and the guard that lets nothing of it survive."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

from . import processes
from .events import Events
from .http import Address, Connection, Headers, Response
from .output import Output, alarms
from .processes import PATIENCE
from .program import Program

LISTENING = r"Listening at: (\S+)"


class Server:
    """A running program, reached over `address`."""

    def __init__(
        self,
        program: Program,
        directory: Path,
        argv: list[str],
        environment: dict[str, str],
        *,
        events: Events,
        listener: socket.socket | None = None,
        pass_fds: tuple[int, ...] = (),
        allowed: list[str] | None = None,
        new_session: bool = True,
    ) -> None:
        self.program = program
        self.directory = directory
        self.events = events
        #: Patterns of error-log records that the test provokes.
        self.allowed = list(allowed or ())
        self.address: Address | None = listener.getsockname()[:2] if listener else None
        self._before = set(processes.descendants(os.getpid()))
        self._process = subprocess.Popen(
            argv,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=new_session,
            pass_fds=pass_fds,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self.stdout = Output(os.dup(self._process.stdout.fileno()))
        self.stderr = Output(os.dup(self._process.stderr.fileno()))
        self._process.stdout.close()
        self._process.stderr.close()
        self._closed = False
        events.failed = lambda: bool(self._process.poll())

    @property
    def ours(self) -> bool:
        return self.program.ours

    @property
    def pid(self) -> int:
        return self._process.pid

    # -- talking to it ------------------------------------------------------------------------------------------------

    def connect(self, timeout: float = PATIENCE) -> Connection:
        if self.address is None:
            self.address = self.listening()[0]
        return Connection(self.address, timeout)

    def request(
        self, method: str = "GET", target: str = "/", headers: Headers = (), body: bytes | None = None, version: str = "1.1"
    ) -> Response:
        """One request on a connection of its own, which ends with it."""
        headers = [*headers, ("Connection", "close")]
        with self.connect() as connection:
            response = connection.request(method, target, headers, body, version).final(method)
            connection.expect_end()
            return response

    def get(self, target: str = "/", headers: Headers = ()) -> Response:
        return self.request("GET", target, headers)

    def listening(self) -> list[Address]:
        """The addresses that it logs."""
        text = self.stderr.find(LISTENING)[0][1]
        return [parse_address(part) for part in text.split(",")]

    # -- its processes ------------------------------------------------------------------------------------------------

    def send_signal(self, number: int, pid: int | None = None) -> None:
        os.kill(self.pid if pid is None else pid, number)

    def family(self) -> list[int]:
        """Every process that stems from this server and still runs."""
        return [pid for pid in processes.descendants(os.getpid()) if pid not in self._before and processes.alive(pid)]

    def workers(self) -> list[int]:
        """The workers' pids, in their order."""
        children = sorted(processes.children().get(self.pid, []))
        # Ours has the forkserver there besides.
        return [pid for pid in children if not self.ours or ": worker [" in processes.command_line(pid)]

    def wait(self, timeout: float = PATIENCE) -> int:
        """Waits for its end: the exit code (negative: the signal that killed it)."""
        if not processes.wait_gone(self.pid, timeout):
            raise AssertionError(f"{self.program} still runs after {timeout} s; its processes: {self.describe()}")
        # What it wrote is complete now, unless somebody else still holds the pipes.
        patience = 1.0 if self.family() else PATIENCE
        self.stdout.close(patience)
        self.stderr.close(patience)
        return self._process.wait()

    def wait_family(self, timeout: float = PATIENCE) -> None:
        """Waits until none of its processes is left."""
        deadline = time.monotonic() + timeout
        while left := self.family():
            if not processes.wait_gone(left[0], deadline - time.monotonic()):
                raise AssertionError(f"{self.program}: still there after {timeout} s: {self.describe()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self._tell_to_stop(number)
        return self.wait()

    def describe(self) -> list[str]:
        return [f"{pid} {processes.command_line(pid)}" for pid in self.family()]

    # -- its end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends it, and fails if it was not in order."""
        if self._closed:
            return
        self._closed = True
        problems = self._end()
        for name, output in (("stdout", self.stdout), ("stderr", self.stderr)):
            if not output.close():
                problems.append(f"its {name} is still open somewhere")
        self.events.drain()
        problems += [f"unexpected in the log: {record}" for record in alarms(self.log_lines(), self.allowed)]
        problems += [f"left behind: {path}" for path in self.litter()]
        print(f"--- {self.program} stdout\n{self.stdout.text}\n--- {self.program} stderr\n{self.stderr.text}")
        if problems:
            raise AssertionError(f"{self.program}: " + "\n".join(problems))

    def destroy(self) -> None:
        """Ends it at once, without any judgement."""
        self._closed = True
        processes.end(self.family())
        self._process.wait()

    def log_lines(self) -> list[str]:
        lines = self.stderr.lines
        for path in sorted(self.directory.glob("error*.log")):
            lines += path.read_text(errors="backslashreplace").splitlines()
        return lines

    def litter(self) -> list[Path]:
        """Sockets and pidfiles in its directory, which it should have removed (but Gunicorn's control socket)."""
        return [
            path
            for path in sorted(self.directory.rglob("*"))
            if (stat.S_ISSOCK(path.lstat().st_mode) or path.suffix == ".pid") and path.parent.name != ".gunicorn"
        ]

    def _tell_to_stop(self, number: int) -> None:
        self.send_signal(number)
        if not self.ours and not processes.wait_gone(self.pid, 5.0):
            # A worker of Gunicorn's loses what its master passes on before its own handlers are set.
            for pid in (*self.workers(), self.pid):
                try:
                    self.send_signal(number, pid)
                except ProcessLookupError:
                    continue

    def _end(self) -> list[str]:
        problems = []
        if self._process.poll() is None and processes.alive(self.pid):
            self._tell_to_stop(signal.SIGTERM)
            if not processes.wait_gone(self.pid):
                problems.append(f"it did not end on TERM: {self.describe()}")
            elif (code := self._process.wait()) not in ((0,) if self.ours else (0, -signal.SIGTERM)):
                # Gunicorn dies by a signal that comes before its handlers are set.
                problems.append(f"it exited {code} on TERM")
        left = self.family()
        for pid in left:
            # Helpers of the app's that end because their pipe does, such as multiprocessing's tracker.
            processes.wait_gone(pid)
        left = self.family()
        if left:
            problems.append(f"processes left: {self.describe()}")
            processes.end(left)
        self._process.wait()
        zombies = [pid for pid in processes.children().get(os.getpid(), ()) if pid not in self._before]
        processes.reap_strangers(zombies)
        return problems


def parse_address(text: str) -> Address:
    """An address as the server logs it."""
    if text.startswith("unix:"):
        return text.removeprefix("unix:")
    match = re.fullmatch(r"https?://\[?([^\]]*?)\]?:(\d+)", text)
    assert match is not None, f"no address: {text!r}"
    return match[1], int(match[2])
