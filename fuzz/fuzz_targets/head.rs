//! A head under any settings: the same whole and byte by byte, and what comes out of it can't hurt what reads it.
#![no_main]

#[path = "../src/settings.rs"]
mod settings;
#[path = "../../crates/http/tests/it/support.rs"]
#[allow(dead_code)]
mod support;

use libfuzzer_sys::fuzz_target;
use rgunicorn_http::{Framing, split_target};
use support::{Feed, Request};

fuzz_target!(|data: &[u8]| {
    let Some((feed, input)) = settings::take(data) else { return };
    let whole = feed.whole(input);
    assert_eq!(whole, feed.bytewise(input));
    let middle = input.len() / 2;
    assert_eq!(whole, feed.run([&input[..middle], &input[middle..]]));
    whole.requests.iter().for_each(|request| check(&feed, request));
});

/// The promises of a head.
fn check(feed: &Feed, request: &Request) {
    let is_token = |text: &[u8]| {
        !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
    };
    let count =
        |wanted: &str| request.fields.iter().filter(|(name, _)| name.0.eq_ignore_ascii_case(wanted.as_bytes())).count();
    assert!(is_token(&request.method.0));
    assert!(request.target.0.iter().all(u8::is_ascii_graphic));
    assert!(request.fields.len() <= feed.options.limit_request_fields);
    for (name, value) in request.fields.iter().chain(&request.trailers) {
        assert!(is_token(&name.0));
        assert!(!name.0.eq_ignore_ascii_case(b"proxy"));
        assert!(value.0.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f)));
    }
    for name in ["Host", "Content-Type", "Content-Length"] {
        assert!(count(name) <= 1);
    }
    for name in ["Content_Length", "Transfer_Encoding"] {
        assert_eq!(count(name), 0);
    }
    let lengths = count("Content-Length");
    match request.framing {
        Framing::None => assert_eq!((lengths, count("Transfer-Encoding")), (0, 0)),
        Framing::Length(_) => assert_eq!((lengths, count("Transfer-Encoding")), (1, 0)),
        Framing::Chunked => assert!(lengths == 0 && count("Transfer-Encoding") == 1 && request.version >= (1, 1)),
    }
    let parts = split_target(&request.target.0, &request.method.0).expect("a target that is refused on its own");
    assert_eq!((&request.target.0[parts.path], &request.target.0[parts.query]), (&*request.path.0, &*request.query.0));
    assert!(request.path.0.is_empty() || request.path.0 == b"*" || request.path.0.starts_with(b"/"));
}
