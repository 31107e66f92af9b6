//! The decisions that a reader of the RFCs alone would not guess, each with what Gunicorn does.

use rgunicorn_http::{Framing, HeaderMap, Options};

use crate::support::{End, Feed, Transcript};

#[track_caller]
fn ok(feed: &Feed, input: &str) -> Transcript {
    let transcript = feed.whole(input.as_bytes());
    assert_eq!(transcript, feed.bytewise(input.as_bytes()));
    assert_eq!(transcript.end, End::Open, "{input:?}");
    assert!(transcript.requests.last().is_some_and(|request| request.complete), "{input:?}");
    transcript
}

#[track_caller]
fn refused(feed: &Feed, input: &str, expected: u16) -> String {
    let transcript = feed.whole(input.as_bytes());
    assert_eq!(transcript, feed.bytewise(input.as_bytes()));
    match transcript.end {
        End::Failed { status, message } if status == expected => message,
        other => panic!("{input:?}: {other:?}, not {expected}"),
    }
}

fn names(transcript: &Transcript) -> Vec<String> {
    let fields = &transcript.requests[0].fields;
    fields.iter().map(|(name, _)| String::from_utf8_lossy(&name.0).into_owned()).collect()
}

fn with(change: impl FnOnce(&mut Options)) -> Feed {
    let mut feed = Feed::default();
    change(&mut feed.options);
    feed
}

/// httpoxy: in a CGI-like environ it would become `HTTP_PROXY`, which HTTP clients take for a setting.
#[test]
fn proxy_never_reaches_the_app() {
    let got = ok(&Feed::default(), "GET / HTTP/1.1\r\nProxy: http://evil\r\nproxy:x\r\nA: b\r\nProxy-A: c\r\n\r\n");
    assert_eq!(names(&got), ["A", "Proxy-A"]);
    let got = ok(&with(|options| options.header_map = HeaderMap::Dangerous), "GET / HTTP/1.1\r\nPROXY: x\r\n\r\n");
    assert_eq!(names(&got), [""; 0]);
    let got =
        ok(&Feed::default(), "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nProxy: x\r\nA: b\r\n\r\n");
    assert_eq!(got.requests[0].trailers, [(b"A"[..].into(), b"b"[..].into())]);
}

/// Gunicorn answers a 1.1 request without Host; RFC 9112, section 3.2 wants 400.
#[test]
fn a_missing_host_is_accepted_unless_it_is_required() {
    ok(&Feed::default(), "GET / HTTP/1.1\r\n\r\n");
    let strict = with(|options| options.require_host = true);
    refused(&strict, "GET / HTTP/1.1\r\nA: b\r\n\r\n", 400);
    ok(&strict, "GET / HTTP/1.1\r\nHost:\r\n\r\n");
    ok(&strict, "GET / HTTP/1.0\r\n\r\n");
}

/// RFC 9112, section 6.3: without a final chunked the length can't be known: 400. Section 6.1: 501 for a coding that is
/// not understood. Gunicorn passes gzip on undecoded when chunked follows; nothing that reaches an app here is encoded.
#[test]
fn codings() {
    let request = |value: &str| format!("POST / HTTP/1.1\r\nTransfer-Encoding: {value}\r\n\r\n0\r\n\r\n");
    for value in ["chunked", "Chunked", " chunked\t"] {
        assert_eq!(ok(&Feed::default(), &request(value)).requests[0].framing, Framing::Chunked);
    }
    for value in [
        "gzip",
        "x-gzip",
        "compress",
        "X-Compress",
        "deflate",
        "identity",
        "identity, gzip",
        "chunked, chunked",
        "chunked, identity",
        "chunked, xchunked",
        "identity, chunked, identity",
        "",
        ",chunked",
        "chunked,",
        "gzip,,chunked",
        "chunked\r\nTransfer-Encoding: identity",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding:",
    ] {
        refused(&Feed::default(), &request(value), 400);
    }
    for value in [
        "gzip, chunked",
        "identity, chunked",
        "xchunked",
        "chunked;q=1",
        "\"chunked",
        "chunked x",
        "x, chunked",
        "x, gzip",
    ] {
        refused(&Feed::default(), &request(value), 501);
    }
}

