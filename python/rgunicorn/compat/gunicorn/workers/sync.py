"""The sync worker."""

from rgunicorn.worker import SyncWorker

__all__ = ["SyncWorker"]
