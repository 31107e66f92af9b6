//! The requests of `tests/requests`, fed whole, by lines, byte by byte and cut in two at every place.

use std::fs;
use std::path::{Path, PathBuf};

use rgunicorn_http::proxy::{Mode, Rules};
use rgunicorn_http::{HeaderMap, Options};
use serde_json::Value;

use crate::support::{Bytes, End, Feed, Transcript};

/// Beyond this many bytes an input is cut at some places only: every place near its ends, and every so many between.
const CUT_EVERYWHERE: usize = 4096;
const CUT_NEAR_ENDS: usize = 300;
const CUT_STEP: usize = 997;

#[test]
fn valid_requests() {
    for case in cases("valid", 60) {
        assert_eq!(case.expected["error"], Value::Null, "{}", case.name);
        case.check();
    }
}

#[test]
fn invalid_requests() {
    for case in cases("invalid", 60) {
        assert!(case.expected["error"].is_u64(), "{}", case.name);
        case.check();
    }
}

struct Case {
    name: String,
    input: Vec<u8>,
    expected: Value,
}

impl Case {
    fn check(&self) {
        let feed = feed(&self.expected);
        let whole = feed.whole(&self.input);
        self.compare(&whole);
        assert_eq!(feed.run(self.input.split_inclusive(|&byte| byte == b'\n')), whole, "{} by lines", self.name);
        assert_eq!(feed.bytewise(&self.input), whole, "{} byte by byte", self.name);
        let length = self.input.len();
        let is_cut = |at: &usize| {
            length <= CUT_EVERYWHERE
                || *at < CUT_NEAR_ENDS
                || *at + CUT_NEAR_ENDS > length
                || at.is_multiple_of(CUT_STEP)
        };
        for at in (0..=length).filter(is_cut) {
            let (start, end) = self.input.split_at(at);
            assert_eq!(feed.run([start, end]), whole, "{} cut at {at}", self.name);
        }
    }

    /// Holds what came of it against what is in the file.
    fn compare(&self, got: &Transcript) {
        let (name, expected) = (&self.name, &self.expected);
        let end = match (expected["error"].as_u64(), expected["eof"].as_bool()) {
            (Some(status), _) => status,
            (None, Some(true)) => 0,
            (None, _) => 1,
        };
        let got_end = match got.end {
            End::Failed { status, .. } => u64::from(status),
            End::Closed => 0,
            End::Open => 1,
        };
        assert_eq!(got_end, end, "{name}: {:?}", got.end);
        let header = got.proxy.as_ref();
        let ends = header.and_then(|header| header.endpoints);
        let shown = |text: Option<String>| text.map_or(Value::Null, Value::String);
        assert_eq!(
            shown(header.map(|header| header.protocol.as_str().to_owned())),
            expected["proxy"]["protocol"],
            "{name}"
        );
        assert_eq!(shown(ends.map(|ends| ends.source.to_string())), expected["proxy"]["source"], "{name}");
        assert_eq!(shown(ends.map(|ends| ends.destination.to_string())), expected["proxy"]["destination"], "{name}");
        let requests: Vec<&Value> = expected["requests"].as_array().unwrap().iter().flat_map(repeated).collect();
        assert_eq!(got.requests.len(), requests.len(), "{name}: {:?}", got.requests);
        for (got, expected) in got.requests.iter().zip(requests) {
            let target = text(&expected["target"]);
            let (path, query) = match target.0.iter().position(|&byte| byte == b'?') {
                Some(at) => (target.0[..at].into(), target.0[at + 1..].into()),
                None => (target.clone(), Bytes::default()),
            };
            let or = |key: &str, default: Bytes| if expected[key].is_null() { default } else { text(&expected[key]) };
            let flag = |key: &str, default: bool| expected[key].as_bool().unwrap_or(default);
            let (major, minor) = got.version;
            assert_eq!(got.method, text(&expected["method"]), "{name}");
            assert_eq!(got.target, target, "{name}");
            assert_eq!(got.path, or("path", path), "{name}");
            assert_eq!(got.query, or("query", query), "{name}");
            assert_eq!(format!("{major}.{minor}"), expected["version"].as_str().unwrap_or("1.1"), "{name}");
            assert_eq!(got.fields, fields(&expected["fields"]), "{name}");
            assert_eq!(got.body, or("body", Bytes::default()), "{name}");
            assert_eq!(got.trailers, fields(&expected["trailers"]), "{name}");
            assert_eq!(got.keep_alive, flag("keep_alive", true), "{name}");
            assert_eq!(got.expect_continue, flag("expect_continue", false), "{name}");
            assert_eq!(got.upgrade, flag("upgrade", false), "{name}");
            assert_eq!(got.complete, flag("complete", true), "{name}");
        }
    }
}

