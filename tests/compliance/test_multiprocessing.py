"""Apps that start processes of their own, in the ways that Python has."""

import pytest

APP = """
import multiprocessing, os, subprocess, sys
from work import double

def app(environ, start_response):
    how = environ["PATH_INFO"][1:]
    if how == "subprocess":
        result = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, check=True).stdout.decode().strip()
    elif how == "preexec":
        result = subprocess.run(["echo", "42"], capture_output=True, preexec_fn=os.getpid).stdout.decode().strip()
    elif how == "os.fork":
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            os.write(write, b"42")
            os._exit(0)
        os.waitpid(child, 0)
        result = os.read(read, 10).decode()
        os.close(read)
        os.close(write)
    else:
        with multiprocessing.get_context(how).Pool(1) as pool:
            result = pool.apply(double, (21,))
            pool.close()
            pool.join()
    start_response("200 OK", [])
    return [str(result).encode()]
"""


@pytest.fixture(scope="module")
def server(shared):
    shared.write("work.py", "def double(number):\n    return number * 2\n")
    shared.write("app.py", APP)
    return shared.start("app:app")


@pytest.mark.parametrize("how", ["subprocess", "preexec", "os.fork", "fork", "spawn", "forkserver"])
def test_processes_of_the_app(server, how):
    for _ in range(2):
        assert server.get(f"/{how}").body == b"42"
