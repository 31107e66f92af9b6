//! The decoder: which part of a message is being read, and what to say about it.

use std::sync::Arc;

use crate::chunks::{Chunks, Step};
use crate::event::{Event, Field, Framing, Head, MAX_INPUT, Span};
use crate::facts::Facts;
use crate::fields::{FieldLines, Section};
use crate::request_line::RequestLine;
use crate::{Error, Options};

/// Reads the requests of one connection, one after the other.
#[derive(Debug)]
pub struct Decoder {
    options: Arc<Options>,
    trusted: bool,
    state: State,
    facts: Facts,
    head: Head,
    trailer_fields: Vec<Field>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
enum State {
    /// No byte of the next request has come.
    Between,
    RequestLine(RequestLine),
    Fields(FieldLines),
    /// A body of which so many bytes have not come yet.
    Length(u64),
    Chunks(Chunks),
    Trailers(FieldLines),
    Failed(Error),
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new(options: Arc<Options>) -> Decoder {
        Decoder {
            options,
            trusted: false,
            state: State::Between,
            facts: Facts::default(),
            head: Head::default(),
            trailer_fields: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Whether the peer is one of `forwarded_allow_ips`: then `forwarder_headers` count.
    pub fn set_trusted(&mut self, trusted: bool) {
        self.trusted = trusted;
    }

    /// Reads `input`, all bytes that have not been consumed yet, up to the next event, and says how many of its bytes
    /// are consumed now.
    ///
    /// Heads and trailers are consumed when they are complete, bodies and the framing of chunks as they come (so
    /// [`Event::NeedMore`] may consume too). After an error every call returns that error.
    pub fn advance(&mut self, input: &[u8]) -> Result<(usize, Event), Error> {
        let result = self.step(input.get(..MAX_INPUT).unwrap_or(input));
        if let Err(error) = &result
            && !matches!(self.state, State::Failed(_))
        {
            self.state = State::Failed(error.clone());
        }
        result
    }

    /// The peer will send nothing after `input`, which has not been consumed. That is fine between two requests.
    pub fn eof(&mut self, input: &[u8]) -> Result<(), Error> {
        match &self.state {
            State::Between if input.is_empty() => Ok(()),
            State::RequestLine(line) if line.is_blank(input) => Ok(()),
            State::Length(0) => Ok(()),
            State::Failed(error) => Err(error.clone()),
            _ => {
                self.state = State::Failed(Error::Truncated);
                Err(Error::Truncated)
            }
        }
    }

    /// The head of the last [`Event::Head`]; its spans are into the input of that call.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The trailer fields of the message that has just ended, name and value.
    pub fn trailers(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.trailers
    }

    /// Whether a head has been returned whose message has not ended.
    pub fn in_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunks(_) | State::Trailers(_))
    }

    /// How many bytes of the body have not come yet, if its length is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(remaining) => Some(remaining),
            _ => None,
        }
    }

    /// Gives back memory that the last message needed: for a connection that goes idle. Its head is gone.
    pub fn release(&mut self) {
        if matches!(self.state, State::Between) {
            self.head = Head::default();
            self.trailer_fields = Vec::new();
            self.trailers = Vec::new();
        }
    }

    fn step(&mut self, input: &[u8]) -> Result<(usize, Event), Error> {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            match &mut self.state {
                State::Between => {
                    if rest.is_empty() {
                        return Ok((consumed, Event::NeedMore));
                    }
                    self.head.clear();
                    self.trailers.clear();
                    self.facts = Facts::default();
                    self.state = State::RequestLine(RequestLine::default());
                }
                State::RequestLine(line) => match line.advance(rest, &self.options, &mut self.head)? {
                    Some(end) => self.state = State::Fields(FieldLines::at(end)),
                    None => return incomplete(consumed, rest),
                },
                State::Fields(lines) => {
                    let mut section = Section::Head { facts: &mut self.facts, trusted: self.trusted };
                    match lines.advance(rest, &self.options, &mut self.head, &mut section)? {
                        Some(end) => {
                            let is_connect = self.head.text(self.head.method, rest) == b"CONNECT";
                            self.facts.judge(is_connect, &self.options, &mut self.head)?;
                            self.state = match self.head.framing {
                                Framing::None => State::Length(0),
                                Framing::Length(length) => State::Length(length),
                                Framing::Chunked => State::Chunks(Chunks::default()),
                            };
                            return Ok((end, Event::Head));
                        }
                        None => return incomplete(consumed, rest),
                    }
                }
                State::Length(0) => {
                    self.state = State::Between;
                    return Ok((consumed, Event::End));
                }
                State::Length(remaining) => {
                    if rest.is_empty() {
                        return Ok((consumed, Event::NeedMore));
                    }
                    let length = (rest.len() as u64).min(*remaining);
                    *remaining -= length;
                    return Ok((length as usize, Event::Data(Span::new(0, length as usize))));
                }
                State::Chunks(chunks) => match chunks.advance(rest, &self.options)? {
                    Step::More(read) => return Ok((read, Event::NeedMore)),
                    Step::Data(read, length) => return Ok((read, Event::Data(Span::new(read - length, read)))),
                    Step::Last(read) => {
                        consumed += read;
                        self.trailer_fields.clear();
                        self.state = State::Trailers(FieldLines::at(0));
                    }
                },
                State::Trailers(lines) => {
                    let mut section = Section::Trailers { fields: &mut self.trailer_fields };
                    let end = lines.advance(rest, &self.options, &mut self.head, &mut section);
                    match end.map_err(Error::of_trailers)? {
                        Some(end) => {
                            let text = |span: Span| self.head.text(span, rest).to_vec();
                            self.trailers.extend(self.trailer_fields.iter().map(|f| (text(f.name), text(f.value))));
                            self.state = State::Between;
                            return Ok((consumed + end, Event::End));
                        }
                        None => return incomplete(consumed, rest),
                    }
                }
                State::Failed(error) => return Err(error.clone()),
            }
        }
    }
}

/// The rest is part of a section that is not complete: it stays where it is.
fn incomplete(consumed: usize, rest: &[u8]) -> Result<(usize, Event), Error> {
    // Only reached with limits of gigabytes: positions have to fit in a span.
    if consumed + rest.len() >= MAX_INPUT { Err(Error::HeadTooLarge) } else { Ok((consumed, Event::NeedMore)) }
}
