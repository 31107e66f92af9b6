//! Requests made up for property tests: valid ones with what they must come to, and damaged ones.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rgunicorn_http::{Framing, HeaderMap, Options};

use crate::support::{Bytes, Request};

/// A request's bytes, and what a decoder with default options has to say.
pub type Made = (Vec<u8>, Request);

/// Valid requests of all kinds.
pub fn valid() -> impl Strategy<Value = Made> {
    (line(), vec(field(), 0..8), body(), connection(), any::<bool>(), any::<bool>()).prop_map(
        |((method, target, path, query, minor), extra, body, connection, blank, expect)| {
            let has_chunks = matches!(body, Body::Chunks(..));
            // RFC 9112, section 6.1: there are none in HTTP/1.0.
            let minor = if has_chunks { minor.max(1) } else { minor };
            let mut fields: Vec<(Vec<u8>, Vec<u8>)> = vec![(b"Host".into(), b"a.example:80".into())];
            fields.extend(extra);
            if expect {
                fields.push((b"expect".into(), b"100-Continue".into()));
            }
            let options = connection.unwrap_or_default();
            if !options.is_empty() {
                fields.push((b"CONNECTION".into(), options.join(" , ").into_bytes()));
            }
            let (mut request, content) = (Request::default(), body.write(&mut fields));
            request.framing = content.0;
            request.body = Bytes(content.2);
            request.trailers = content.3.into_iter().map(|(name, value)| (Bytes(name), Bytes(value))).collect();
            let says = |word: &str| options.iter().any(|option| option.eq_ignore_ascii_case(word));
            request.keep_alive = !says("close") && method != "CONNECT" && (minor >= 1 || says("keep-alive"));
            request.upgrade = says("upgrade");
            request.expect_continue = expect && minor >= 1;
            request.host = Some(Bytes(b"a.example:80".to_vec()));
            request.version = (1, minor);
            request.complete = true;
            let mut bytes = if blank { b"\r\n".to_vec() } else { Vec::new() };
            bytes.extend(format!("{method} {target} HTTP/1.{minor}\r\n").bytes());
            write_fields(&fields, &mut bytes);
            bytes.extend(content.1);
            let is_kept = |name: &[u8]| !name.contains(&b'_') && !name.eq_ignore_ascii_case(b"proxy");
            request.fields = fields.into_iter().filter(|(name, _)| is_kept(name)).map(owned).collect();
            (request.method, request.target) = (Bytes(method.into()), Bytes(target.into()));
            (request.path, request.query) = (Bytes(path.into()), Bytes(query.into()));
            (bytes, request)
        },
    )
}

/// Bytes that are nearly requests: valid ones with some damage, pieces of protocol in any order, or anything.
pub fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let valid =
        || vec(valid(), 1..4).prop_map(|made| made.into_iter().flat_map(|(bytes, _)| bytes).collect::<Vec<u8>>());
    let damaged = (valid(), vec(damage(), 1..6)).prop_map(|(mut bytes, all)| {
        all.iter().for_each(|damage| damage.inflict(&mut bytes));
        bytes
    });
    let pieces = vec(select(PIECES.to_vec()), 0..40).prop_map(|pieces| pieces.concat());
    let begun =
        vec(select(PIECES.to_vec()), 0..20).prop_map(|pieces| [b"GET / HTTP/1.1\r\n", &*pieces.concat()].concat());
    let chunks = vec(select(PIECES.to_vec()), 0..20)
        .prop_map(|pieces| [b"PUT / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\r\n", &*pieces.concat()].concat());
    prop_oneof![4 => damaged, 1 => valid(), 2 => pieces, 2 => begun, 2 => chunks, 1 => vec(any::<u8>(), 0..200)]
}