/// Gunicorn doesn't count fields that it leaves out; then nothing would bound the work that a head can make.
#[test]
fn fields_that_are_left_out_count() {
    let feed = with(|options| options.limit_request_fields = 2);
    assert_eq!(names(&ok(&feed, "GET / HTTP/1.1\r\nA: b\r\nA_b: c\r\n\r\n")), ["A"]);
    refused(&feed, "GET / HTTP/1.1\r\nA: b\r\nA_b: c\r\nB: d\r\n\r\n", 431);
    refused(&feed, "GET / HTTP/1.1\r\nProxy: b\r\nA_b: c\r\nB: d\r\n\r\n", 431);
}

/// A trailer section has a head's limits, but 431 speaks of a head: 400.
#[test]
fn trailers_have_limits() {
    let request = |trailers: &str| format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}\r\n");
    let feed = with(|options| (options.limit_request_fields, options.limit_request_field_size) = (2, 30));
    ok(&feed, &request("A: b\r\nB: c\r\n"));
    refused(&feed, &request("A: b\r\nB: c\r\nC: d\r\n"), 400);
    ok(&feed, &request(&format!("A: {}\r\n", "a".repeat(25))));
    refused(&feed, &request(&format!("A: {}\r\n", "a".repeat(26))), 400);
}

#[test]
fn underscores_by_every_path() {
    let input = "GET / HTTP/1.1\r\nScript_Name: /x\r\nX_Y: 1\r\nX-Y: 2\r\n\r\n";
    for (map, trusted, forwarder, expected) in [
        (HeaderMap::Drop, false, "SCRIPT_NAME", &["X-Y"][..]),
        (HeaderMap::Drop, false, "*", &["X-Y"]),
        (HeaderMap::Drop, true, "SCRIPT_NAME", &["Script_Name", "X-Y"]),
        (HeaderMap::Drop, true, "script_name", &["X-Y"]),
        (HeaderMap::Drop, true, "*", &["Script_Name", "X_Y", "X-Y"]),
        (HeaderMap::Dangerous, false, "", &["Script_Name", "X_Y", "X-Y"]),
        (HeaderMap::Refuse, true, "*", &["Script_Name", "X_Y", "X-Y"]),
    ] {
        let mut feed = with(|options| options.forwarder_headers = vec![forwarder.to_owned()]);
        (feed.options.header_map, feed.trusted) = (map, trusted);
        assert_eq!(names(&ok(&feed, input)), expected, "{map:?} {trusted} {forwarder}");
    }
    let mut refuse = with(|options| options.header_map = HeaderMap::Refuse);
    refused(&refuse, input, 400);
    refuse.trusted = true;
    refused(&refuse, input, 400);
}

/// A proxy that maps underscores would have framed the message by these.
#[test]
fn framing_with_underscores_is_refused_whatever_the_settings_say() {
    for map in [HeaderMap::Drop, HeaderMap::Refuse, HeaderMap::Dangerous] {
        let mut feed = with(|options| options.forwarder_headers = vec!["*".to_owned()]);
        (feed.options.header_map, feed.trusted) = (map, true);
        for name in ["Content_Length", "content_LENGTH", "Transfer_Encoding"] {
            refused(&feed, &format!("POST / HTTP/1.1\r\n{name}: 5\r\n\r\n"), 400);
            let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
            refused(&feed, &format!("{chunked}{name}: 5\r\n\r\n"), 400);
        }
        ok(&feed, "POST / HTTP/1.1\r\nX_Content_Length: 5\r\n\r\n");
    }
}

