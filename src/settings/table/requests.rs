//! How requests are understood, and what proxies in front may say.

use super::{Action, Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "secure_scheme_headers",
        section: Section::ServerMechanics,
        kind: Kind::Dict,
        default: Default::Map(&[
            ("X-FORWARDED-PROTOCOL", "ssl"),
            ("X-FORWARDED-PROTO", "https"),
            ("X-FORWARDED-SSL", "on"),
        ]),
        summary: "Header fields, with values, by which a proxy says that a client used https.",
        doc: "Only fields from `forwarded_allow_ips` count. One that matches makes `wsgi.url_scheme` https; fields that \
              contradict each other are refused with 400. Write names in upper case: others never match.",
        ..PLAIN
    },
    Setting {
        name: "forwarded_allow_ips",
        section: Section::ServerMechanics,
        long: &["forwarded-allow-ips"],
        metavar: Some("STRING"),
        kind: Kind::AddressList,
        default: Default::Text("127.0.0.1,::1"),
        env: &["FORWARDED_ALLOW_IPS"],
        summary: "Addresses and networks of proxies whose header fields are believed.",
        doc: "Divided by commas; `*` believes everybody, which is right only when nobody but the proxy can reach the \
              server. Clients on unix sockets are always believed. When `$FORWARDED_ALLOW_IPS` is set, it is the \
              default.",
        ..PLAIN
    },
    Setting {
        name: "proxy_protocol",
        section: Section::ServerMechanics,
        long: &["proxy-protocol"],
        metavar: Some("MODE"),
        action: Action::Optional("auto"),
        kind: Kind::ProxyProtocol,
        default: Default::Text("off"),
        summary: "Expect the PROXY protocol: `off`, `v1`, `v2` or `auto`.",
        doc: "The flag alone means `auto`; put another flag or `--` between it and the application, which it would \
              take for its value.",
        ..PLAIN
    },
    Setting {
        name: "proxy_allow_ips",
        section: Section::ServerMechanics,
        long: &["proxy-allow-from"],
        kind: Kind::AddressList,
        default: Default::Text("127.0.0.1,::1"),
        summary: "Addresses and networks that may speak the PROXY protocol.",
        doc: "Divided by commas; `*` allows everybody. Clients on unix sockets always may.",
        part_of: Some("proxy_protocol"),
        ..PLAIN
    },
    Setting {
        name: "protocol",
        section: Section::ServerMechanics,
        long: &["protocol"],
        metavar: Some("STRING"),
        default: Default::Text("http"),
        summary: "Protocol of incoming connections: `http` or `uwsgi`.",
        doc: "`uwsgi` is what nginx speaks with `uwsgi_pass`.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "uwsgi_allow_ips",
        section: Section::ServerMechanics,
        long: &["uwsgi-allow-from"],
        kind: Kind::AddressList,
        default: Default::Text("127.0.0.1,::1"),
        summary: "Addresses and networks that may speak the uwsgi protocol.",
        doc: "Divided by commas; `*` allows everybody. Clients on unix sockets always may.",
        built: false,
        part_of: Some("protocol"),
        ..PLAIN
    },
    Setting {
        name: "permit_obsolete_folding",
        section: Section::ServerMechanics,
        long: &["permit-obsolete-folding"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Accept header fields that go on in the next line.",
        doc: "HTTP has given them up (RFC 9112, 5.2). Use it to talk to an old client, and only for so long.",
        ..PLAIN
    },
    Setting {
        name: "strip_header_spaces",
        section: Section::ServerMechanics,
        long: &["strip-header-spaces"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Accept blanks between the name of a header field and its colon.",
        doc: "Dangerous: proxies disagree about such fields, and request smuggling lives on that.",
        ..PLAIN
    },
    Setting {
        name: "permit_unconventional_http_method",
        section: Section::ServerMechanics,
        long: &["permit-unconventional-http-method"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Accept methods with lower case letters, with `#`, or of unusual length.",
        ..PLAIN
    },
    Setting {
        name: "permit_unconventional_http_version",
        section: Section::ServerMechanics,
        long: &["permit-unconventional-http-version"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Accept HTTP versions other than 1.0 and 1.1 in the request line.",
        ..PLAIN
    },
    Setting {
        name: "casefold_http_method",
        section: Section::ServerMechanics,
        long: &["casefold-http-method"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Turn methods into upper case.",
        doc: "Lower case ones are refused before, unless `permit_unconventional_http_method` lets them in.",
        ..PLAIN
    },
    Setting {
        name: "forwarder_headers",
        section: Section::ServerMechanics,
        long: &["forwarder-headers"],
        kind: Kind::CommaList,
        default: Default::Text("SCRIPT_NAME,PATH_INFO"),
        summary: "Header fields with an underscore that trusted proxies may send all the same.",
        doc: "Names in upper case, divided by commas. Trusted are the peers of `forwarded_allow_ips`. \
              See `header_map` for everybody else's.",
        ..PLAIN
    },
    Setting {
        name: "header_map",
        section: Section::ServerMechanics,
        long: &["header-map"],
        kind: Kind::Choice { values: &["drop", "refuse", "dangerous"], none: None },
        default: Default::Text("drop"),
        summary: "What to do with header names with underscores: `drop`, `refuse` or `dangerous`.",
        doc: "`X_User` and `X-User` become the same environ key, so an attacker could set what only the proxy should. \
              `drop` leaves such fields out, `refuse` answers 400, `dangerous` lets them through.",
        ..PLAIN
    },
    Setting {
        name: "root_path",
        section: Section::ServerMechanics,
        long: &["root-path"],
        metavar: Some("STRING"),
        default: Default::Text(""),
        summary: "Path below which a proxy mounts the ASGI app.",
        doc: "It is handed to the app as `root_path`. WSGI apps take `$SCRIPT_NAME` instead.",
        built: false,
        part_of: Some("worker_class"),
        ..PLAIN
    },
];
