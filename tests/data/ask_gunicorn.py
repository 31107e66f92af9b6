#!/usr/bin/env python3
"""Ask the real Gunicorn 27.0.1 what it makes of command lines and values.

Writes argv.json and values.json beside this file; tests/settings.rs holds this server against them. Run it with a Python
that has Gunicorn installed, after adding a case below. Python 3.11's argparse is the reference.
"""

import contextlib
import io
import json
import os
import sys
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
for name in ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
    os.environ.pop(name, None)
os.chdir(HERE)
os.environ["PWD"] = HERE

from gunicorn.config import Config  # noqa: E402

COMMAND_LINES = [
    [], ["app:app"], ["app"], ["app:create_app()"], [""], ["-"], ["--"], ["--", "app:app"],
    # Spellings of values.
    ["-w", "4", "app:app"], ["-w4", "app:app"], ["-w=4", "app:app"], ["-w 4", "app:app"], ["--workers=4", "app:app"],
    ["--workers", "4", "app:app"], ["--workers 4", "app:app"], ["--workers= 4 ", "app:app"], ["-w", " 4 ", "app:app"],
    ["-c=conf.py", "app:app"], ["-c", "conf.py", "app:app"], ["-cconf.py", "app:app"], ["-c=python:mod", "app:app"],
    ["-c conf.py", "app:app"], ["-c", "", "app:app"], ["-c=", "app:app"], ["--config=", "app:app"],
    ["-kgthread", "app:app"], ["-k=gthread", "app:app"], ["-k", "egg:meinheld#gunicorn_worker", "app:app"],
    ["-b", "0.0.0.0:80", "app:app"], ["-b 0.0.0.0:80", "app:app"], ["-b=:80", "app:app"], ["-b:80", "app:app"],
    ["-b", "[::]:80", "app:app"], ["-b", "", "app:app"], ["--bind=unix:/tmp/x=y.sock", "app:app"],
    ["-e", "A=1", "app:app"], ["-eA=1", "app:app"], ["-e=A=1", "app:app"], ["--env=A=1=2", "app:app"],
    ["-e A=1", "app:app"], ["-n", "my app", "app:app"], ["-nmy app", "app:app"], ["-n=", "app:app"],
    ["--name", "-", "app:app"], ["--access-logfile", "-", "app:app"], ["--access-logfile=-", "app:app"],
    ["--error-logfile", "-", "--access-logfile", "-", "app:app"], ["--log-file=-", "app:app"],
    ["--log-file", "a", "--error-logfile", "b", "app:app"],
    ["--access-logformat", "%(h)s \"%(r)s\"", "app:app"], ["--access-logformat=%(h)s = %(s)s", "app:app"],
    ["--limit-request-field_size", "10", "app:app"], ["--limit-request-field-size", "10", "app:app"],
    # Abbreviations.
    ["--conf", "g.py", "app:app"], ["--conf=g.py", "app:app"], ["--error-log", "-", "app:app"],
    ["--access-log", "-", "app:app"], ["--access-logfi=-", "app:app"], ["--work", "4", "app:app"],
    ["--worker-cl", "gthread", "app:app"], ["--worker-c", "gthread", "app:app"], ["--workers", "2", "--w", "3"],
    ["--paste", "x.ini"], ["--paster", "x.ini"], ["--past", "x.ini"], ["--paste-g", "A=1", "app:app"],
    ["--reload-e", "poll", "app:app"], ["--reload-eng=poll", "app:app"], ["--rel", "app:app"], ["--reload", "app:app"],
    ["--pre", "app:app"], ["--pri", "app:app"], ["--no-s", "app:app"], ["--no", "app:app"], ["--ver"], ["--he"],
    ["--log-config-j", "x", "app:app"], ["--log-config", "x", "app:app"], ["--log-c=x", "app:app"],
    ["--access-log=x=y", "app:app"], ["--t", "3", "app:app"], ["--th", "3", "app:app"], ["--ti", "3", "app:app"],
    ["--timeout", "3", "app:app"], ["--log-l", "debug", "app:app"], ["--log", "x", "app:app"], ["--", "--log", "x"],
    ["--statsd", "x", "app:app"], ["--statsd-h", "localhost:8125", "app:app"], ["--max-requests", "3", "app:app"],
    ["--max-requests-", "3", "app:app"], ["--max-r", "3", "app:app"], ["--ke", "3", "app:app"],
    # Flags without values, joined.
    ["-D", "app:app"], ["-DR", "app:app"], ["-RD", "app:app"], ["-DRw4", "app:app"], ["-DRw", "4", "app:app"],
    ["-Dw=4", "app:app"], ["-Dx", "app:app"], ["-D=R", "app:app"], ["-D=", "app:app"], ["-D=x", "app:app"],
    ["-Dv"], ["-Dh"], ["-vD"], ["-hD"], ["-DRz", "app:app"], ["--daemon=", "app:app"], ["--daemon=yes", "app:app"],
    ["--preload=true", "app:app"], ["--no-sendfile", "app:app"], ["--no-sendfile=1", "app:app"],
    ["--suppress-ragged-eofs", "app:app"], ["-D", "-D", "app:app"],
    # Optional value.
    ["--proxy-protocol", "app:app"], ["--proxy-protocol", "-w", "2", "app:app"], ["--proxy-protocol=v1", "app:app"],
    ["app:app", "--proxy-protocol"], ["--proxy-protocol", "--", "app:app"], ["--proxy-protocol=", "app:app"],
    ["--proxy-protocol", "v2", "app:app"], ["--proxy-protocol", "-5", "app:app"], ["--proxy-p", "app:app"],
    # Collected and repeated.
    ["-b", ":1", "-b", ":2", "app:app"], ["-b:1", "--bind=:2", "--bin", ":3", "app:app"], ["-w", "1", "-w", "2", "app:app"],
    ["-e", "A=1", "-e", "B=2", "app:app"], ["--reload-extra-file", "a", "--reload-extra-file=b", "app:app"],
    ["--paste-global", "a=1", "--paste-global", "b=2"], ["--dirty-app", "m:A", "--dirty-app", "m:B", "app:app"],
    ["--proxy-protocol=v1", "--proxy-protocol", "-D", "app:app"], ["--log-level", "debug", "--log-level=info", "app:app"],
    # Where positionals may stand.
    ["app:app", "-w", "4"], ["-w", "4", "app:app", "-D"], ["app:app", "extra"], ["app:app", "extra", "-w", "4"],
    ["-w", "4", "app:app", "a", "b"], ["app:app", "-w", "4", "extra"], ["app:app", "-D", "extra", "more"],
    ["app:app", "-w", "4", "--", "extra"], ["app:app", "--", "-w", "4"], ["app:app", "--", "--", "x"],
    ["-w", "4", "--", "app:app"], ["-w", "4", "--", "--workers"], ["--", "--", "app:app"], ["-D", "app:app", "-R", "x", "-w4"],
    ["app:app", "--reload", "--nonsense", "extra"], ["server:app", "twitter.csv"],
    # What is no flag.
    ["--nonsense"], ["--nonsense", "app:app"], ["--nonsense=1", "app:app", "-w", "x"], ["-z", "app:app"], ["-zw4", "app:app"],
    ["--keepalive", "2", "app:app"], ["--log-config-dict", "x", "app:app"], ["-5", "app:app"], ["-.5", "app:app"],
    ["-5.", "app:app"], ["--two words", "app:app"], ["-z two", "app:app"], ["---workers", "4"], ["-\u00e9", "app:app"],
    # Values that look like flags.
    ["-w", "-1", "app:app"], ["-w-1", "app:app"], ["--workers=-1", "app:app"], ["-n", "-x", "app:app"], ["-n-x", "app:app"],
    ["--name=-x", "app:app"], ["--name", "--", "app:app"], ["-n", "--reload", "app:app"], ["--name", "-a b", "app:app"],
    ["-w", "-D", "app:app"], ["app:app", "-w"], ["app:app", "--workers"], ["app:app", "-b", "-D"], ["-t", "-.5", "app:app"],
    # Numbers.
    ["-w", "x", "app:app"], ["--workers", "", "app:app"], ["--workers", "2.5", "app:app"], ["--workers", "0x10", "app:app"],
    ["--workers", "010", "app:app"], ["--workers", "1_0", "app:app"], ["--workers", "1__0", "app:app"],
    ["--workers", "+4", "app:app"], ["--workers", "+-4", "app:app"], ["--workers", "<2x cpu + 1>", "app:app"],
    ["--workers", "it's", "app:app"], ["--workers", "4\n", "app:app"], ["--cert-reqs", "x", "app:app"],
    ["-m", "0117", "app:app"], ["-m", "117", "app:app"], ["-m", "0o22", "app:app"], ["-m", "0x1F", "app:app"],
    ["-m", "00", "app:app"], ["-m", "0", "app:app"], ["-m", "08", "app:app"], ["-m", " 022", "app:app"], ["-m", "022 ", "app:app"],
    ["-m", "0b11", "app:app"], ["-m", "", "app:app"], ["-m", "x", "app:app"], ["--umask=0_22", "app:app"], ["-m007", "app:app"],
    ["--control-socket-mode", "0660", "app:app"], ["--control-socket-mode", "660", "app:app"],
    # Help and version, in their turn.
    ["-h"], ["--help"], ["-v"], ["--version"], ["-h", "-v"], ["-v", "-h"], ["app:app", "-h"], ["-w", "x", "-h"],
    ["-h", "-w", "x"], ["--nonsense", "-h"], ["-h", "--access-log"], ["-w", "-h"], ["--", "-h"], ["-n", "-h", "app:app"],
    ["-w4", "-v", "--nonsense"],
    # Seen in the wild.
    ["--workers=3", "wsgi:app", "-b 0.0.0.0:5000"], ["server:app", "-w", "4", "-k", "uvicorn.workers.UvicornWorker"],
    ["--bind=0.0.0.0:8000", "--log-file=-", "--access-logfile=-", "--error-logfile=-", "config.wsgi:application"],
    ["-w", "2", "--threads", "4", "-t", "120", "--max-requests", "1000", "--max-requests-jitter", "50", "a.b:c"],
    ["--paste", "oereb_server.ini#main", "--config", "gunicorn_config.py"],
    ["--bind", ":5000", "--workers", "1", "--reload", "--timeout", "0", "--paste", "conf/development.ini"],
    ["-c", "/cuts/config/gunicorn.py", "-e", "SCRIPT_NAME=/cuts", "cuts.app:create_app()"],
    ["--umask", "79", "app:app"], ["-m", "007", "app:app"], ["--chdir", "./app/", "app:app"],
]