#[test]
fn folding_when_it_is_permitted() {
    let feed = with(|options| options.permit_obsolete_folding = true);
    let got = ok(&feed, "GET / HTTP/1.1\r\nA: b \r\n\t c\t\r\n \r\nB:\r\n d\r\nC: e\r\n\r\n");
    let values: Vec<_> = got.requests[0].fields.iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(values, [b"b c "[..].into(), b" d"[..].into(), b"e"[..].into()]);
    // What frames or routes is not put together from pieces: a proxy may have read the first line alone.
    for name in ["Content-Length: 5", "Content-Length:", "Transfer-Encoding:", "Host: a"] {
        refused(&feed, &format!("GET / HTTP/1.1\r\n{name}\r\n 5\r\n\r\n"), 400);
    }
    refused(&feed, "GET / HTTP/1.1\r\n A: b\r\n\r\n", 400);
    refused(&feed, "GET / HTTP/1.1\r\nA: b\r\n \0c\r\n\r\n", 400);
    let closes = ok(&feed, "GET / HTTP/1.1\r\nConnection: upgrade,\r\n close\r\n\r\n");
    assert!(!closes.requests[0].keep_alive && closes.requests[0].upgrade);
    // All lines of a field count as one.
    let small = with(|options| (options.permit_obsolete_folding, options.limit_request_field_size) = (true, 16));
    ok(&small, "GET / HTTP/1.1\r\nA: b\r\n 5678901\r\n\r\n");
    refused(&small, "GET / HTTP/1.1\r\nA: b\r\n 56789012\r\n\r\n", 431);
    refused(&small, "GET / HTTP/1.1\r\nA: b\r\n 5\r\n 5\r\n 5\r\n\r\n", 431);
}

#[test]
fn unconventional_methods_and_versions() {
    let request = |method: &str, version: &str| format!("{method} / HTTP/{version}\r\n\r\n");
    let plain = Feed::default();
    for method in ["GET", "M-SEARCH", "ABCDEFGHIJKLMNOPQRST", "A!$%&'*+-.^_`|~9"] {
        ok(&plain, &request(method, "1.1"));
    }
    for method in ["AB", "ABCDEFGHIJKLMNOPQRSTU", "get", "GEt", "GE#T"] {
        refused(&plain, &request(method, "1.1"), 400);
        let got = ok(&with(|options| options.permit_unconventional_http_method = true), &request(method, "1.1"));
        assert_eq!(got.requests[0].method.0, method.as_bytes());
    }
    // Without the permission a lower case letter is refused before it could be folded, as in Gunicorn.
    refused(&with(|options| options.casefold_http_method = true), &request("get", "1.1"), 400);
    let casefold =
        with(|options| (options.casefold_http_method, options.permit_unconventional_http_method) = (true, true));
    assert_eq!(ok(&casefold, &request("gEt", "1.1")).requests[0].method.0, b"GET");
    // What a folded method means is what its upper case means.
    refused(&casefold, &request("connect", "1.1"), 400);
    ok(&casefold, "options * HTTP/1.1\r\n\r\n");
    let open = with(|options| options.permit_unconventional_http_method = true);
    for method in ["", "G ET", "G(T", "G\u{e9}T", "G\tT", "G\u{0}T"] {
        refused(&open, &request(method, "1.1"), 400);
    }
    for version in ["1.0", "1.1", "1.2", "1.9"] {
        ok(&plain, &request("GET", version));
    }
    let any = with(|options| options.permit_unconventional_http_version = true);
    for version in ["0.9", "2.0", "3.0"] {
        refused(&plain, &request("GET", version), 400);
        ok(&any, &request("GET", version));
    }
    for version in ["01.1", "1.10", "1.01", "1", "1.", ".1", "1.1 ", " 1.1", "x.1", "\u{b2}.1", "1,1"] {
        refused(&any, &request("GET", version), 400);
    }
}

#[test]
fn spaces_before_a_colon_only_when_they_are_stripped() {
    for field in ["Content-Length : 0", "Content-Length\t: 0", "A \t : b"] {
        let input = format!("GET / HTTP/1.1\r\n{field}\r\n\r\n");
        refused(&Feed::default(), &input, 400);
        ok(&with(|options| options.strip_header_spaces = true), &input);
    }
    let strip = with(|options| options.strip_header_spaces = true);
    for field in [" A: b", "A b: c", " : b", "A \u{b}: b", "A \r\n: b", "A "] {
        refused(&strip, &format!("GET / HTTP/1.1\r\n{field}\r\n\r\n"), 400);
    }
    let framed = ok(&strip, "POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc");
    assert_eq!(framed.requests[0].body.0, b"abc");
    refused(&strip, "POST / HTTP/1.1\r\nContent-Length : 3\r\nContent-Length: 3\r\n\r\nabc", 400);
}

