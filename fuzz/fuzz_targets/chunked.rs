//! A chunked body, against a second reading of RFC 9112, section 7.1 that is as plain as can be.
#![no_main]

#[path = "../../crates/http/tests/it/support.rs"]
#[allow(dead_code)]
mod support;

use libfuzzer_sys::fuzz_target;
use support::{End, Feed};

fuzz_target!(|data: &[u8]| {
    let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let feed = Feed::default();
    let whole = feed.run([&head[..], data]);
    assert_eq!(whole, feed.bytewise(&[head, data].concat()));
    let request = &whole.requests[0];
    match read(data) {
        Some(Reading { content, complete, .. }) => {
            // What is refused although the plain reading has no fault with it: extensions, trailers, a next request.
            if whole.requests.len() == 1 && !matches!(whole.end, End::Failed { .. }) {
                assert_eq!((&*request.body.0, request.complete), (&*content, complete));
            } else if request.complete {
                assert_eq!(request.body.0, content);
            } else {
                assert!(content.starts_with(&request.body.0));
            }
        }
        None => assert!(!request.complete && matches!(whole.end, End::Failed { .. }), "{whole:?}"),
    }
});

struct Reading {
    content: Vec<u8>,
    /// The last chunk and the trailer section are there.
    complete: bool,
}

/// `None`: no continuation could make this a chunked body.
fn read(mut data: &[u8]) -> Option<Reading> {
    let mut content = Vec::new();
    let open = |content| Some(Reading { content, complete: false });
    loop {
        let Some(end) = data.windows(2).position(|pair| pair == b"\r\n") else {
            let digits = data.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            return match data.get(digits) {
                Some(byte) if digits == 0 || !b"; \t\r".contains(byte) => None,
                _ if digits > 16 => None,
                _ => open(content),
            };
        };
        let (line, rest) = (&data[..end], &data[end + 2..]);
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        let extension = line[digits..].trim_ascii_start();
        if size > i64::MAX as u64 || digits > 16 || line.contains(&b'\n') || line.contains(&b'\r') {
            return None;
        }
        if digits < line.len() && !extension.starts_with(b";") {
            return None;
        }
        if size == 0 {
            let complete = rest.starts_with(b"\r\n") || rest.windows(4).any(|four| four == b"\r\n\r\n");
            return Some(Reading { content, complete });
        }
        if rest.len() as u64 <= size {
            content.extend_from_slice(rest);
            return open(content);
        }
        let (chunk, after) = rest.split_at(size as usize);
        content.extend_from_slice(chunk);
        data = match after {
            [b'\r', b'\n', data @ ..] => data,
            [b'\r'] => return open(content),
            _ => return None,
        };
    }
}
