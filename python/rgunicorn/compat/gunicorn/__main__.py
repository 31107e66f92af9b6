"""`python -m gunicorn`."""

from .app.wsgiapp import run

run("gunicorn")
