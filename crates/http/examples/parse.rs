//! Parses one kind of request so many times: what `benches/instructions` counts the instructions of.
//!
//!     parse SCENARIO COUNT

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use rgunicorn_http::{Decoder, Event, Options};

/// What wrk and most probes send.
const SMALL: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: wrk/4.1.0\r\nAccept: */*\r\n\r\n";

const BROWSER: &str = "GET /shop/items?category=12&sort=price HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Dest: document\r\n\
    Referer: https://shop.example.com/shop/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: sessionid=5f4dcc3b5aa765d61d8327deb882cf99; csrftoken=8f14e45fceea167a5a36dedd4bea2543\r\n\r\n";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_default();
    let Some(count) = arguments.next().and_then(|count| count.parse::<u32>().ok()) else { return ExitCode::from(2) };
    let post = |fields: &str, body: &str| format!("POST /echo HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
    let piece = "x".repeat(4096);
    let input = match scenario.as_str() {
        "small" => SMALL.to_owned(),
        "browser" => BROWSER.to_owned(),
        "length-16k" => post("Content-Length: 16384", &piece.repeat(4)),
        "chunked-16k" => post("Transfer-Encoding: chunked", &(format!("1000\r\n{piece}\r\n").repeat(4) + "0\r\n\r\n")),
        // As a client writes that sends its output line by line.
        "chunked-lines" => {
            post("Transfer-Encoding: chunked", &(format!("20\r\n{}\r\n", &piece[..32]).repeat(64) + "0\r\n\r\n"))
        }
        _ => return ExitCode::from(2),
    };
    let mut decoder = Decoder::new(Arc::new(Options::default()));
    for _ in 0..count {
        if !parse(&mut decoder, black_box(input.as_bytes())) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Takes all events of one message; whether it was whole.
fn parse(decoder: &mut Decoder, input: &[u8]) -> bool {
    let mut at = 0;
    loop {
        match decoder.advance(&input[at..]) {
            Ok((consumed, event)) => {
                at += consumed;
                match event {
                    Event::Head => {
                        black_box(decoder.head());
                    }
                    Event::Data(span) => {
                        black_box(span);
                    }
                    Event::End => return at == input.len(),
                    Event::NeedMore => return false,
                }
            }
            Err(_) => return false,
        }
    }
}
