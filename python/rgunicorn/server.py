"""The `server` that hooks get: Gunicorn's arbiter as far as it can be seen from Python.

The real arbiter is another process. What hooks read is kept up to date by its messages; signals go straight to pids.
"""

from __future__ import annotations

import os
import signal
from typing import Any


class Arbiter:
    """`gunicorn.arbiter.Arbiter`."""

    WORKER_BOOT_ERROR = 3
    APP_LOAD_ERROR = 4

    START_CTX: dict[Any, Any] = {}
    LISTENERS: list[Any] = []
    WORKERS: dict[int, Any] = {}

    #: The arbiter's; hooks that run before `on_starting` find none.
    pid: int

    SIGNALS = [getattr(signal, "SIG" + name) for name in "HUP QUIT INT TERM TTIN TTOU USR1 USR2 WINCH".split()]
    SIG_NAMES = {
        getattr(signal, name): name[3:].lower() for name in dir(signal) if name[:3] == "SIG" and name[3] != "_"
    }

    def __init__(self, app: Any) -> None:
        self.app = app
        self.cfg = app.cfg
        self.log: Any = None
        self.LISTENERS = []
        self.WORKERS = {}
        self.worker_class: Any = None
        self.worker_age = 0
        self.reexec_pid = 0
        self.master_pid = 0
        self.master_name = "Master"
        self.pidfile = None
        self.systemd = False
        self.address = self.cfg.address
        self.timeout = self.cfg.timeout
        self.proc_name = self.cfg.proc_name
        self._num_workers: int | None = None

    @property
    def num_workers(self) -> int | None:
        return self._num_workers

    @num_workers.setter
    def num_workers(self, value: int) -> None:
        old, self._num_workers = self._num_workers, value
        self.cfg.nworkers_changed(self, value, old)

    def kill_worker(self, pid: int, sig: int) -> None:
        """Sends a signal to a worker; one that is gone is forgotten."""
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            worker = self.WORKERS.pop(pid, None)
            if worker is not None:
                self.cfg.worker_exit(self, worker)

    def kill_workers(self, sig: int) -> None:
        """Sends a signal to all workers."""
        for pid in list(self.WORKERS):
            self.kill_worker(pid, sig)

    def run(self) -> None:
        raise NotImplementedError("rgunicorn: starting the server from Python code (embedding) is not built yet")
