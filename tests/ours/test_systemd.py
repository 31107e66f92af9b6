"""What systemd is told, with a socket that stands in for it."""

import os
import signal
import sys
import time

import pytest

from support import processes
from support.notify import NotifySocket

pytestmark = pytest.mark.only("ours")

PERIOD = 0.4


@pytest.fixture(params=["path", "abstract"])
def systemd(request, launcher):
    address = launcher.directory / "notify" if request.param == "path" else f"@rgunicorn-test-{os.getpid()}-{id(request)}"
    with NotifySocket(address) as notify:
        yield notify


@pytest.fixture
def serve(start, systemd):
    def serve(*arguments, watchdog=None, **options):
        env = {"NOTIFY_SOCKET": systemd.address}
        if watchdog is not None:
            env["WATCHDOG_USEC"] = str(int(PERIOD * 1e6))
            # Becomes the program under the pid that is named.
            script = f"import os, sys; os.environ['WATCHDOG_PID'] = str({watchdog}); os.execv(sys.argv[1], sys.argv[1:])"
            options["before"] = (sys.executable, "-c", script)
        return start(*arguments, env=env, **options)

    return serve


def test_the_life_of_a_service(serve, systemd):
    server = serve("process:app")
    pid, state = systemd.until("READY")
    assert pid == server.pid and state == {"READY": "1", "STATUS": "rgunicorn serves"}
    assert server.get().status == 200
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    server.send_signal(signal.SIGHUP)
    pid, state = systemd.until("RELOADING")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert pid == server.pid and state["RELOADING"] == "1" and state["STATUS"] == "reloading"
    assert before <= int(state["MONOTONIC_USEC"]) <= after
    assert systemd.until("READY") == (server.pid, {"READY": "1", "STATUS": "rgunicorn serves"})
    assert server.stop() == 0
    assert systemd.names() == ["READY", "RELOADING", "READY", "STOPPING"]
    assert {pid for pid, _ in systemd.said} == {server.pid}


def test_it_is_ready_when_the_first_worker_is(serve, systemd):
    conf = "from events import tell, wait\ndef post_worker_init(worker):\n  tell('in')\n  wait()\n"
    server = serve("process:app", conf=conf)
    server.events.until("in")
    assert systemd.names() == []
    server.events.release()
    systemd.until("READY")


def test_a_start_that_fails_says_nothing(serve, systemd):
    server = serve("no_such_module:app", allowed=[""])
    assert server.wait() == 3
    assert "READY" not in systemd.names()


def test_a_reload_that_was_discarded_has_ended_too(serve, systemd, launcher):
    server = serve("process:app", conf="", allowed=["on purpose"])
    systemd.until("READY")
    launcher.write("gunicorn.conf.py", "raise LookupError('on purpose')\n")
    server.send_signal(signal.SIGHUP)
    systemd.until("RELOADING")
    _, state = systemd.until("READY")
    assert state["STATUS"].startswith("reload failed: ") and "gunicorn.conf.py" in state["STATUS"]
    launcher.write("gunicorn.conf.py", "")
    server.send_signal(signal.SIGHUP)
    systemd.until("RELOADING")
    assert systemd.until("READY")[1]["STATUS"] == "rgunicorn serves"


def test_another_main_process_after_an_upgrade(serve, systemd):
    server = serve("process:app", watchdog="os.getpid()")
    systemd.until("READY")
    server.send_signal(signal.SIGUSR2)
    new = int(server.stderr.find(r"the new arbiter \(pid:(\d+)\) serves beside this one")[0][1])
    # What finds the socket's queue full is not said, and the watchdog alone fills it while nobody reads.
    systemd.drain()
    server.send_signal(signal.SIGTERM)
    pid, state = systemd.until("MAINPID")
    assert pid == server.pid and state["MAINPID"] == str(new)
    # From then on the new one is heard, and the old one is silent.
    assert systemd.until("READY")[0] == new
    assert systemd.until("WATCHDOG")[0] == new
    os.kill(new, signal.SIGTERM)
    assert systemd.until("STOPPING")[0] == new
    server.wait()
    server.wait_family()
    said = systemd.drain()
    handed_over = [index for index, (_, state) in enumerate(said) if "MAINPID" in state][0]
    assert not [each for each in said[:handed_over] if each[0] == new], "it was not the main process yet"
    assert {each[0] for each in said[handed_over + 1 :]} == {new}
    assert [name for name in systemd.names() if name != "MAINPID"] == ["READY", "READY", "STOPPING"]


