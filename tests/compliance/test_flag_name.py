"""`--name`: the processes' titles."""

import pytest

from support import processes


def titles(server):
    worker = server.get().json["pid"]
    return processes.command_line(server.pid), processes.command_line(worker)


@pytest.fixture
def word(program):
    return "rgunicorn" if program.ours else "gunicorn"


def test_the_app_by_default(start, word):
    assert titles(start("process:app")) == (f"{word}: master [process:app]", f"{word}: worker [process:app]")


@pytest.mark.parametrize("flag", [["-n", "shop"], ["--name", "shop"]])
def test_given(start, word, flag):
    assert titles(start(*flag, "process:app")) == (f"{word}: master [shop]", f"{word}: worker [shop]")


def test_proc_name(start, word):
    assert titles(start("process:app", conf="proc_name = 'shop'"))[0] == f"{word}: master [shop]"


def test_a_long_one(start, word):
    name = "a-very-long-name-" * 12
    assert titles(start("--name", name, "process:app"))[1].startswith(f"{word}: worker [a-very-long-name-a-very")
