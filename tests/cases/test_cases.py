"""Each configuration case (README.md) against the programs under test; `run_cases.py` does the same on its own."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/expect.json"))


@pytest.fixture(params=CASES, ids=lambda path: path.name)
def case(request, launcher):
    """What is expected, the command line and the environment; the files are in the launcher's directory."""
    shutil.copytree(request.param, launcher.directory, dirs_exist_ok=True)
    expected = json.loads((request.param / "expect.json").read_text().replace("{CASE}", str(launcher.directory)))
    arguments = shlex.split((request.param / "cmdline.txt").read_text())
    env = request.param / "env.txt"
    lines = env.read_text().splitlines() if env.exists() else []
    return expected, arguments, dict(line.split("=", 1) for line in lines if "=" in line)


def test_case(case, run, program):
    expected, arguments, env = case

    def ends(*prefix, code, says):
        server = run(*prefix, *arguments, bind=False, env=env, code=code)
        # Wording is Gunicorn's own affair, but not whether there is any.
        missing = [text for text in says if text not in server.stderr.text] if program.theirs else []
        assert not missing
        assert server.stderr.text.strip() or not code
        return server

    if expected["kind"] == "ok":
        server = ends("--print-config", code=expected["print_config_exit"], says=[])
        printed = [line.split("=", 1) for line in server.stdout.lines if "=" in line and not line.startswith("{")]
        shown = {name.strip(): value.strip() for name, value in printed}
        assert {name: shown.get(name) for name in expected["print_config"]} == expected["print_config"]
        ends("--check-config", code=expected["check_config_exit"], says=expected.get("stderr_contains", []))
        return
    ends("--check-config", code=expected["check_config"]["exit"], says=expected["check_config"]["stderr_contains"])
    if start := expected.get("start"):
        # Not the default port, which may be somebody else's.
        ends("--bind", "127.0.0.1:0", *start["argv_prefix"], code=start["exit"], says=start["stderr_contains"])
