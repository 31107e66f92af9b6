"""Every test runs on every interpreter given by --python (default: the one that runs pytest)."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Arbiter

HELLO = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--python", action="append", default=[], help="an interpreter to test; may be repeated")


def pytest_generate_tests(metafunc: Any) -> None:
    if "python" in metafunc.fixturenames:
        metafunc.parametrize("python", metafunc.config.getoption("--python") or [sys.executable])


@pytest.fixture
def start(python: str, tmp_path: Path) -> Iterator[Callable[..., Arbiter]]:
    """Writes app and config file and starts a forkserver."""
    started: list[Arbiter] = []

    def begin(app: str = HELLO, config: str | None = None, env: dict[str, str] | None = None, **files: str) -> Arbiter:
        (tmp_path / "app.py").write_text(textwrap.dedent(app))
        if config is not None:
            (tmp_path / "gunicorn.conf.py").write_text(textwrap.dedent(config))
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        tmp_path.chmod(0o755)
        arbiter = Arbiter(python, tmp_path, env)
        started.append(arbiter)
        return arbiter

    yield begin
    for arbiter in started:
        arbiter.stop()
