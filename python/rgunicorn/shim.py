"""`import gunicorn` finds our package of that name, also where the real one is installed."""

from __future__ import annotations

import importlib.util
import os.path
import sys
from importlib.machinery import ModuleSpec
from typing import Any

_ROOT = os.path.join(os.path.dirname(__file__), "compat", "gunicorn")


class Finder:
    """First on `sys.meta_path`. Submodules are found by the ordinary machinery through the package's path."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "gunicorn":
            return None
        init = os.path.join(_ROOT, "__init__.py")
        return importlib.util.spec_from_file_location(name, init, submodule_search_locations=[_ROOT])


def install() -> None:
    """Takes the place; a `gunicorn` that somebody (sitecustomize, a .pth file) imported before goes."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
        for name in [name for name in sys.modules if name == "gunicorn" or name.startswith("gunicorn.")]:
            del sys.modules[name]