/// RFC 9112, section 9.3, with `Connection` as the list that it is.
#[test]
fn what_becomes_of_the_connection() {
    for (version, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "close", false),
        ("1.1", "CLOSE", false),
        ("1.1", "foo, close", false),
        ("1.1", "close,keep-alive", false),
        ("1.1", "keep-alive\r\nConnection: close", false),
        ("1.1", "closed", true),
        ("1.1", "foo", true),
        ("1.0", "", false),
        ("1.0", "keep-alive", true),
        ("1.0", "foo , Keep-Alive", true),
        ("1.0", "keep-alive, close", false),
        ("1.0", "foo", false),
        ("1.2", "", true),
    ] {
        let got = ok(&Feed::default(), &format!("GET / HTTP/{version}\r\nConnection: {connection}\r\n\r\n"));
        assert_eq!(got.requests[0].keep_alive, expected, "{version} {connection}");
    }
    // What follows a CONNECT is no request, whatever the app answers.
    let connect = ok(&Feed::default(), "CONNECT a:1 HTTP/1.1\r\nConnection: keep-alive\r\n\r\n");
    assert!(!connect.requests[0].keep_alive);
}

#[test]
fn expectations() {
    let request = |version: &str, value: &str| format!("POST / HTTP/{version}\r\nExpect: {value}\r\n\r\n");
    assert!(ok(&Feed::default(), &request("1.1", "100-Continue")).requests[0].expect_continue);
    assert!(!ok(&Feed::default(), &request("1.0", "100-continue")).requests[0].expect_continue);
    for value in ["foo", "", "100-continue, foo"] {
        refused(&Feed::default(), &request("1.1", value), 417);
        refused(&Feed::default(), &request("1.0", value), 417);
    }
}

/// One, as in Gunicorn (RFC 9112, section 2.2), and only as CRLF.
#[test]
fn an_empty_line_before_a_request() {
    let got = ok(&Feed::default(), "\r\nGET /a HTTP/1.1\r\n\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    assert_eq!(got.requests.len(), 2);
    for before in ["\r\n\r\n", "\n", "\r", " \r\n", "\r\n "] {
        refused(&Feed::default(), &format!("{before}GET / HTTP/1.1\r\n\r\n"), 400);
    }
    // It doesn't count as part of the request line, and a peer may close after it.
    let small = with(|options| options.limit_request_line = 14);
    ok(&small, "\r\nGET / HTTP/1.1\r\n\r\n");
    refused(&small, "GET /a HTTP/1.1\r\n\r\n", 414);
    let eof = Feed { eof: true, ..Feed::default() };
    assert_eq!(eof.whole(b"\r\n").end, End::Closed);
}

/// 0 is not "none" for a field's size: Gunicorn takes its default for it.
#[test]
fn limits_of_nought() {
    let feed = Feed { options: Options::new(0, 0, 0), ..Feed::default() };
    ok(&feed, &format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)));
    refused(&feed, &format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20)), 414);
    ok(&feed, &format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(32768)));
    refused(&feed, &format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(32769)), 431);
    ok(&feed, &format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(8185)));
    refused(&feed, &format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(8186)), 431);
}

#[test]
fn the_end_of_a_connection() {
    let feed = Feed { eof: true, ..Feed::default() };
    for (input, expected) in [
        ("", true),
        ("\r", false),
        ("G", false),
        ("GET / HTTP/1.1\r\n", false),
        ("GET / HTTP/1.1\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", false),
        ("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", true),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na", false),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", false),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n", false),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true),
    ] {
        assert_eq!(feed.whole(input.as_bytes()).end == End::Closed, expected, "{input:?}");
    }
}
