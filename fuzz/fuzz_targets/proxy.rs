//! PROXY headers: more bytes never change an answer, and what is accepted is what the plain reading says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rgunicorn_http::proxy::{Mode, Protocol, Rules, Step, parse};

fuzz_target!(|data: &[u8]| {
    let Some((&flags, input)) = data.split_first() else { return };
    // Most of the space is reached by no mutation: begin it for the fuzzer.
    let start: &[u8] = match flags >> 4 & 3 {
        0 => b"",
        1 => b"PROXY TCP4 ",
        2 => b"\r\n\r\n\0\r\nQUIT\n",
        _ => b"\r\n\r\n\0\r\nQUIT\n\x21",
    };
    let input = [start, input].concat();
    let rules = Rules {
        mode: [Mode::Off, Mode::V1, Mode::V2, Mode::Auto][usize::from(flags & 3)],
        allowed: flags & 4 == 0,
        permit_unknown: flags & 8 != 0,
    };
    let mut answer = Ok(Step::NeedMore);
    for end in 0..=input.len().min(700) {
        let step = parse(&input[..end], &rules);
        assert!(answer == Ok(Step::NeedMore) || step == answer, "{answer:?}, then {step:?}");
        answer = step;
    }
    let Ok(Step::Header(length, header)) = answer else { return };
    assert!(rules.allowed && rules.mode != Mode::Off && length <= input.len());
    let text = &input[..length];
    if let Some(ends) = header.endpoints {
        let is_v4 = header.protocol == Protocol::Tcp4;
        assert!(is_v4 || header.protocol == Protocol::Tcp6);
        assert!(ends.source.is_ipv4() == is_v4 && ends.destination.is_ipv4() == is_v4);
        if text.starts_with(b"PROXY ") {
            // Our own writing of it: ports have one, addresses of version 4 too.
            let ports = format!(" {} {}\r\n", ends.source.port(), ends.destination.port());
            assert!(text.ends_with(ports.as_bytes()) && length <= 107);
            let start = format!("PROXY TCP4 {} {}{ports}", ends.source.ip(), ends.destination.ip());
            assert!(!is_v4 || text == start.as_bytes());
        }
    }
});
