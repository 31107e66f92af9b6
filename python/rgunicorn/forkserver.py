"""The forkserver: reads the configuration, runs the server's hooks and forks workers, as the arbiter tells it.

One thread, one link. It ends when the link does.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from . import _rgunicorn, config_file, reloading, values

_STARTED_BY = "rgunicorn: forkserver"


class Failed(Exception):
    """An order could not be carried out: what the arbiter is told."""

    def __init__(self, stage: str, error: BaseException, message: str | None = None, exit_code: int = 1) -> None:
        super().__init__(message or _one_line(error))
        self.stage = stage
        self.exit_code = exit_code
        self.traceback = _format(error)
        if isinstance(error, SystemExit):
            self.exit_code, shown = config_file.exit_status(error)
            self.args = (f"exit({'' if error.code is None else self.exit_code}) was called{shown}",)
            self.traceback = ""


def main(fd: int) -> NoReturn:
    """Serves the arbiter at the other end of this socket."""
    code = 1
    try:
        channel = _rgunicorn.Channel(fd)
        os.register_at_fork(after_in_child=channel.close)
        channel.send(
            {
                "type": "hello",
                "wire": _rgunicorn.WIRE_VERSION,
                "build": _rgunicorn.BUILD_ID,
                "python": sys.version.split()[0],
            }
        )
        _rgunicorn.set_title(_STARTED_BY)
        # A no-op, not ignored: what hooks start would inherit that and be deaf.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, _nothing)
        # The arbiter blocked them until here, so that a Ctrl-C is not this process's end.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP))
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        from . import shim, wakeup

        shim.install()
        wakeup.watch()
        Forkserver(channel, mask).serve()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        leave(code)


def leave(code: int) -> NoReturn:
    """Ends the process: what hooks registered with atexit happens, threads that they started are not waited for."""
    import atexit

    try:
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


class Forkserver:
    """What it knows, and what it does for each order."""

    def __init__(self, channel: Any, mask: Any) -> None:
        self.channel = channel
        self.mask = mask
        self.pid = os.getpid()
        self.live: dict[str, Any] = {}
        self.names: list[str] = []
        self.server: Any = None
        self.threads_named = False
        self.kept_log_fds: list[int] = []
        self.started = Started()
        #: The arbiter wants to know what is loaded.
        self.watched = False

    def serve(self) -> None:
        """Takes orders until told to leave, or the link ends."""
        while (message := self.channel.receive()) is not None:
            order, fds = message
            kind = order.get("type")
            handler = getattr(self, f"on_{kind}", None) if isinstance(kind, str) else None
            if handler is None:
                _close(fds)
                print(f"rgunicorn: forkserver: unknown order {kind!r}", file=sys.stderr)
                continue
            try:
                handler(order, fds)
            except Failed as failed:
                self._report_failure(failed)
            _flush()
            if kind == "exit":
                return

    def on_load(self, order: dict[str, Any], fds: list[int]) -> None:
        """Reads the Python config file."""
        from .application import enter

        _close(fds)
        start = os.getcwd()
        sys.argv[:] = order["argv"]
        self.names = order["names"]
        self.watched = order["watch"]
        enter(order["chdir"])
        told: dict[str, Any] = {}
        source = order.get("config")
        if source is not None:
            name = source["name"]
            if source["source"] == "file" and not os.path.exists(name):
                name = os.path.join(start, name) if os.path.exists(os.path.join(start, name)) else name
            try:
                self.live, told = config_file.read(source["source"], name, self.names)
            except config_file.ConfigFailed as error:
                self._report_files(error=error)
                self._send_failed("config", str(error), error.traceback, error.exit_code)
                return
        self._report_files()
        self.channel.send({"type": "loaded", "settings": told})
        # While the arbiter merges and validates.
        _import_all()

    def on_configure(self, order: dict[str, Any], fds: list[int]) -> None:
        """Builds `cfg` and `server`, and runs what comes before the server listens."""
        from . import logs

        first, replacement = order["first"], order["replacement"]
        error_fd = fds.pop(0) if order["has_error_log"] and fds else None
        access_fd = fds.pop(0) if order["has_access_log"] and fds else None
        _close(fds)
        logs.targets.open(error_fd, access_fd)
        cfg, app = self._configure(order)
        self.watched = cfg.reload
        _rgunicorn.set_title(f"{_STARTED_BY} [{cfg.proc_name}]")
        for path in (cfg.pythonpath or "").split(","):
            path = os.path.abspath(path) if path else ""
            if path and path not in sys.path:
                sys.path.insert(0, path)
        os.environ["SERVER_SOFTWARE"] = f"gunicorn/{_rgunicorn.GUNICORN_VERSION}"

        from gunicorn.arbiter import Arbiter

        server = Arbiter(app)
        try:
            server.log = cfg.logger_class(cfg)
            server.worker_class = cfg.worker_class
        except BaseException as error:
            raise Failed("configure", error) from error
        number = order["num_workers"]
        if replacement:
            server._num_workers = number
        else:
            server._num_workers = order["old_num_workers"]
            self._hook("nworkers_changed", setattr, server, "num_workers", number)
        self._try("configure", lambda: os.environ.update(cfg.env))
        if cfg.preload_app:
            self._try("preload", (lambda: reloading.load(app, server.log)) if cfg.reload else app.wsgi)
        server.pid = order["arbiter_pid"]
        self.server = server
        if first and not replacement:
            with self.started.noted():
                self._hook("on_starting", cfg.on_starting, server)
        elif not replacement:
            self._hook("on_reload", cfg.on_reload, server)
        self._report_files(app)
        self.channel.send({"type": "started", "changed": cfg.take_changes()})

    def on_check(self, order: dict[str, Any], fds: list[int]) -> None:
        """`--check-config`: imports what is named, and the app."""
        _close(fds)
        cfg, app = self._configure(order)
        wired = order["settings"]
        shown = {
            name: values.shown_live(setting.value)
            for name, setting in cfg.settings.items()
            if setting.custom_hook and wired[name]["kind"] == "str"
        }
        self.channel.send({"type": "validated", "shown": shown})
        self._try("check", app.load)
        self.channel.send({"type": "checked"})

    def on_bound(self, order: dict[str, Any], fds: list[int]) -> None:
        """The server listens: `when_ready`."""
        from .listeners import Listener

        _close(fds)
        server = self._ready("when_ready")
        server.LISTENERS = [Listener(address) for address in order["addresses"]]
        check = getattr(server.worker_class, "check_config", None)
        if check is not None:
            self._hook("when_ready", check, server.cfg, server.log)
        with self.started.noted():
            self._hook("when_ready", server.cfg.when_ready, server)
        self.channel.send({"type": "ready_done"})

    def on_fork(self, order: dict[str, Any], fds: list[int]) -> None:
        """Forks a worker."""
        age = order["age"]
        try:
            pid = self._fork(order, fds)
        except Exception as error:
            self.channel.send({"type": "fork_failed", "age": age, "why": _one_line(error)})
        else:
            self.channel.send({"type": "forked", "age": age, "pid": pid})
        finally:
            _close(fds)

    def on_child_exit(self, order: dict[str, Any], fds: list[int]) -> None:
        """A worker is gone: `child_exit`."""
        _close(fds)
        server = self.server
        if server is None:
            return
        worker = server.WORKERS.pop(order["pid"], None) or _orphan(server, order)
        status = order["status"]
        boot_failure = os.WIFEXITED(status) and os.WEXITSTATUS(status) in (3, 4)
        if not boot_failure:
            self._logged("child_exit", server.cfg.child_exit, server, worker)

    def on_num_workers(self, order: dict[str, Any], fds: list[int]) -> None:
        """More or fewer workers: `nworkers_changed`."""
        _close(fds)
        server = self.server
        if server is not None:
            server._num_workers = order["new"]
            self._logged("nworkers_changed", server.cfg.nworkers_changed, server, order["new"], order["old"])

    def on_logs(self, order: dict[str, Any], fds: list[int]) -> None:
        """The log files were opened again."""
        from . import logs

        error, access = (fds[0] if order["error"] else None), (fds[-1] if order["access"] else None)
        logs.targets.reopen(error, access, order["captured"])
        _close(fds)
        if self.server is not None:
            self._logged("reopen_files", self.server.log.reopen_files)

    def on_pre_exec(self, order: dict[str, Any], fds: list[int]) -> None:
        """Another arbiter is about to be started: `pre_exec`."""
        _close(fds)
        server = self._ready("pre_exec")
        variables = (os.environ, server.cfg.env_orig)
        before = [dict(of) for of in variables]
        self._hook("pre_exec", server.cfg.pre_exec, server)
        changed = {}
        for old, new in zip(before, variables, strict=True):
            changed |= {name: new.get(name) for name in {*old, *new} if old.get(name) != new.get(name)}
        self.channel.send({"type": "pre_exec_done", "environment": changed})

    def on_superseded(self, order: dict[str, Any], fds: list[int]) -> None:
        """Another generation serves: is there something here that would be lost?"""
        _close(fds)
        self.channel.send({"type": "superseded", "keeps": self.started.alive()})

    def on_workers(self, order: dict[str, Any], fds: list[int]) -> None:
        """The workers of the generation that serves now, for what hooks of this one have started."""
        _close(fds)
        server = self.server
        if server is not None:
            server.WORKERS = {
                pid: server.WORKERS.get(pid) or _orphan(server, {"pid": pid, "age": age})
                for pid, age in order["workers"]
            }

    def on_exit(self, order: dict[str, Any], fds: list[int]) -> None:
        """The end; with `on_exit` where it is the whole server's."""
        _close(fds)
        if order["on_exit"] and self.server is not None:
            self._logged("on_exit", self.server.cfg.on_exit, self.server)

    def _configure(self, order: dict[str, Any]) -> tuple[Any, Any]:
        from . import config
        from .application import ServedApplication, enter

        try:
            enter(order["chdir"])
            cfg = config.build(order, self.live)
        except BaseException as error:
            raise Failed("configure", error) from error
        return cfg, ServedApplication(cfg, order["app_uri"])

    def _fork(self, order: dict[str, Any], fds: list[int]) -> int:
        from .listeners import Listener
        from .worker import Place
        from .worker_process import work

        server = self._ready("fork")
        if len(fds) != 6 + order["listeners"]:
            raise ValueError(f"a fork order with {len(fds)} descriptors")
        link, scoreboard, stacks, arbiter, receive, send, *listening = fds
        sockets = [
            Listener(address, fd) for address, fd in zip(order["addresses"], listening, strict=True)
        ]
        server.worker_age = order["age"]
        server.LISTENERS = sockets
        try:
            worker = server.worker_class(
                order["age"], server.pid, sockets, server.app, server.timeout / 2.0, server.cfg, server.log
            )
            server.cfg.pre_fork(server, worker)
        except Exception:
            server.log.exception("Exception in pre_fork")
            raise
        self._name_threads()
        _flush()
        if server.cfg.preload_app and not gc.get_freeze_count():
            gc.collect()
        gc.freeze()
        pid = _rgunicorn.fork_worker(server.pid, link)
        if pid == 0:
            place = Place(_rgunicorn.Link(link), scoreboard, stacks, arbiter, (receive, send), order["slot"], order["threads"], self.mask)
            work(server, worker, place)
        for listener in sockets:
            listener.gone()
        worker.pid = pid
        server.WORKERS[pid] = worker
        return int(pid)

    def _name_threads(self) -> None:
        """Threads are lost in a fork, and what they hold stays held."""
        if self.threads_named:
            return
        count = len(os.listdir("/proc/self/task")) - 1
        if count <= 0:
            return
        import threading

        self.threads_named = True
        names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        names += [f"{count - len(names)} not started by Python"] if count > len(names) else []
        self.server.log.warning(
            "Forking workers while other threads run, which they will not have: %s", ", ".join(names)
        )

    def _ready(self, what: str) -> Any:
        if self.server is None:
            raise Failed(what, RuntimeError(f"{what} was ordered before configure"))
        return self.server

    def _hook(self, stage: str, hook: Any, *arguments: Any) -> None:
        self._try(stage, lambda: hook(*arguments))

    def _try(self, stage: str, call: Any) -> None:
        try:
            call()
        except BaseException as error:
            self._leave_if_child()
            raise Failed(stage, error) from error
        self._leave_if_child()

    def _logged(self, name: str, hook: Any, *arguments: Any) -> None:
        try:
            hook(*arguments)
        except Exception:
            self._leave_if_child()
            self.server.log.exception("Exception in %s", name)
        self._leave_if_child()

    def _leave_if_child(self) -> None:
        # A hook forked and its child came back here: its link is closed, and it is not to serve.
        if os.getpid() != self.pid:
            _flush()
            os._exit(0)

    def _report_files(self, app: Any = None, error: BaseException | None = None) -> None:
        if self.watched:
            reloading.report(self.channel, app, error)

    def _report_failure(self, failed: Failed) -> None:
        self._leave_if_child()
        self._report_files(error=failed)
        self._send_failed(failed.stage, str(failed), failed.traceback, failed.exit_code)

    def _send_failed(self, stage: str, message: str, text: str, exit_code: int) -> None:
        shown = [values.shown(item) for item in (message, text)]
        failure = {"stage": stage, "message": shown[0], "traceback": shown[1], "exit": exit_code}
        self.channel.send({"type": "failed", **failure})


