"""The life of a worker process, from the fork to `_exit`. It never returns into the forkserver's frames."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
import traceback
from typing import Any, NoReturn

from . import _rgunicorn
from .config_file import exit_status
from .logs import targets
from .worker import Place

#: Seconds that the logs' readers get at the end.
_DRAIN_LIMIT = 5.0

_EVERY_SIGNAL = signal.valid_signals()


def work(server: Any, worker: Any, place: Place) -> NoReturn:
    """Runs the worker and ends the process."""
    code = 1
    try:
        try:
            gc.enable()
            _rgunicorn.set_title(f"rgunicorn: worker [{server.proc_name}]")
            worker.pid = os.getpid()
            worker._place = place
            code = _run(server, worker, place)
        except BaseException:
            _complain()
        finally:
            code = _take_leave(server, worker, place, code)
    except SystemExit:
        pass  # A signal's, between two of these steps: the code stands.
    except BaseException:
        _complain()
    finally:
        # A handler may raise up to the moment when none can run any more, and once.
        try:
            _silence(worker)
        finally:
            _silence(worker)
            _leave(server, code)


def _run(server: Any, worker: Any, place: Place) -> int:
    from gunicorn.errors import AppImportError

    log = server.log
    try:
        log.info("Booting worker with pid: %s", worker.pid)
        server.cfg.post_fork(server, worker)
        worker.init_process()
        return 0
    except SystemExit as error:
        code, message = exit_status(error)
        if message:
            print(error.code, file=sys.stderr)
        return code
    except AppImportError as error:
        log.debug("Exception while loading the application", exc_info=True)
        _say(error)
        place.link.failed(server.APP_LOAD_ERROR, _reason(error))
        return int(server.APP_LOAD_ERROR)
    except BaseException as error:
        log.exception("Exception in worker process")
        _say(error)
        if worker.booted:
            return 255
        place.link.failed(server.WORKER_BOOT_ERROR, _reason(error))
        return int(server.WORKER_BOOT_ERROR)


def _take_leave(server: Any, worker: Any, place: Place, code: int) -> int:
    """What is done and said at the end while signals still count. Returns the exit code."""
    try:
        limit = max(1.0, float(server.cfg.graceful_timeout or 0))
        _rgunicorn.exit_within(limit, code)
        server.log.info("Worker exiting (pid: %s)", worker.pid)
        try:
            server.cfg.worker_exit(server, worker)
        except Exception:
            server.log.warning("Exception during worker exit:\n%s", traceback.format_exc())
        place.link.bye()
        # What the interpreter's own end would do, as far as apps and libraries count on it.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except SystemExit as error:
        return exit_status(error)[0] or code
    except BaseException:
        _complain()
    return code


def _silence(worker: Any) -> None:
    """Ends the signals' say: a handler that raised now would leave by another code, or lose what is still to be written."""
    worker._leaving = True
    signal.pthread_sigmask(signal.SIG_BLOCK, _EVERY_SIGNAL)


def _leave(server: Any, code: int) -> NoReturn:
    """Writes out what is still to be written, and ends."""
    try:
        flush_stdio()
        targets.drain(min(_DRAIN_LIMIT, float(server.cfg.graceful_timeout or 1)))
    finally:
        os._exit(code)


def flush_stdio() -> None:
    """Writes out what the app printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def _say(error: BaseException) -> None:
    targets.drain(1.0)
    print(error, file=sys.stderr, flush=True)


def _reason(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}".splitlines()[0][:1000] if text else type(error).__name__


def _complain() -> None:
    try:
        traceback.print_exc()
    except Exception:
        pass
