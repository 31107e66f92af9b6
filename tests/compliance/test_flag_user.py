"""`--user`, `--group`, `--initgroups`: who the workers are."""

import grp
import pwd
import os

import pytest

from support import processes

pytestmark = pytest.mark.root

# The interpreter's own files may be out of the user's reach: what the app imports is loaded before.
CONF = "import json\n"
NOBODY = pwd.getpwnam("nobody")


@pytest.mark.parametrize(
    "flags",
    [
        ["-u", "nobody", "-g", grp.getgrgid(NOBODY.pw_gid).gr_name],
        ["--user", str(NOBODY.pw_uid), "--group", str(NOBODY.pw_gid)],
    ],
    ids=["names", "numbers"],
)
def test_workers_give_up_root(start, flags):
    server = start(*flags, "process:app", conf=CONF)
    facts = server.get().json
    assert facts["uid"] == [NOBODY.pw_uid] * 3
    assert facts["gid"] == [NOBODY.pw_gid] * 3
    assert processes.status_field(server.pid, "Uid").split() == ["0"] * 4
    assert processes.status_field(server.pid, "Gid").split() == ["0"] * 4


def test_group_only(start):
    facts = start("--group", str(NOBODY.pw_gid), "process:app", conf=CONF).get().json
    assert facts["uid"] == [0] * 3
    assert facts["gid"] == [NOBODY.pw_gid] * 3


def test_user_only(start):
    server = start("--user", "nobody", "process:app", conf=CONF)
    facts = server.get().json
    assert facts["uid"] == [NOBODY.pw_uid] * 3
    assert facts["gid"] == [os.getgid()] * 3


def test_initgroups(start):
    """Gunicorn forgets the process's own group when it sets the others."""
    server = start("--user", "nobody", "--group", "nogroup", "--initgroups", "process:app", conf=CONF)
    facts = server.get().json
    assert facts["uid"] == [NOBODY.pw_uid] * 3
    assert facts["groups"] == sorted(set(os.getgrouplist("nobody", grp.getgrnam("nogroup").gr_gid)))
    assert facts["gid"] == [NOBODY.pw_gid if server.ours else 0] * 3


def test_from_the_config_file(start):
    facts = start("process:app", conf=CONF + "user = 'nobody'\ngroup = 65534\n").get().json
    assert (facts["uid"][0], facts["gid"][0]) == (NOBODY.pw_uid, 65534)


def test_the_app_is_imported_as_the_user_and_post_fork_as_root(start, launcher):
    launcher.write(
        "app.py",
        """
        import os
        from events import tell
        tell("import", os.getuid())
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"ok"]
        """,
    )
    conf = """
    import os
    from events import tell
    def post_fork(server, worker): tell("post_fork", os.getuid())
    def post_worker_init(worker): tell("post_worker_init", os.getuid())
    """
    server = start("--user", "nobody", "--group", "nogroup", "app:app", conf=conf)
    server.get()
    assert server.events.until("post_fork") == ["post_fork", 0]
    assert server.events.until("import") == ["import", NOBODY.pw_uid]
    assert server.events.until("post_worker_init") == ["post_worker_init", NOBODY.pw_uid]


@pytest.mark.parametrize("flags", [["--user", "no-such-user"], ["--group", "no-such-group"]])
def test_nobody_of_that_name(run, flags):
    run(*flags, "hello:app", code=1)
