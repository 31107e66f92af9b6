//! No input makes the decoder work more than in proportion to its length, however it is cut.

use std::sync::Arc;

use crate::bytes::work;
use crate::{Decoder, Event, HeaderMap, Options};

/// Looks at a byte: at most so many for each byte of input, whole or bytewise, with room for what every call costs.
const LOOKS_PER_BYTE: usize = 12;

fn looks(options: &Arc<Options>, input: &[u8], step: usize) -> usize {
    let mut decoder = Decoder::new(Arc::clone(options));
    decoder.set_trusted(true);
    work::take();
    let (mut start, mut end) = (0, 0);
    while end < input.len() {
        end = (end + step).min(input.len());
        loop {
            match decoder.advance(&input[start..end]) {
                Ok((consumed, event)) => {
                    start += consumed;
                    if event == Event::NeedMore {
                        break;
                    }
                }
                Err(_) => return work::take(),
            }
        }
    }
    work::take()
}

#[test]
fn work_is_linear() {
    let mut options = Options::new(0, 0, 1 << 20);
    options.permit_obsolete_folding = true;
    options.strip_header_spaces = true;
    options.permit_unconventional_http_method = true;
    options.casefold_http_method = true;
    options.header_map = HeaderMap::Dangerous;
    options.forwarder_headers = vec!["A".to_owned(), "B".to_owned()];
    let options = Arc::new(options);
    let head = "POST / HTTP/1.1\r\n";
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    // What is before, what is repeated, what is after.
    let shapes = [
        ("", "get", " / HTTP/1.1\r\n\r\n"),
        ("GET /", "a", " HTTP/1.1\r\n\r\n"),
        ("GET http://", "a", "/ HTTP/1.1\r\n\r\n"),
        ("GET a", "://", " HTTP/1.1\r\n\r\n"),
        ("GET /", "?#", " HTTP/1.1\r\n\r\n"),
        ("GET / HTTP/1.1", " ", "\r\n\r\n"),
        (head, "a: b\r\n", "\r\n"),
        (head, "a:\r\n", "\r\n"),
        (head, "a_b: c\r\n", "\r\n"),
        (head, "a:\r\n b\r\n", "\r\n"),
        ("POST / HTTP/1.1\r\na: b\r\n", " c\r\n", "\r\n"),
        ("POST / HTTP/1.1\r\na: b\r\n", "\t\r\n", "\r\n"),
        ("POST / HTTP/1.1\r\n", "n", ": b\r\n\r\n"),
        ("POST / HTTP/1.1\r\n", "_", ": b\r\n\r\n"),
        ("POST / HTTP/1.1\r\na: ", "b", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\na: ", " ", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\na: ", " \t", "b\r\n\r\n"),
        ("POST / HTTP/1.1\r\na: b", "\t ", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\na", " ", ": b\r\n\r\n"),
        ("POST / HTTP/1.1\r\nConnection: ", ",a", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\nConnection: ", " ,", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\n", "Connection: close, keep-alive\r\n", "\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: a", ", gzip", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: a", " ", ",chunked\r\n\r\n"),
        ("POST / HTTP/1.1\r\nContent-Length: 1", "0", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\nHost: ", "a", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\nHost: ", ":", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\nExpect: 100-continue", " ", "\r\n\r\n"),
        ("", "GET / HTTP/1.1\r\n\r\n", ""),
        ("", "\r\nGET / HTTP/1.1\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", "a", ""),
        (chunked, "1\r\na\r\n", "0\r\n\r\n"),
        (chunked, "2;a=\"b\";c = d\r\nab\r\n", "0\r\n\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1", " ", "\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1", ";a", "\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"", "\\\"", "\"\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "0", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "a: b\r\n", "\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b", "\r\n c", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b", " ", "\r\n\r\n"),
        ("", "\r\n", ""),
        ("", "\0", ""),
    ];
    for (before, repeated, after) in shapes {
        let input = |times: usize| [before, &repeated.repeat(times), after].concat().into_bytes();
        let times = 6_000 / repeated.len();
        for step in [1, 7, usize::MAX / 2] {
            let (small, large) = (input(times), input(2 * times));
            let (one, two) = (looks(&options, &small, step), looks(&options, &large, step));
            let fixed = LOOKS_PER_BYTE * (before.len() + after.len() + 8);
            assert!(two <= 2 * one + fixed, "{before:?} {repeated:?}, {step} bytes a step: {one} looks, doubled {two}");
            assert!(two <= LOOKS_PER_BYTE * large.len(), "{before:?} {repeated:?}: {two} looks at {}", large.len());
        }
    }
}
