//! Feeds a decoder and keeps what it said as plain data, so that two ways of feeding can be compared.

use std::sync::Arc;

use rgunicorn_http::proxy::{self, Rules, Step};
use rgunicorn_http::{Decoder, Event, Framing, Head, Options};

/// All that came of some bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    pub proxy: Option<proxy::Header>,
    pub requests: Vec<Request>,
    pub end: End,
    /// Bytes consumed; not counted after an error, when it depends on the pieces how far the framing of chunks had come.
    pub consumed: usize,
}

/// One request, its spans turned into text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: Bytes,
    pub target: Bytes,
    pub path: Bytes,
    pub query: Bytes,
    pub version: (u8, u8),
    pub fields: Vec<(Bytes, Bytes)>,
    pub framing: Framing,
    pub keep_alive: bool,
    pub expect_continue: bool,
    pub upgrade: bool,
    pub host: Option<Bytes>,
    pub content_type: Option<Bytes>,
    pub body: Bytes,
    pub trailers: Vec<(Bytes, Bytes)>,
    /// Its end has been seen.
    pub complete: bool,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// More bytes could follow, in a message or between two.
    #[default]
    Open,
    /// The peer closed where it may.
    Closed,
    /// Refused.
    Failed { status: u16, message: String },
}

/// Bytes that print as text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        Bytes(bytes.to_vec())
    }
}

/// How a decoder is fed.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    pub options: Options,
    pub trusted: bool,
    /// The peer closes after the last piece.
    pub eof: bool,
    /// The connection goes idle after each piece.
    pub idle: bool,
    /// Whether a PROXY header is looked for first.
    pub proxy: Rules,
}

impl Feed {
    /// Gives the pieces one after the other to a new decoder, as a server would. Panics when the decoder breaks the rules
    /// of its interface.
    pub fn run<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Transcript {
        let mut decoder = Decoder::new(Arc::new(self.options.clone()));
        decoder.set_trusted(self.trusted);
        let (mut transcript, mut buffer) = (Transcript::default(), Vec::new());
        let mut is_http = false;
        for piece in pieces {
            buffer.extend_from_slice(piece);
            if !is_http {
                match proxy::parse(&buffer, &self.proxy) {
                    Ok(Step::NeedMore) => continue,
                    Ok(Step::NotProxy) => {}
                    Ok(Step::Header(length, header)) => {
                        buffer.drain(..length);
                        transcript.consumed += length;
                        transcript.proxy = Some(header);
                    }
                    Err(error) => return Transcript { end: failed(&error), ..transcript },
                }
                is_http = true;
            }
            if !take_events(&mut decoder, &mut buffer, &mut transcript) {
                return transcript;
            }
            if self.idle {
                decoder.release();
            }
        }
        if self.eof {
            transcript.end = match decoder.eof(&buffer) {
                Ok(()) => End::Closed,
                Err(error) => failed(&error),
            };
            assert_eq!(decoder.eof(&buffer).is_err(), transcript.end != End::Closed, "the end is not sticky");
        }
        transcript
    }

    pub fn whole(&self, input: &[u8]) -> Transcript {
        self.run([input])
    }

    pub fn bytewise(&self, input: &[u8]) -> Transcript {
        self.run(input.chunks(1))
    }
}

/// Takes all events there are; false after an error.
fn take_events(decoder: &mut Decoder, buffer: &mut Vec<u8>, transcript: &mut Transcript) -> bool {
    loop {
        match step(decoder, buffer, transcript) {
            Ok(Event::NeedMore) => return true,
            Ok(_) => {}
            Err(end) => {
                (transcript.end, transcript.consumed) = (end, 0);
                return false;
            }
        }
    }
}

/// Takes one event, and what is consumed out of the buffer.
pub fn step(decoder: &mut Decoder, buffer: &mut Vec<u8>, transcript: &mut Transcript) -> Result<Event, End> {
    let (consumed, event) = match decoder.advance(buffer) {
        Ok(step) => step,
        Err(error) => {
            for input in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", buffer] {
                assert_eq!(decoder.advance(input), Err(error.clone()), "the error is not sticky");
            }
            assert_eq!(decoder.eof(b""), Err(error.clone()), "the error is not sticky");
            return Err(failed(&error));
        }
    };
    assert!(consumed <= buffer.len(), "consumed {consumed} of {}", buffer.len());
    match event {
        Event::NeedMore => {}
        Event::Head => transcript.requests.push(request(decoder.head(), buffer)),
        Event::Data(span) => {
            let data = span.of(buffer);
            assert!(!data.is_empty() && data.len() == span.len as usize);
            assert!((span.start + span.len) as usize <= consumed, "data that is not consumed");
            current(transcript).body.0.extend_from_slice(data);
        }
        Event::End => {
            let trailers = decoder.trailers().iter().cloned();
            let request = current(transcript);
            request.trailers.extend(trailers.map(|(name, value)| (Bytes(name), Bytes(value))));
            request.complete = true;
        }
    }
    buffer.drain(..consumed);
    transcript.consumed += consumed;
    assert_eq!(decoder.in_body(), transcript.requests.last().is_some_and(|request| !request.complete));
    Ok(event)
}

fn current(transcript: &mut Transcript) -> &mut Request {
    let request = transcript.requests.last_mut().expect("a body without a head");
    assert!(!request.complete, "an event after the end of a message");
    request
}

/// How an error looks in a transcript.
pub fn failed(error: &rgunicorn_http::Error) -> End {
    let (message, reason) = (error.to_string(), error.reason());
    assert!(!message.chars().any(char::is_control), "a message that a log line can't hold: {message:?}");
    assert!(!reason.is_empty() && (400..600).contains(&error.status()));
    End::Failed { status: error.status(), message }
}

fn request(head: &Head, input: &[u8]) -> Request {
    let text = |span| Bytes::from(head.text(span, input));
    let value_at = |index: Option<u16>| index.map(|index| text(head.fields[index as usize].value));
    for field in &head.fields {
        assert!(
            field.known.as_str().is_empty() || text(field.name).0.eq_ignore_ascii_case(field.known.as_str().as_bytes())
        );
    }
    Request {
        method: text(head.method),
        target: text(head.target),
        path: text(head.path),
        query: text(head.query),
        version: head.version.numbers(),
        fields: head.fields.iter().map(|field| (text(field.name), text(field.value))).collect(),
        framing: head.framing,
        keep_alive: head.keep_alive,
        expect_continue: head.expect_continue,
        upgrade: head.upgrade,
        host: value_at(head.host),
        content_type: value_at(head.content_type),
        ..Request::default()
    }
}
