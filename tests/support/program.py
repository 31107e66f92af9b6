"""The programs under test: Gunicorn itself and ours."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VENV_PYTHON = REPOSITORY / ".venv" / "bin" / "python"


@dataclass(frozen=True)
class Program:
    """A program that takes Gunicorn's command line."""

    name: str
    argv: tuple[str, ...]

    @property
    def ours(self) -> bool:
        return self.name == "ours"

    @property
    def theirs(self) -> bool:
        return self.name == "theirs"

    def __str__(self) -> str:
        return self.name


def theirs() -> Program:
    return Program("theirs", (str(VENV_PYTHON.with_name("gunicorn")),))


def ours() -> Program:
    return Program("ours", (str(our_binary()), "--python", str(VENV_PYTHON)))


def our_binary() -> Path:
    """`$RGUNICORN`, else the build that is newer."""
    if named := os.environ.get("RGUNICORN"):
        return Path(named)
    builds = [REPOSITORY / "target" / profile / "rgunicorn" for profile in ("release", "debug")]
    built = [path for path in builds if path.exists()]
    return max(built, key=lambda path: path.stat().st_mtime) if built else builds[0]


def under_test() -> list[Program]:
    """What `$GUNICORN_UNDER_TEST` names: `theirs`, `ours`, or both, the original first."""
    choice = os.environ.get("GUNICORN_UNDER_TEST") or "both"
    if choice not in ("theirs", "ours", "both"):
        raise ValueError(f"GUNICORN_UNDER_TEST is {choice!r}: it must be theirs, ours or both")
    programs = {"theirs": [theirs()], "ours": [ours()], "both": [theirs(), ours()]}[choice]
    for program in programs:
        if not Path(program.argv[0]).exists():
            raise FileNotFoundError(f"{program.argv[0]} is missing: run ./test, which installs and builds what is needed")
    return programs