NONE, TRUE, FALSE = {"kind": "none"}, {"kind": "bool", "value": True}, {"kind": "bool", "value": False}


def wire(value):
    if value is None:
        return NONE
    if isinstance(value, bool):
        return {"kind": "bool", "value": value}
    if isinstance(value, int):
        return {"kind": "int", "value": int(value)}
    if isinstance(value, float):
        return {"kind": "float", "value": value}
    if isinstance(value, str):
        return {"kind": "str", "value": value}
    if isinstance(value, (list, tuple)):
        return {"kind": "list", "value": [wire(item) for item in value]}
    if isinstance(value, dict):
        return {"kind": "map", "value": [[key, wire(item)] for key, item in value.items()]}
    raise TypeError(type(value))


ODD = [None, True, False, 0, 1, -1, 2.5, "", " ", "x", " x ", "true", [], ["x"], [1], {}, {"a": "b"}]
INTS = ["4", " 4 ", "\t4\n", "0x10", "0X1f", "0o17", "0b11", "010", "00", "0_0", "0", "-0", "-4", "+4", "+ 4", "4_000", "4__0",
        "_4", "4_", "0x_f", "0x", "0xg", "4.0", "four", "1e3", "٤", "4\x1f", "--4", "+-4", 3, 65535, 65536, 2**31 - 1, 2**31,
        16383, 16384, 16777215, 16777216, "65536"]
