//! Any sequence of what a server does with a decoder: feed some bytes, look again, go idle, meet the end.
#![no_main]

#[path = "../src/settings.rs"]
mod settings;
#[path = "../../crates/http/tests/it/support.rs"]
#[allow(dead_code)]
mod support;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use rgunicorn_http::{Decoder, Event};
use support::{End, Transcript, step};

fuzz_target!(|data: &[u8]| {
    let Some((feed, rest)) = settings::take(data) else { return };
    let Some((&count, rest)) = rest.split_first() else { return };
    let (operations, input) = rest.split_at(rest.len().min(usize::from(count)));
    let mut decoder = Decoder::new(Arc::new(feed.options.clone()));
    decoder.set_trusted(feed.trusted);
    let (mut transcript, mut buffer, mut fed) = (Transcript::default(), Vec::new(), 0);
    let mut operations = operations.iter().copied().chain(std::iter::once(0xff));
    let end = loop {
        let Some(operation) = operations.next() else { break End::Open };
        match operation {
            // Gives the decoder more, a little or all.
            0x00..=0xbf | 0xff => {
                let more = if operation == 0xff { input.len() } else { usize::from(operation) };
                let until = input.len().min(fed + more);
                buffer.extend_from_slice(&input[fed..until]);
                fed = until;
            }
            // Takes one event only, and perhaps does something else before the next.
            0xc0..=0xdf => match step(&mut decoder, &mut buffer, &mut transcript) {
                Ok(_) => continue,
                Err(end) => break end,
            },
            // Lets it go idle. What it had to say about the last message is gone, the rest is not touched.
            0xe0..=0xef => {
                decoder.release();
                continue;
            }
            // Asks about the end without there being one: only at the very end does it count.
            _ => {
                let _ = (decoder.in_body(), decoder.remaining(), decoder.trailers(), decoder.head());
                continue;
            }
        }
        let end = loop {
            match step(&mut decoder, &mut buffer, &mut transcript) {
                Ok(Event::NeedMore) => break None,
                Ok(_) => {}
                Err(end) => break Some(end),
            }
        };
        if let Some(end) = end {
            break end;
        }
    };
    transcript.end = match end {
        End::Open if feed.eof => match decoder.eof(&buffer) {
            Ok(()) => End::Closed,
            Err(error) => support::failed(&error),
        },
        end => end,
    };
    let whole = feed.whole(input);
    if matches!(transcript.end, End::Failed { .. }) && !matches!(whole.end, End::Closed) {
        transcript.consumed = whole.consumed;
    }
    assert_eq!(transcript, whole);
});
