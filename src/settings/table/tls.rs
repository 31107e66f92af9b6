//! TLS and HTTP/2.

use super::{Action, Argument, Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "keyfile",
        section: Section::Ssl,
        long: &["keyfile"],
        metavar: Some("FILE"),
        summary: "Private key for TLS, in PEM.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "certfile",
        section: Section::Ssl,
        long: &["certfile"],
        metavar: Some("FILE"),
        summary: "Certificate chain for TLS, in PEM; it may hold the key too.",
        doc: "This or `keyfile` turns TLS on for every listener.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "ssl_version",
        section: Section::Ssl,
        long: &["ssl-version"],
        kind: Kind::SslVersion,
        default: Default::Int(2),
        summary: "Ignored, as in Gunicorn, where `ssl_context` has replaced it.",
        ..PLAIN
    },
    Setting {
        name: "cert_reqs",
        section: Section::Ssl,
        long: &["cert-reqs"],
        kind: Kind::PosInt,
        default: Default::Int(0),
        summary: "Certificate of the client: 0 none, 1 optional, 2 required.",
        doc: "`ca_certs` says which ones are accepted.",
        built: false,
        part_of: Some("certfile"),
        ..PLAIN
    },
    Setting {
        name: "ca_certs",
        section: Section::Ssl,
        long: &["ca-certs"],
        metavar: Some("FILE"),
        summary: "Authorities whose client certificates are accepted, in PEM.",
        built: false,
        part_of: Some("certfile"),
        ..PLAIN
    },
    Setting {
        name: "suppress_ragged_eofs",
        section: Section::Ssl,
        long: &["suppress-ragged-eofs"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(true),
        summary: "Take a TLS connection that ends without a goodbye for a plain end.",
        doc: "It is on; only a file can turn it off.",
        built: false,
        part_of: Some("certfile"),
        ..PLAIN
    },
    Setting {
        name: "do_handshake_on_connect",
        section: Section::Ssl,
        long: &["do-handshake-on-connect"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Do the TLS handshake as soon as a connection is accepted.",
        built: false,
        part_of: Some("certfile"),
        ..PLAIN
    },
    Setting {
        name: "ciphers",
        section: Section::Ssl,
        long: &["ciphers"],
        summary: "Ciphers for TLS 1.2 and older, as an OpenSSL cipher list.",
        built: false,
        part_of: Some("certfile"),
        ..PLAIN
    },
    Setting {
        name: "http_protocols",
        section: Section::Http2,
        long: &["http-protocols"],
        metavar: Some("STRING"),
        kind: Kind::Protocols,
        default: Default::Text("h1"),
        summary: "HTTP versions to offer, `h1` and `h2`, the preferred one first.",
        doc: "Divided by commas. `h2` is agreed on in the TLS handshake, or see `http2_cleartext`.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "http2_cleartext",
        section: Section::Http2,
        long: &["http2-cleartext"],
        metavar: Some("STRING"),
        kind: Kind::Http2Cleartext,
        default: Default::Text("off"),
        summary: "HTTP/2 without TLS: `off`, `prior-knowledge`, `upgrade` or `both`.",
        doc: "Only for peers of `forwarded_allow_ips`, and only with `h2` in `http_protocols`.",
        built: false,
        part_of: Some("http_protocols"),
        ..PLAIN
    },
    Setting {
        name: "http2_max_concurrent_streams",
        section: Section::Http2,
        long: &["http2-max-concurrent-streams"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::Between(1, i64::MAX),
        default: Default::Int(100),
        summary: "Requests that one HTTP/2 connection may have open at once.",
        built: false,
        part_of: Some("http_protocols"),
        ..PLAIN
    },
    Setting {
        name: "http2_initial_window_size",
        section: Section::Http2,
        long: &["http2-initial-window-size"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::Between(0, 2_147_483_647),
        default: Default::Int(65_535),
        summary: "Bytes that an HTTP/2 peer may send on a stream before it waits for credit.",
        built: false,
        part_of: Some("http_protocols"),
        ..PLAIN
    },
    Setting {
        name: "http2_max_frame_size",
        section: Section::Http2,
        long: &["http2-max-frame-size"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::Between(16_384, 16_777_215),
        default: Default::Int(16_384),
        summary: "Largest HTTP/2 frame that is accepted, 16384 to 16777215 bytes.",
        built: false,
        part_of: Some("http_protocols"),
        ..PLAIN
    },
    Setting {
        name: "http2_max_header_list_size",
        section: Section::Http2,
        long: &["http2-max-header-list-size"],
        metavar: Some("INT"),
        argument: Argument::Int,
        kind: Kind::PosInt,
        default: Default::Int(65_536),
        summary: "Most bytes of header fields in an HTTP/2 request; 0: no limit.",
        built: false,
        part_of: Some("http_protocols"),
        ..PLAIN
    },
];