BOOLS = ["True", "FALSE", " tRuE ", "yes", "no", "1", "0", "on", "none", 1.0]
TEXTS = ["  a b  ", "\u00a0x\u2003", "a\nb", "\x1cx\x1f", "é"]
LISTS = ["a,b", ["a", " b "], ["a", None], ["a", 1], [["a"]], [""], ("a", "b"), {"k": 1}, 0.0, 5]
NETS = ["*", "127.0.0.1", " 10.0.0.0/8 , ::1,", "192.168.1.1/24", "192.168.1.0/24", "::1", "fe80::/10", "fe80::1/10", "300.1.1.1",
        "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "10.0.0.1/255.0.0.0", "10.0.0.0/", "/8", "a b", ",", ", ,",
        "*,*", "0.0.0.0/0", "::/0", "010.0.0.1", "10.0.0.0/08", "10.0.0.0/8/8", "localhost", ["127.0.0.1"], "10.0.0.0/255.0.255.0",
        "1.2.3.4/32", "::ffff:1.2.3.4", "2001:db8::/32", "2001:db8::1/32"]
HTTP = ["h1", "h2", "h2,h1", " H2 , h1 ", "h1,h1", "h3", "h1,", ",", "http/1.1", ["h1"]]
STATSD = ["localhost:8125", "localhost", "HOST:1", "HOST:65536", ":8125", "unix:8125", "unix:/tmp/s", "unix:///tmp/s", "unix:", "host:port", "host:",
          "fd://3", "fd://x", "[::1]:9", "[::1]", "tcp://h:1", " host:1 ", "a:1:2", "host: 80 ", "unix:12a"]
