"""`cfg` in hooks."""

from rgunicorn.config import Config, Setting

__all__ = ["AccessLogFormat", "Config", "Setting"]


class AccessLogFormat:
    """Where configurations look for the default format."""

    name = "access_log_format"
    default = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