/// Settings in any combination, with limits small enough to be met.
pub fn options() -> impl Strategy<Value = (Options, bool)> {
    let limit = || prop_oneof![3 => Just(0usize), 1 => 1..60usize];
    let map = select(vec![HeaderMap::Drop, HeaderMap::Refuse, HeaderMap::Dangerous]);
    (limit(), limit(), limit(), any::<[bool; 8]>(), map).prop_map(|(line, fields, size, flags, map)| {
        let mut options = Options::new(line, fields, size);
        let trusted;
        [
            options.permit_obsolete_folding,
            options.strip_header_spaces,
            options.permit_unconventional_http_method,
            options.permit_unconventional_http_version,
            options.casefold_http_method,
            options.require_host,
            trusted,
            _,
        ] = flags;
        options.header_map = map;
        (options, trusted)
    })
}

/// Where to cut.
pub fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..12)
}

/// The pieces between the cuts, some of them empty.
pub fn pieces<'a>(input: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    at.push(0);
    at.push(input.len());
    at.sort_unstable();
    at.windows(2).map(|ends| &input[ends[0]..ends[1]]).collect()
}

const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"=",
    b"\"",
    b"\\",
    b"0",
    b"5",
    b"F",
    b"a",
    b"_",
    b"\0",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"GET ",
    b"POST /",
    b"OPTIONS * ",
    b"CONNECT a:1 ",
    b"/",
    b"http://a/b?c#d",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/2.0\r\n",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: ",
    b"Content_Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: x\r\n",
    b"a: b\r\n",
    b" c: d\r\n",
    b"a_b: c\r\n",
    b"Content-Type: x\r\n",
    b"Trailer: a\r\n",
    b"Proxy: x\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n",
    b"0\r\n\r\n",
    b"1;a=b;c=\"d\\\"\"\r\n",
    b"ffffffffffffffff\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n",
];