fn cases(kind: &str, at_least: usize) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/requests").join(kind);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    paths.sort();
    assert!(paths.len() >= at_least, "only {} cases", paths.len());
    let read = |path: PathBuf| {
        let name = format!("{kind}/{}", path.file_stem().unwrap().display());
        let expected = serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap());
        let input = decode(&fs::read_to_string(path).unwrap());
        Case { expected: expected.unwrap_or_else(|error| panic!("{name}: {error}")), input, name }
    };
    paths.into_iter().map(read).collect()
}

/// The bytes that a `.http` file stands for (`tests/requests/README.md`).
fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    decode_into(&mut text.chars().filter(|&c| c != '\n'), false, &mut out);
    out
}

fn decode_into(text: &mut impl Iterator<Item = char>, nested: bool, out: &mut Vec<u8>) {
    while let Some(c) = text.next() {
        match c {
            '}' if nested => return,
            '\\' => match text.next().unwrap() {
                'r' => out.push(b'\r'),
                'n' => out.push(b'\n'),
                't' => out.push(b'\t'),
                '\\' => out.push(b'\\'),
                'x' => {
                    let digits: String = text.by_ref().take(2).collect();
                    out.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                '{' => {
                    let count: String = text.by_ref().take_while(|&c| c != ':').collect();
                    let mut piece = Vec::new();
                    // As a trait object: each level of nesting would be a type of its own.
                    decode_into(&mut (text as &mut dyn Iterator<Item = char>), true, &mut piece);
                    out.extend(piece.repeat(count.parse().unwrap()));
                }
                other => panic!("\\{other}"),
            },
            c => out.push(u8::try_from(c).ok().filter(u8::is_ascii).unwrap()),
        }
    }
}

/// A string whose characters are bytes, or a list of such strings with how often each is repeated.
fn text(value: &Value) -> Bytes {
    let bytes =
        |value: &Value| -> Vec<u8> { value.as_str().unwrap().chars().map(|c| u8::try_from(c).unwrap()).collect() };
    match value {
        Value::Array(parts) => {
            Bytes(parts.iter().flat_map(|part| bytes(&part[0]).repeat(part[1].as_u64().unwrap() as usize)).collect())
        }
        value => Bytes(bytes(value)),
    }
}

fn fields(value: &Value) -> Vec<(Bytes, Bytes)> {
    let field = |field: &Value| {
        let pair = (text(&field[0]), text(&field[1]));
        vec![pair; field[2].as_u64().unwrap_or(1) as usize]
    };
    value.as_array().into_iter().flatten().flat_map(field).collect()
}

fn repeated(request: &Value) -> impl Iterator<Item = &Value> {
    std::iter::repeat_n(request, request["repeat"].as_u64().unwrap_or(1) as usize)
}

/// The settings of a case; the peer's address is 127.0.0.1.
fn feed(expected: &Value) -> Feed {
    let settings = &expected["settings"];
    let number = |key: &str, default: usize| settings[key].as_u64().map_or(default, |number| number as usize);
    let flag = |key: &str| settings[key].as_bool().unwrap_or(false);
    let is_listed = |key: &str| {
        let listed = settings[key].as_str().unwrap_or("127.0.0.1,::1");
        listed.split(',').any(|address| address == "127.0.0.1" || address == "*")
    };
    let mut options = Options::new(
        number("limit_request_line", 4094),
        number("limit_request_fields", 100),
        number("limit_request_field_size", 8190),
    );
    options.permit_obsolete_folding = flag("permit_obsolete_folding");
    options.strip_header_spaces = flag("strip_header_spaces");
    options.permit_unconventional_http_method = flag("permit_unconventional_http_method");
    options.permit_unconventional_http_version = flag("permit_unconventional_http_version");
    options.casefold_http_method = flag("casefold_http_method");
    options.header_map = match settings["header_map"].as_str() {
        None | Some("drop") => HeaderMap::Drop,
        Some("refuse") => HeaderMap::Refuse,
        Some("dangerous") => HeaderMap::Dangerous,
        Some(other) => panic!("header_map {other}"),
    };
    if let Some(names) = settings["forwarder_headers"].as_str() {
        options.forwarder_headers = names.split(',').map(str::to_owned).collect();
    }
    let mode = match settings["proxy_protocol"].as_str() {
        None | Some("off") => Mode::Off,
        Some("v1") => Mode::V1,
        Some("v2") => Mode::V2,
        Some("auto") => Mode::Auto,
        Some(other) => panic!("proxy_protocol {other}"),
    };
    Feed {
        options,
        trusted: is_listed("forwarded_allow_ips"),
        eof: expected["eof"].as_bool().unwrap_or(false),
        idle: false,
        proxy: Rules { mode, allowed: is_listed("proxy_allow_ips"), permit_unknown: false },
    }
}
