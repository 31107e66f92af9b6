"""What a worker process looks like from inside, as JSON."""

import json
import os
import sys

IMPORTED_BY = os.getpid()


def facts():
    mask = os.umask(0)
    os.umask(mask)
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "imported_by": IMPORTED_BY,
        "cwd": os.getcwd(),
        "path": sys.path,
        "argv": sys.argv,
        "environ": dict(os.environ),
        "umask": mask,
        "uid": os.getresuid(),
        "gid": os.getresgid(),
        "groups": os.getgroups(),
        "session": os.getsid(0),
        "fds": {name: target(name) for name in os.listdir("/proc/self/fd")},
    }


def target(name):
    try:
        return os.readlink("/proc/self/fd/" + name)
    except OSError:
        return None


def app(environ, start_response):
    body = json.dumps(facts()).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
