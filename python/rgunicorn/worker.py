"""Worker classes: what `worker` is in hooks, and what a worker class of the user's own derives from."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from functools import partial
from typing import Any, NamedTuple

from . import _rgunicorn, privileges, reloading
from .bridge import Bridge
from .logs import access_is_plain, targets

#: Makes faulthandler write all threads' stacks: one of the numbers that nobody else uses.
STACKS_SIGNAL = signal.SIGRTMIN + 7


class Place(NamedTuple):
    """What the arbiter passed for one worker."""

    link: Any
    scoreboard: int
    stacks: int
    arbiter: int
    #: For connections that their worker has no time for: where to receive from, and where to send to.
    hand_off: tuple[int, int]
    slot: int
    #: Records that a slot has for threads.
    threads: int
    mask: Any


class WorkerTmp:
    """`worker.tmp`: Gunicorn's heartbeat file, which is memory here."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def notify(self) -> None:
        """A sign of life."""
        if self._worker._engine is not None:
            self._worker._engine.notify()

    def last_update(self) -> float:
        """When there last was one, on the monotonic clock."""
        engine = self._worker._engine
        return engine.last_update() if engine is not None else time.monotonic()

    def fileno(self) -> int:
        """There is no file."""
        return -1

    def close(self) -> None:
        """Nothing to close."""


