"""Gunicorn's Python names, for apps, hooks and configurations that import them. rgunicorn stands behind them."""

version_info = (27, 0, 1)
__version__ = ".".join(map(str, version_info))
#: Assigning to these changes what clients and apps see of the server.
SERVER = "gunicorn"
SERVER_SOFTWARE = f"{SERVER}/{__version__}"
