"""The logger class, for `logger_class`."""

from rgunicorn.logs import CONFIG_DEFAULTS, Logger, SafeAtoms

__all__ = ["CONFIG_DEFAULTS", "Logger", "SafeAtoms"]