#[derive(Clone, Debug)]
enum Damage {
    Replace(Index, u8),
    Insert(Index, &'static [u8]),
    Remove(Index, usize),
    Repeat(Index, usize),
    Truncate(Index),
}

impl Damage {
    fn inflict(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let range = |at: &Index, count: usize| {
            let start = at.index(length + 1);
            start..(start + count).min(length)
        };
        match self {
            Damage::Replace(at, byte) if length > 0 => bytes[at.index(length)] = *byte,
            Damage::Insert(at, piece) => drop(bytes.splice(range(at, 0), piece.iter().copied())),
            Damage::Remove(at, count) => drop(bytes.drain(range(at, *count))),
            Damage::Repeat(at, count) => {
                let range = range(at, *count);
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, copy);
            }
            Damage::Truncate(at) => bytes.truncate(at.index(length + 1)),
            Damage::Replace(..) => {}
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (at(), select(PIECES.to_vec())).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (at(), 1..6usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        (at(), 1..40usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
        at().prop_map(Damage::Truncate),
    ]
}

/// Method, target, path, query, minor version.
fn line() -> impl Strategy<Value = (String, String, String, String, u8)> {
    let method = || {
        prop_oneof![select(vec!["GET", "POST", "HEAD", "OPTIONS", "M-SEARCH"]).prop_map(str::to_owned), "[A-Z]{3,20}"]
    };
    let path = "/[!-\"$->@-~]{0,20}";
    let query = option::of("[!-\"$-~]{0,20}");
    let fragment = option::of("[!-~]{0,5}");
    let origin = (method(), prop_oneof![Just(""), Just("http://h:80"), Just("https://[::1]")], path, query, fragment)
        .prop_filter("CONNECT has another form", |(method, ..)| method != "CONNECT")
        .prop_map(|(method, prefix, path, query, fragment)| {
            let after = |mark: char, text: &Option<String>| text.as_ref().map(|text| format!("{mark}{text}"));
            let query_text = after('?', &query).unwrap_or_default();
            let target = format!("{prefix}{path}{query_text}{}", after('#', &fragment).unwrap_or_default());
            (method, target, path, query.unwrap_or_default())
        });
    let other = select(vec![("CONNECT", "a.example:443", ""), ("OPTIONS", "*", "*"), ("GET", "http://h", "")])
        .prop_map(|(method, target, path)| (method.to_owned(), target.to_owned(), path.to_owned(), String::new()));
    (prop_oneof![6 => origin, 1 => other], prop_oneof![1 => Just(0u8), 4 => Just(1), 1 => 2..=9u8])
        .prop_map(|((method, target, path, query), minor)| (method, target, path, query, minor))
}

/// A field that means nothing to the decoder: any token that it does not know, any value.
fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let special = select(vec!["Accept", "Cookie", "X-Forwarded-For", "Proxy", "x_y", "Sec-WebSocket-Key1", "date"]);
    let name = prop_oneof![special.prop_map(str::to_owned), "x-[!#$%&'*+.^_`|~0-9A-Za-z-]{0,12}"];
    // Visible characters and obs-text, with blanks inside.
    let value = vec(prop_oneof![6 => 0x21..=0x7eu8, 1 => 0x80..=0xffu8, 2 => Just(b' '), 1 => Just(b'\t')], 0..24)
        .prop_map(|value| value.trim_ascii().to_vec());
    (name.prop_map(String::into_bytes), value)
}

fn connection() -> impl Strategy<Value = Option<Vec<&'static str>>> {
    option::of(vec(select(vec!["close", "Keep-Alive", "upgrade", "x", "TE"]), 1..4))
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    /// Chunks with what follows the size, and trailers.
    Chunks(Vec<(Vec<u8>, &'static str)>, Vec<(Vec<u8>, Vec<u8>)>),
}

type Content = (Framing, Vec<u8>, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

impl Body {
    /// Adds the field that frames it. Framing, bytes, content, trailers that are kept.
    fn write(self, fields: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Content {
        match self {
            Body::None => (Framing::None, Vec::new(), Vec::new(), Vec::new()),
            Body::Length(data) => {
                fields.push((b"Content-length".into(), data.len().to_string().into_bytes()));
                (Framing::Length(data.len() as u64), data.clone(), data, Vec::new())
            }
            Body::Chunks(chunks, mut trailers) => {
                fields.push((b"transfer-encoding".into(), b"Chunked".into()));
                let (mut bytes, mut content) = (Vec::new(), Vec::new());
                for (data, extension) in chunks {
                    bytes.extend(format!("{:X}{extension}\r\n", data.len()).bytes());
                    bytes.extend(&data);
                    bytes.extend(b"\r\n");
                    content.extend(data);
                }
                bytes.extend(b"00\r\n");
                write_fields(&trailers, &mut bytes);
                trailers.retain(|(name, _)| !name.contains(&b'_') && !name.eq_ignore_ascii_case(b"proxy"));
                (Framing::Chunked, bytes, content, trailers)
            }
        }
    }
}

fn body() -> impl Strategy<Value = Body> {
    let data = || vec(any::<u8>(), 0..100);
    let extension = select(vec!["", ";a", " ;\ta = b", ";a=\"b;\\\"\u{e9}\"", ";a;b=c ; d"]);
    let chunk = (vec(any::<u8>(), 1..40), extension);
    prop_oneof![
        2 => Just(Body::None),
        2 => data().prop_map(Body::Length),
        3 => (vec(chunk, 0..5), vec(field(), 0..4)).prop_map(|(chunks, trailers)| Body::Chunks(chunks, trailers)),
    ]
}

fn write_fields(fields: &[(Vec<u8>, Vec<u8>)], bytes: &mut Vec<u8>) {
    for (name, value) in fields {
        bytes.extend(name);
        bytes.extend(b": ");
        bytes.extend(value);
        bytes.extend(b" \r\n");
    }
    bytes.extend(b"\r\n");
}

fn owned((name, value): (Vec<u8>, Vec<u8>)) -> (Bytes, Bytes) {
    (Bytes(name), Bytes(value))
}
