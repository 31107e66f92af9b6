"""The threaded worker."""

from rgunicorn.worker import ThreadWorker

__all__ = ["ThreadWorker"]
