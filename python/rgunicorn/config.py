"""`cfg`: the settled settings as hooks, loggers and worker classes see them.

The table of settings is the daemon's; what a setting is (a number, a list, a hook) is taken from its settled value.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from . import values
from .values import LIVE


def _one(_server_or_worker: Any) -> None: ...
def _two(_server: Any, _worker: Any) -> None: ...
def _nworkers_changed(server: Any, new_value: int, old_value: int | None) -> None: ...
def _post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None: ...


def _pre_request(worker: Any, req: Any) -> None:
    worker.log.debug("%s %s", req.method, req.path)


def _ssl_context(config: Any, default_ssl_context_factory: Callable[[], Any]) -> Any:
    return default_ssl_context_factory()


_DEFAULT_HOOKS: dict[str, Callable[..., Any]] = {
    "nworkers_changed": _nworkers_changed,
    "pre_request": _pre_request,
    "post_request": _post_request,
    "ssl_context": _ssl_context,
}
_COMMA_LISTS = ("forwarded_allow_ips", "proxy_allow_ips", "uwsgi_allow_ips", "forwarder_headers")


class Setting:
    """One setting: `cfg.settings[name]`."""

    def __init__(self, name: str, value: Any, arity: int | None, order: int) -> None:
        self.name = name
        self.arity = arity
        self.order = order
        self.custom_hook = False
        self.value = value
        self.default = value

    def get(self) -> Any:
        """The value."""
        return self.value

    def set(self, value: Any) -> None:
        """Takes another value, if it is one that Gunicorn would take."""
        self.value = self._validated(value)

    def take_hook(self, value: Any) -> None:
        """A callable or its dotted name; None for the one that does nothing."""
        assert self.arity is not None
        if value is None:
            default = _two if self.arity == 2 else _one
            self.value = _DEFAULT_HOOKS.get(self.name, default)
            return
        self.value = validate_callable(self.name, value, self.arity)
        self.custom_hook = True

    def _validated(self, value: Any) -> Any:
        if self.arity is not None:
            self.take_hook(value)
            return self.value
        if self.name in ("user", "group"):
            return (user_id if self.name == "user" else group_id)(value)
        if self.name in _COMMA_LISTS:
            return _comma_list(value)
        if self.name in ("worker_class", "logger_class", "ssl_version"):
            return value
        return _like(self.default, value)

    def __lt__(self, other: Setting) -> bool:
        return self.order < other.order

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} with value {self.value!r}>"


class Config:
    """All settings as attributes, and what Gunicorn derives from them."""

    settings: dict[str, Setting]

    def __init__(self, usage: str | None = None, prog: str | None = None) -> None:
        self.settings = {}
        self.usage = usage
        self.prog = prog or os.path.basename(sys.argv[0] if sys.argv else "gunicorn")
        self.env_orig = os.environ.copy()
        self._changed: set[str] = set()
        self._address: list[Any] = []
        self._worker_class_str = "sync"
        self._proc_name = "gunicorn"

    def __getattr__(self, name: str) -> Any:
        settings = self.__dict__.get("settings", {})
        if name not in settings:
            raise AttributeError(f"No configuration setting for: {name}")
        return settings[name].get()

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "settings" and name in self.__dict__.get("settings", {}):
            raise AttributeError("Invalid access!")
        super().__setattr__(name, value)

    def __str__(self) -> str:
        width = max(map(len, self.settings), default=0)
        shown = {name: values.shown_live(setting.value) for name, setting in self.settings.items()}
        return "\n".join(f"{name:{width}} = {shown[name]}" for name in sorted(shown))

    def set(self, name: str, value: Any) -> None:
        """Changes a setting; before the server listens, the arbiter hears of it."""
        if name not in self.settings:
            raise AttributeError(f"No configuration setting for: {name}")
        self.settings[name].set(value)
        self._changed.add(name)
        if name == "bind":
            from gunicorn.util import parse_address

            self._address = [parse_address(bind) for bind in self.settings[name].value]
        elif name == "proc_name":
            self._proc_name = value

    def validate(self) -> None:
        """Settings are checked against each other before they come here."""

    def take_changes(self) -> dict[str, Any]:
        """What hooks have set since the last call."""
        changed, self._changed = self._changed, set()
        return {name: values.to_wire(self.settings[name].value) for name in sorted(changed)}

    @property
    def worker_class_str(self) -> str:
        return self._worker_class_str

    @property
    def worker_class(self) -> Any:
        from .loading import load_class

        uri = self.settings["worker_class"].get()
        found = load_class(uri if isinstance(uri, type) else self._worker_class_str)
        if hasattr(found, "setup"):
            found.setup()
        return found

    @property
    def logger_class(self) -> Any:
        from .loading import load_class

        uri = self.settings["logger_class"].get()
        if uri in (None, "simple"):
            uri = "gunicorn.glogging.Logger"
        found = load_class(uri, default="gunicorn.glogging.Logger", section="gunicorn.loggers")
        if hasattr(found, "install"):
            found.install()
        return found

    @property
    def address(self) -> list[Any]:
        return self._address

    @property
    def uid(self) -> int:
        return user_id(self.settings["user"].get())

    @property
    def gid(self) -> int:
        return group_id(self.settings["group"].get())

    @property
    def proc_name(self) -> str:
        return self._proc_name

    @property
    def is_ssl(self) -> Any:
        return self.settings["certfile"].get() or self.settings["keyfile"].get()

    @property
    def ssl_options(self) -> dict[str, Any]:
        names = (
            "keyfile certfile ssl_version cert_reqs ca_certs suppress_ragged_eofs do_handshake_on_connect ciphers"
        ).split()
        return {name: self.settings[name].get() for name in names if name in self.settings}

    @property
    def env(self) -> dict[str, str]:
        return _pairs(self.settings["raw_env"].get(), "=")

    @property
    def sendfile(self) -> bool:
        # `--no-sendfile` stores a value, whatever it is: only an untouched setting leaves it to the environment.
        if self.settings["sendfile"].get() is not None:
            return False
        return os.environ.get("SENDFILE", "yes").lower() in ("y", "1", "yes", "true")

    @property
    def reuse_port(self) -> Any:
        return self.settings["reuse_port"].get()

    @property
    def paste_global_conf(self) -> dict[str, str] | None:
        raw = self.settings["raw_paste_global_conf"].get()
        if raw is None:
            return None
        conf = {}
        for item in raw:
            # An escaped equals sign is part of its key or value.
            key, sign, value = item.replace("\\=", "\0").partition("=")
            if not sign:
                raise RuntimeError(f"environment setting {item!r} invalid")
            conf[key.replace("\0", "=")] = value.replace("\0", "=")
        return conf

    def forwarded_allow_networks(self) -> list[Any]:
        """`forwarded_allow_ips` as networks."""
        import ipaddress

        return [ipaddress.ip_network(item) for item in self.settings["forwarded_allow_ips"].get() if item != "*"]


def build(configure: dict[str, Any], live: dict[str, Any]) -> Config:
    """`cfg` from the daemon's settled settings; dotted names of hooks are imported here."""
    cfg = Config()
    arities = configure["callables"]
    for order, (name, wired) in enumerate(configure["settings"].items()):
        value = values.from_wire(wired)
        if value is LIVE:
            value = live[name]
        setting = Setting(name, value, arities.get(name), order)
        if setting.arity is not None:
            try:
                setting.take_hook(value)
            except Exception as error:
                raise ValueError(f"Invalid value for {name}: {values.shown(value)}: {error}") from error
        elif name in _COMMA_LISTS:
            setting.value = setting.default = _comma_list(value)
        cfg.settings[name] = setting
    cfg._address = [
        tuple(item) if isinstance(item, list) else item for item in map(values.from_wire, configure["address"])
    ]
    cfg._worker_class_str = configure["worker_class"]
    cfg._proc_name = configure["proc_name"]
    return cfg