def test_after_a_back_out_nothing_has_changed(serve, systemd):
    server = serve("process:app", watchdog="os.getpid()", allowed=["this one goes on"])
    systemd.until("READY")
    server.send_signal(signal.SIGUSR2)
    new = int(server.stderr.find(r"the new arbiter \(pid:(\d+)\) serves beside this one")[0][1])
    os.kill(new, signal.SIGTERM)
    server.stderr.find("this one goes on")
    systemd.drain()
    systemd.until("WATCHDOG")
    assert {pid for pid, _ in systemd.said} == {server.pid}


@pytest.mark.parametrize("pid", ["os.getpid()", "''"], ids=["named", "unnamed"])
def test_the_watchdog_is_fed(serve, systemd, pid):
    if pid == "''":
        pid = "os.environ.pop('WATCHDOG_PID', os.getpid())"
    conf = "from events import tell, wait\ndef post_worker_init(worker):\n  tell('in')\n  wait()\n"
    server = serve("process:app", watchdog=pid, conf=conf)
    server.events.until("in")
    # Before it is ready: what it says waits to be read for as long as this process is kept waiting.
    began = time.monotonic()
    systemd.drain()
    server.events.release()
    systemd.until("READY")
    for _ in range(4):
        # Nobody has to be quicker than systemd wants it, and a busy machine may be slower than half of that.
        assert systemd.until("WATCHDOG") == (server.pid, {"WATCHDOG": "1"})
    assert time.monotonic() - began > PERIOD / 2 * 3 * 0.9, "not more often than needed"
    environ = server.get().json["environ"]
    assert not {"WATCHDOG_USEC", "WATCHDOG_PID"} & environ.keys()
    # The variable that Gunicorn leaves to its workers, too; systemd heeds the main process alone.
    assert environ["NOTIFY_SOCKET"] == systemd.address


def test_a_watchdog_for_somebody_else_is_not_fed(serve, systemd):
    server = serve("process:app", watchdog="os.getppid()")
    systemd.until("READY")
    server.send_signal(signal.SIGHUP)
    systemd.until("RELOADING")
    systemd.until("READY")
    assert not [state for _, state in systemd.drain() if "WATCHDOG" in state]


def test_an_arbiter_that_hangs_is_not_heard(serve, systemd):
    server = serve("process:app", watchdog="os.getpid()")
    systemd.until("WATCHDOG")
    server.send_signal(signal.SIGSTOP)
    assert processes.wait_until(lambda: processes.state(server.pid) == "T")
    systemd.drain()
    with pytest.raises(AssertionError, match="nothing more was said"):
        systemd.next(timeout=PERIOD * 3)
    server.send_signal(signal.SIGCONT)
    systemd.until("WATCHDOG")


def test_a_stop_with_a_delay_is_announced_at_once(serve, systemd):
    server = serve("--drain-delay", "60", "process:app")
    systemd.until("READY")
    server.send_signal(signal.SIGTERM)
    systemd.until("STOPPING")
    assert server.get().status == 200
    assert server.stop() == 0


def test_a_file_that_changed_is_a_reload_too(serve, systemd, launcher):
    server = serve("--reload", "process:app")
    systemd.until("READY")
    launcher.write("process.py", (launcher.directory / "process.py").read_text() + "\n")
    systemd.until("RELOADING")
    systemd.until("READY")
    assert server.get().status == 200


def test_nobody_at_the_other_end_is_no_failure(start):
    for address in ("/no/such/socket", "@rgunicorn-nobody-is-here", "relative", ""):
        server = start("process:app", env={"NOTIFY_SOCKET": address})
        assert server.get().status == 200
        assert server.stop() == 0
