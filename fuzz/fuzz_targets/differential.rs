//! Heads against httparse: whatever is accepted here is accepted there, and understood alike. (Where this decoder is
//! stricter is nothing to find: it is meant to be.)
#![no_main]

#[path = "../../crates/http/tests/it/support.rs"]
#[allow(dead_code)]
mod support;

use libfuzzer_sys::fuzz_target;
use support::Feed;

fuzz_target!(|data: &[u8]| {
    // Where the first head ends: httparse reads only one.
    let transcript = Feed::default().whole(data);
    let Some(request) = transcript.requests.first() else { return };
    // httparse knows no version beyond 1.1.
    if request.version > (1, 1) {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut theirs = httparse::Request::new(&mut fields);
    let length = match theirs.parse(data) {
        Ok(httparse::Status::Complete(length)) => length,
        other => panic!("{other:?} of what is accepted here: {request:?}"),
    };
    assert_eq!(theirs.method.map(str::as_bytes), Some(&*request.method.0));
    assert_eq!(theirs.path.map(str::as_bytes), Some(&*request.target.0));
    assert_eq!(theirs.version, Some(request.version.1));
    let kept = |name: &str| !name.contains('_') && !name.eq_ignore_ascii_case("proxy");
    let theirs: Vec<_> = theirs.headers.iter().filter(|field| kept(field.name)).collect();
    assert_eq!(theirs.len(), request.fields.len());
    for (theirs, (name, value)) in theirs.iter().zip(&request.fields) {
        assert_eq!((theirs.name.as_bytes(), theirs.value.trim_ascii()), (&*name.0, value.0.trim_ascii()));
    }
    assert!(data[..length].ends_with(b"\r\n\r\n"));
    // And the content begins where that head ends.
    let body = &request.body.0;
    if let rgunicorn_http::Framing::Length(_) = request.framing {
        assert!(data[length..].starts_with(body));
    }
});