IDS = ["root", "0", "1000", " 0", "no-such-user-xyz", "-1", 1000, "0x10", "٤", 1.0]
PATHS = ["..", "../data", "./sub/..", "/", "/etc/../tmp", "missing", "/missing/x", " .. "]
FILES = ["argv.json", ["argv.json", "missing.txt"], "*.py", "missing*", "**/*.json", "[a]rgv.json", "missing", [None], ["argv.json", "*"]]
WORDS = {
    "reload_engine": ["auto", "poll", "inotify", "AUTO", " auto", "x"],
    "proxy_protocol": ["off", "v1", "v2", "auto", "AUTO", " v1 ", "v3", "none", "false", "true", "0", "1"],
    "http2_cleartext": ["off", "prior-knowledge", "upgrade", "both", "BOTH", " both ", "on", "true"],
    "header_map": ["drop", "refuse", "dangerous", "DROP", " drop ", "keep"],
    "asgi_loop": ["auto", "asyncio", "uvloop", "UVLOOP", " auto ", "x"],
    "asgi_lifespan": ["auto", "on", "off", "ON", "maybe"],
    "http_parser": ["auto", "fast", "python", "FAST", "c"],
}

CASES = {
    "workers": ODD + INTS, "timeout": ODD + INTS, "umask": INTS, "cert_reqs": [0, 1, 2, 3, "2"],
    "http2_max_concurrent_streams": ODD + INTS, "http2_initial_window_size": ODD + INTS, "http2_max_frame_size": ODD + INTS,
    "preload_app": ODD + BOOLS, "sendfile": ODD + BOOLS,
    "pidfile": ODD + TEXTS, "errorlog": ODD + TEXTS, "loglevel": ["ERROR", "warnin"],
    "bind": ODD + LISTS + TEXTS, "raw_env": ODD + LISTS, "dirty_apps": LISTS,
    "forwarded_allow_ips": ODD + NETS, "proxy_allow_ips": NETS, "uwsgi_allow_ips": NETS,
    "forwarder_headers": ODD + ["A,B", " A , B ", "A,,B", ",", ", ,", ["A"]],
    "http_protocols": ODD + HTTP, "statsd_host": ODD + STATSD, "user": ODD + IDS, "group": ODD + IDS,
    "chdir": [value for value in ODD if value != "x"] + PATHS, "reload_extra_files": ODD + FILES,
    "secure_scheme_headers": ODD + [{"X-Forwarded-Proto": "https"}], "logconfig_dict": ODD,
    "worker_class": ODD + ["gthread", " sync "], "logger_class": ODD,
    "post_fork": ODD + ["nodots", "os."], "post_request": ODD, "ssl_version": ODD + ["TLS", 2],
    **{name: ODD + values for name, values in WORDS.items()},
}


def outcome(words):
    parser = Config("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn").parser()
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            parsed = vars(parser.parse_args(words))
    except SystemExit as stop:
        if stop.code:
            return {"error": err.getvalue().split("gunicorn: error: ", 1)[1].rstrip("\n")}
        return {"prints": "version" if out.getvalue().startswith("gunicorn (version") else "help"}
    args = parsed.pop("args")
    return {"args": args, "settings": {name: wire(value) for name, value in parsed.items() if value is not None}}


def validated(name, value):
    config = Config()
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            config.set(name, value)
    except Exception:
        return {"refused": True}
    result = config.settings[name].get()
    if name == "chdir" and not value.strip().startswith("/"):
        result = os.path.relpath(result, HERE)
    elif name in ("user", "group") and value is None:
        result = "own"
    answer = {"value": wire(result)}
    lines = [line.split("=", 1)[1][1:] for line in str(config).splitlines() if line.split("=", 1)[0].strip() == name]
    if name not in ("chdir", "user", "group") and "\n" not in str(result):
        answer["printed"] = lines[0]
    if caught:
        answer["warning"] = str(caught[0].message)
    return answer


def write(name, rows):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if sys.version_info[:2] != (3, 11):
    sys.exit("Python 3.11 is the reference")
write("argv.json", [{"words": words, **outcome(words)} for words in COMMAND_LINES])
seen = set()
rows = []
for name, values in CASES.items():
    for value in values:
        row = {"setting": name, "given": wire(value), **validated(name, value)}
        if json.dumps([name, row["given"]]) not in seen:
            seen.add(json.dumps([name, row["given"]]))
            rows.append(row)
write("values.json", rows)
print(f"{len(COMMAND_LINES)} command lines, {len(rows)} values")
