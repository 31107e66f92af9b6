"""A configuration file with hooks, as Gunicorn reads it.

    rgunicorn --chdir examples -c examples/gunicorn.conf.py hello:app

Everything here is a default of its own; see docs/settings.md for all settings.
"""

import os

bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(D)sus'
graceful_timeout = 20


def on_starting(server):
    server.log.info("starting with %d workers", server.cfg.workers)


def when_ready(server):
    server.log.info("ready: %s", ", ".join(str(listener) for listener in server.LISTENERS))


def post_fork(server, worker):
    server.log.info("worker %d spawned (pid %d)", worker.age, worker.pid)


def pre_request(worker, req):
    worker.log.debug("%s %s", req.method, req.path)


def child_exit(server, worker):
    server.log.info("worker %d is gone (pid %d)", worker.age, worker.pid)


def on_exit(server):
    server.log.info("bye")