class Worker:
    """`gunicorn.workers.base.Worker`."""

    SIGNALS = [getattr(signal, "SIG" + name) for name in "ABRT HUP QUIT INT TERM USR1 USR2 WINCH CHLD".split()]

    PIPE: Any = ()

    #: The application, once it is loaded.
    wsgi: Any

    _engine: Any = None
    _place: Place | None = None
    _exit_code = 0
    _quitting = False
    #: No signal has a say any more: the process is about to end.
    _leaving = False

    def __init__(self, age: int, ppid: int, sockets: list[Any], app: Any, timeout: float, cfg: Any, log: Any) -> None:
        self.age = age
        self.pid: Any = "[booting]"
        self.ppid = ppid
        self.sockets = sockets
        self.app = app
        self.timeout = timeout
        self.cfg = cfg
        self.log = log
        self.booted = False
        self.aborted = False
        self.reloader: Any = None
        self.max_requests = sys.maxsize
        if cfg.max_requests > 0:
            self.max_requests = cfg.max_requests + _jitter(cfg.max_requests_jitter)
        self.tmp = WorkerTmp(self)
        self._alive = True
        self._nr = 0

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"

    @property
    def alive(self) -> bool:
        """Whether it goes on serving; set to False, it finishes what it has begun and leaves."""
        return self._alive

    @alive.setter
    def alive(self, alive: bool) -> None:
        self._alive = alive
        if not alive and self._engine is not None:
            self._engine.retire()

    @property
    def nr(self) -> int:
        """Requests so far."""
        return self._nr + (self._engine.requests if self._engine is not None else 0)

    @nr.setter
    def nr(self, number: int) -> None:
        self._nr = number - (self._engine.requests if self._engine is not None else 0)

    def notify(self) -> None:
        """A sign of life: a worker that gives none for `timeout` seconds is ended."""
        self.tmp.notify()

    def run(self) -> None:
        """The worker's loop."""
        raise NotImplementedError()

    def init_process(self) -> None:
        """Becomes the worker's user, loads the app and serves. A subclass calls this last."""
        os.environ.update(self.cfg.env)
        privileges.become(self.cfg.uid, self.cfg.gid, self.cfg.initgroups)
        self.PIPE = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.wait_fds = [*self.sockets, self.PIPE[0]]
        self._start_engine()
        self.log.close_on_exec()
        self.init_signals()
        assert self._place is not None
        signal.pthread_sigmask(signal.SIG_SETMASK, self._place.mask)
        if self.cfg.reload:
            self.log.warning("Reloader is on. Use in development only!")
            self.reloader = reloading.Reporter(self.app, self._place.link.files)
        self.load_wsgi()
        if self.reloader is not None:
            self.reloader.first()
            self.reloader.start()
        self.cfg.post_worker_init(self)
        self.booted = True
        self._place.link.ready()
        if getattr(type(self), "run", None) not in (SyncWorker.run, ThreadWorker.run):
            # A loop of the class's own: only what it says by notify() is known of it.
            self._engine.expect_notify()
        self.run()

    def load_wsgi(self) -> None:
        """Loads the app."""
        self.wsgi = reloading.load(self.app, self.log) if self.cfg.reload else self.app.wsgi()

    def init_signals(self) -> None:
        """Sets the signal handlers."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGQUIT, self.handle_quit)
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGINT, self.handle_quit)
        signal.signal(signal.SIGWINCH, self.handle_winch)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        signal.signal(signal.SIGABRT, self.handle_abort)
        # Meant for the arbiter, but sent to whole groups. Not ignored: a program that the app starts would inherit that.
        signal.signal(signal.SIGHUP, _nothing)
        signal.signal(signal.SIGUSR2, _nothing)
        signal.siginterrupt(signal.SIGTERM, False)
        signal.siginterrupt(signal.SIGUSR1, False)
        signal.set_wakeup_fd(self.PIPE[1], warn_on_full_buffer=False)
        sys.unraisablehook = partial(self._heed_unraisable, sys.unraisablehook)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """TERM: the arbiter's, after it has said so over the link, or from outside: then the arbiter decides."""
        assert self._place is not None
        if self._place.link.retired():
            if not self.booted:
                # Nothing has been taken yet, and the app may take its time to load.
                self._quit(0)
                sys.exit(0)
            self.alive = False
        else:
            self._place.link.stop_asked()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """INT, QUIT: leave now. The second one of a group's and the arbiter's changes nothing."""
        if self._quitting or self._leaving:
            return
        self._quit(0)
        self.cfg.worker_int(self)
        time.sleep(0.1)
        sys.exit(0)

    def handle_abort(self, sig: int, frame: Any) -> None:
        """ABRT: a request has been silent for too long."""
        if self._leaving:
            return
        self._quit(1)
        self.cfg.worker_abort(self)
        sys.exit(1)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        """USR1: log files are opened again. The server's own came over the link."""
        assert self._place is not None
        self._place.link.retired()
        self.log.reopen_files()

    def handle_winch(self, sig: int, frame: Any) -> None:
        """WINCH: nothing."""
        self.log.debug("worker: SIGWINCH ignored.")

    def _heed_unraisable(self, others: Any, unraisable: Any) -> None:
        """A handler's SystemExit where nothing can be raised (in `__del__`, in a callback): it leaves a little later."""
        if not (self._quitting and isinstance(unraisable.exc_value, SystemExit)):
            others(unraisable)

    def _quit(self, code: int) -> None:
        self._quitting = True
        # The SystemExit that follows may be raised inside a request, where it is that request's failure and no more.
        self._alive = False
        self._exit_code = code
        if self._engine is not None:
            self._engine.quit()

    def _start_engine(self) -> None:
        place = self._place
        assert place is not None
        faulthandler.register(STACKS_SIGNAL, file=place.stacks, all_threads=True)
        self._engine = _rgunicorn.Engine(
            _engine_options(self) | {"threads": place.threads, "threaded": isinstance(self, ThreadWorker)},
            [(listener.fileno(), listener.is_unix) for listener in self.sockets],
            place.scoreboard,
            place.slot,
            self.age,
            place.link,
            place.arbiter,
            self.PIPE[0],
            # faulthandler keeps the number, not the file.
            os.dup(place.stacks),
            int(STACKS_SIGNAL),
            place.hand_off,
        )
        self._engine.start()
        targets.start()
        place.link.reopens(targets.error, targets.access)
        os.register_at_fork(
            before=self._engine.before_fork,
            after_in_parent=self._engine.after_fork_in_parent,
            after_in_child=self._engine.after_fork_in_child,
        )