class Started:
    """The threads and children that hooks have started, which run once in the server's life: `on_starting`, `when_ready`.

    What the app or a library starts at its import is not among them: every generation has its own of that.
    """

    def __init__(self) -> None:
        self._threads: set[int] = set()
        self._children: set[int] = set()

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """What is started in here is remembered."""
        threads, children = _threads(), _children()
        try:
            yield
        finally:
            self._threads |= _threads() - threads
            self._children |= _children() - children

    def alive(self) -> list[str]:
        """What still runs."""
        import threading

        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        threads = sorted(self._threads & _threads())
        children = sorted(pid for pid in self._children & _children() if _runs(pid))
        return [f"thread {names.get(thread, thread)}" for thread in threads] + [f"process {pid}" for pid in children]


def _threads() -> set[int]:
    return {int(thread) for thread in os.listdir("/proc/self/task")}


def _children() -> set[int]:
    children: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        # The thread can be gone by now, and the file is missing without CONFIG_PROC_CHILDREN.
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children") as file:
            children.update(int(pid) for pid in file.read().split())
    return children


def _runs(pid: int) -> bool:
    """A child that has ended is there until somebody asks how, which a hook may never do."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name before it can hold anything.
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False


def _import_all() -> None:
    """All of the package, so that a later change on disk can't mix two versions in one process."""
    import gunicorn.app.base  # noqa: F401
    import gunicorn.app.wsgiapp  # noqa: F401
    import gunicorn.arbiter  # noqa: F401
    import gunicorn.config  # noqa: F401
    import gunicorn.errors  # noqa: F401
    import gunicorn.glogging  # noqa: F401
    import gunicorn.http.wsgi  # noqa: F401
    import gunicorn.util  # noqa: F401
    import gunicorn.workers.gthread  # noqa: F401
    import gunicorn.workers.sync  # noqa: F401

    from . import (  # noqa: F401
        application,
        bridge,
        config,
        environ,
        listeners,
        loading,
        logs,
        privileges,
        request,
        server,
        worker,
        worker_process,
    )


def _orphan(server: Any, order: dict[str, Any]) -> Any:
    """Stands for a worker whose forkserver died before it: what hooks ask of it is its pid."""
    from .worker import Worker

    worker = Worker(order["age"], server.pid, [], server.app, server.timeout / 2.0, server.cfg, server.log)
    worker.pid = order["pid"]
    return worker


def _nothing(sig: int, frame: Any) -> None:
    """A signal that is the arbiter's to act on."""


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def _one_line(error: BaseException) -> str:
    text = values.shown(error) if not isinstance(error, KeyError) else f"KeyError: {values.shown(error)}"
    return (text.splitlines() or [type(error).__name__])[0]


def _format(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))
