"""`worker.tmp`."""

from rgunicorn.worker import WorkerTmp

__all__ = ["WorkerTmp"]