def validate_callable(name: str, value: Any, arity: int) -> Any:
    """The callable, imported if it is named; `post_request` may take fewer parameters than it is given."""
    if isinstance(value, str):
        value = _import_dotted(value)
    if not callable(value):
        raise TypeError(f"Value is not callable: {values.shown(value)}")
    count = values.arity(value)
    if name == "post_request" and count in (2, 3):
        return _shortened(value, count)
    if arity >= 0 and count != arity:
        raise TypeError(f"Value must have an arity of: {arity}")
    return value


def user_id(value: Any) -> int:
    """A user's number, from its name, number or None (this process's own)."""
    if value is None:
        return os.geteuid()
    if isinstance(value, int):
        return value
    if value.isdigit():
        return int(value)
    import pwd

    from gunicorn.errors import ConfigError

    try:
        return pwd.getpwnam(value).pw_uid
    except KeyError:
        raise ConfigError(f"No such user: {value!r}") from None


def group_id(value: Any) -> int:
    """A group's number, from its name, number or None (this process's own)."""
    if value is None:
        return os.getegid()
    if isinstance(value, int):
        return value
    if value.isdigit():
        return int(value)
    import grp

    from gunicorn.errors import ConfigError

    try:
        return grp.getgrnam(value).gr_gid
    except KeyError:
        raise ConfigError(f"No such group: {value!r}") from None


def _shortened(hook: Any, count: int) -> Any:
    if count == 3:
        return lambda worker, req, environ, _resp: hook(worker, req, environ)
    return lambda worker, req, _environ, _resp: hook(worker, req)


def _import_dotted(name: str) -> Any:
    module_name, dot, attribute = name.rpartition(".")
    if not dot:
        raise TypeError(f"Value '{name}' is not import string. Format: module[.submodules...].object")
    try:
        return getattr(__import__(module_name, fromlist=[attribute]), attribute)
    except ImportError as error:
        raise TypeError(str(error)) from error
    except AttributeError:
        raise TypeError(f"Can not load '{attribute}' from '{module_name}'") from None


def _comma_list(value: Any) -> list[str]:
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item]
    return list(value or [])


def _pairs(items: Any, sign: str) -> dict[str, str]:
    pairs = {}
    for item in items or []:
        key, found, value = item.partition(sign)
        if not found:
            raise RuntimeError(f"environment setting {item!r} invalid")
        pairs[key] = value
    return pairs


def _like(old: Any, value: Any) -> Any:
    """The value, as the validator of a setting with this other value would have it."""
    if isinstance(old, bool):
        if value is None or isinstance(value, bool):
            return value
        word = value.lower().strip() if isinstance(value, str) else None
        if word not in ("true", "false"):
            raise ValueError(f"Invalid boolean: {values.shown(value)}")
        return word == "true"
    if isinstance(old, int):
        number = int(value) if isinstance(value, int) else int(value, 0)
        if number < 0:
            raise ValueError(f"Value must be positive: {number}")
        return number
    if isinstance(old, list):
        items = [value] if isinstance(value, str) else list(value or [])
        return [_text(item) for item in items]
    if isinstance(old, dict):
        if not isinstance(value, dict):
            raise TypeError(f"Value is not a dictionary: {values.shown(value)}")
        return value
    return value if value is None or isinstance(value, bool) else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"Not a string: {values.shown(value)}")
    return value.strip()