class SyncWorker(Worker):
    """`gunicorn.workers.sync.SyncWorker`: one request at a time, on the engine."""

    #: What `wsgi.multithread` says.
    _multithread = False

    def run(self) -> None:
        """Serves until the worker retires."""
        self._engine.serve(0, *self._serving())
        if self._exit_code:
            sys.exit(self._exit_code)

    def _serving(self) -> tuple[Any, ...]:
        """What each serving thread is told."""
        from .environ import server_lines, templates

        for name in ("accept", "handle", "handle_request"):
            if hasattr(type(self), name):
                self.log.warning("%s.%s() is not called: the server reads requests itself", type(self).__name__, name)
        plain = targets.access is not None and access_is_plain(self.log, self.cfg)
        access = self.log.access_log if plain else None
        hook = self.cfg.settings
        return (
            Bridge(self, self.PIPE[1]),
            self.wsgi,
            templates(self, self._multithread),
            server_lines(self.cfg),
            (targets.access, self.cfg.access_log_format) if plain else None,
            (access.handlers, access.filters) if access is not None else None,
            not plain and _logs_access(self.log),
            hook["pre_request"].custom_hook or self.log.error_log.isEnabledFor(10),
            hook["post_request"].custom_hook,
        )


class ThreadWorker(SyncWorker):
    """`gunicorn.workers.gthread.ThreadWorker`: several requests at a time, a thread each, on the engine."""

    _multithread = True

    def run(self) -> None:
        """Serves until the worker retires. This thread runs signal handlers and no requests."""
        assert self._place is not None
        serving = self._serving()
        for number in range(max(1, self._place.threads)):
            _start_thread(self._serve, number, serving)
        self._engine.supervise(serving[0])
        if self._exit_code:
            sys.exit(self._exit_code)

    def _serve(self, number: int, serving: tuple[Any, ...]) -> None:
        try:
            self._engine.serve(number, *serving)
        except BaseException:
            self.log.exception("A serving thread has ended")


def _start_thread(target: Any, number: int, *arguments: Any) -> None:
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        # A patched thread is a greenlet: all of them would run one after the other.
        monkey.get_original("_thread", "start_new_thread")(target, (number, *arguments))
        return
    threading.Thread(target=target, args=(number, *arguments), name=f"rgunicorn-{number}", daemon=True).start()


def _logs_access(log: Any) -> bool:
    from .logs import Logger

    return bool(getattr(log, "access_log_enabled", True)) or getattr(type(log), "access", None) is not Logger.access


def _jitter(limit: int) -> int:
    if limit <= 0:
        return 0
    import random

    return random.randint(0, limit)


def _nothing(sig: int, frame: Any) -> None:
    """A signal that means nothing to a worker."""


def _engine_options(worker: Worker) -> dict[str, Any]:
    cfg = worker.cfg
    numbers = (
        "keepalive worker_connections timeout graceful_timeout limit_request_line limit_request_fields "
        "limit_request_field_size request_head_timeout limit_request_body request_buffer response_buffer "
        "request_timeout max_queue_wait"
    )
    flags = (
        "permit_obsolete_folding strip_header_spaces permit_unconventional_http_method "
        "permit_unconventional_http_version casefold_http_method sendfile"
    )
    options: dict[str, Any] = {name: getattr(cfg, name) for name in numbers.split()}
    options.update({name: bool(getattr(cfg, name)) for name in flags.split()})
    options["max_requests"] = worker.max_requests if cfg.max_requests > 0 else 0
    options["header_map"] = cfg.header_map
    options["forwarder_headers"] = cfg.forwarder_headers
    options["forwarded_allow_ips"] = cfg.forwarded_allow_ips
    options["proxy_protocol"] = cfg.proxy_protocol
    options["proxy_allow_ips"] = cfg.proxy_allow_ips
    options["secure_scheme_headers"] = list(cfg.secure_scheme_headers.items())
    options["script_name"] = os.environ.get("SCRIPT_NAME", "")
    return options
