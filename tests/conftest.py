"""Fixtures of all suites: `program` (each one under test), `launcher`, `start`, `run`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support import processes, program as programs
from support.launch import Launcher
from support.program import Program

# The only reasons for which a test may be left out. Anything else that skips is a failure.
NEEDS_ROOT = "needs root"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only(name): the test is about one of the programs")
    config.addinivalue_line("markers", "root: the test changes users, which takes root")
    processes.become_subreaper()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "program" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        chosen = [program for program in programs.under_test() if only is None or program.name in only.args]
        metafunc.parametrize("program", chosen, ids=str, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test about the other program is left out; the original goes first."""
    missing = [item for item in items if "NOTSET" in item.nodeid]
    items[:] = [item for item in items if item not in missing]
    items.sort(key=lambda item: item.callspec.params.get("program") != programs.theirs() if hasattr(item, "callspec") else 0)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.skipped and NEEDS_ROOT not in str(report.longrepr) and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which no test may be: {report.longrepr}"
    return report


@pytest.fixture
def launcher(program: Program) -> Iterator[Launcher]:
    with Launcher(program) as launcher:
        yield launcher


@pytest.fixture(scope="module")
def shared(program: Program) -> Iterator[Launcher]:
    """A launcher for servers that all tests of a module use."""
    with Launcher(program) as launcher:
        yield launcher


@pytest.fixture
def start(launcher: Launcher):
    return launcher.start


@pytest.fixture
def run(launcher: Launcher):
    return launcher.run
