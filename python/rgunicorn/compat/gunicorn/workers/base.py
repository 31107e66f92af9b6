"""The worker class to derive from."""

from rgunicorn.worker import Worker, WorkerTmp

__all__ = ["Worker", "WorkerTmp"]
