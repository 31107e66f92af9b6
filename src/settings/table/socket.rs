//! Config file, application, listeners.

use super::{Action, Argument, Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "config",
        section: Section::ConfigFile,
        short: Some('c'),
        long: &["config"],
        metavar: Some("CONFIG"),
        default: Default::Text("./gunicorn.conf.py"),
        summary: "Config file: `PATH`, `file:PATH` or `python:MODULE`.",
        doc: "A name that ends in `.toml` is read as TOML, everything else is executed as Python. Without it, the first \
              that exists of `./rgunicorn.toml`, `./gunicorn.conf.py` and `/etc/rgunicorn.toml` is read.\n\n\
              The path counts from the directory that the server is started in, whatever `chdir` says. It acts on the \
              command line and in `GUNICORN_CMD_ARGS` only.",
        ..PLAIN
    },
    Setting {
        name: "wsgi_app",
        section: Section::ConfigFile,
        metavar: Some("STRING"),
        summary: "The application, `MODULE:CALLABLE`, when the command line names none.",
        doc: "The part after the colon may also call a factory with literal arguments, as in `shop:create_app('test')`. \
              Without a colon the callable is `application`. An application on the command line wins.",
        ..PLAIN
    },
    Setting {
        name: "bind",
        section: Section::ServerSocket,
        short: Some('b'),
        long: &["bind"],
        metavar: Some("ADDRESS"),
        action: Action::Append,
        kind: Kind::TextList,
        default: Default::List(&["127.0.0.1:8000"]),
        env: &["PORT"],
        summary: "Addresses to listen on.",
        doc: "`HOST:PORT`, `HOST` (port 8000), `:PORT` (every interface), `[IPV6]:PORT`, `unix:PATH`, or `fd://N` for \
              a socket that was inherited. The flag can be repeated; a list replaces what a layer below said.\n\n\
              When `$PORT` is set, the default is `0.0.0.0:$PORT`.",
        ..PLAIN
    },
    Setting {
        name: "backlog",
        section: Section::ServerSocket,
        long: &["backlog"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(2048),
        summary: "How many connections may wait in the kernel to be accepted.",
        doc: "The kernel caps it at `net.core.somaxconn`.",
        ..PLAIN
    },
];
