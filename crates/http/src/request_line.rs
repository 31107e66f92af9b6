//! The request line (RFC 9112, section 3), read as far as the input goes and resumed there.

use crate::bytes::{target_end, token_end, value_end};
use crate::event::{Head, Span, Version, rewritten_span};
use crate::target::parts;
use crate::{Error, Excerpt, Options};

#[derive(Debug, Default)]
pub(crate) struct RequestLine {
    stage: Stage,
    /// How far the input has been read.
    pos: usize,
    /// Where the line begins.
    line: usize,
    /// Where the part that is being read begins.
    part: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing yet, or the CR of an empty line.
    #[default]
    Blank,
    Method,
    Target,
    Version,
    /// The CR has been seen.
    LineFeed,
}

impl RequestLine {
    /// Reads on. Once the line is complete: where the fields begin.
    pub(crate) fn advance(&mut self, input: &[u8], options: &Options, head: &mut Head) -> Result<Option<usize>, Error> {
        loop {
            match self.stage {
                // RFC 9112, section 2.2: one empty line before the request line is ignored. One, as in Gunicorn.
                Stage::Blank => {
                    match (input.first(), input.get(1)) {
                        (None, _) | (Some(b'\r'), None) => return Ok(None),
                        (Some(b'\r'), Some(b'\n')) => (self.pos, self.line, self.part) = (2, 2, 2),
                        _ => {}
                    }
                    self.stage = Stage::Method;
                }
                Stage::Method => {
                    let Some(byte) = self.read(token_end, input, options)? else { return Ok(None) };
                    match byte {
                        b' ' => {
                            self.method(input, options, head)?;
                            self.next_part(Stage::Target);
                        }
                        b'\r' | b'\n' => return Err(Error::RequestLine(self.line_so_far(input))),
                        _ => return Err(Error::Method(Excerpt::of(&input[self.line..=self.pos]))),
                    }
                }
                Stage::Target => {
                    let Some(byte) = self.read(target_end, input, options)? else { return Ok(None) };
                    match byte {
                        b' ' if self.pos > self.part => {
                            self.target(input, head)?;
                            self.next_part(Stage::Version);
                        }
                        b' ' | b'\r' | b'\n' => return Err(Error::RequestLine(self.line_so_far(input))),
                        _ => return Err(Error::Target(Excerpt::of(&input[self.part..=self.pos]))),
                    }
                }
                Stage::Version => {
                    let Some(byte) = self.read(value_end, input, options)? else { return Ok(None) };
                    let text = &input[self.part..self.pos];
                    match byte {
                        b'\r' => head.version = version(text, options)?,
                        b'\n' => return Err(Error::LineEnd),
                        _ => return Err(Error::Version(Excerpt::of(text))),
                    }
                    self.next_part(Stage::LineFeed);
                }
                Stage::LineFeed => {
                    return match input.get(self.pos) {
                        None => Ok(None),
                        Some(b'\n') => Ok(Some(self.pos + 1)),
                        Some(_) => Err(Error::LineEnd),
                    };
                }
            }
        }
    }

    /// Whether nothing but the empty line that may precede a request has come.
    pub(crate) fn is_blank(&self, input: &[u8]) -> bool {
        input.is_empty() || (input == b"\r\n" && self.line == input.len())
    }

    /// Goes to the byte that ends the part. The limit is looked at first: it is passed by an earlier byte.
    fn read(
        &mut self,
        end: impl Fn(&[u8], usize) -> usize,
        input: &[u8],
        options: &Options,
    ) -> Result<Option<u8>, Error> {
        self.pos = end(input, self.pos);
        let limit = options.limit_request_line;
        if self.pos - self.line > limit {
            return Err(Error::RequestLineTooLong { limit });
        }
        Ok(input.get(self.pos).copied())
    }

    fn next_part(&mut self, stage: Stage) {
        self.pos += 1;
        self.part = self.pos;
        self.stage = stage;
    }

    fn method(&self, input: &[u8], options: &Options, head: &mut Head) -> Result<(), Error> {
        let method = &input[self.part..self.pos];
        let lower = method.iter().any(u8::is_ascii_lowercase);
        let usual = (3..=20).contains(&method.len()) && !lower && !method.contains(&b'#');
        if method.is_empty() || !(usual || options.permit_unconventional_http_method) {
            return Err(Error::Method(Excerpt::of(method)));
        }
        head.method = Span::new(self.part, self.pos);
        if lower && options.casefold_http_method {
            head.rewritten.extend(method.iter().map(u8::to_ascii_uppercase));
            head.method = rewritten_span(0, head.rewritten.len());
        }
        Ok(())
    }

    fn target(&self, input: &[u8], head: &mut Head) -> Result<(), Error> {
        let parts = parts(&input[self.part..self.pos], head.text(head.method, input))?;
        head.target = Span::new(self.part, self.pos);
        head.path = Span::new(self.part + parts.path.start, self.part + parts.path.end);
        head.query = Span::new(self.part + parts.query.start, self.part + parts.query.end);
        Ok(())
    }

    fn line_so_far(&self, input: &[u8]) -> Excerpt {
        Excerpt::of(&input[self.line..self.pos])
    }
}

/// RFC 9112, section 2.3: case-sensitive, one digit each.
fn version(text: &[u8], options: &Options) -> Result<Version, Error> {
    let numbers = match text {
        b"HTTP/1.1" => return Ok(Version::Http11),
        b"HTTP/1.0" => return Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] => (major - b'0', minor - b'0'),
        _ => return Err(Error::Version(Excerpt::of(text))),
    };
    match numbers {
        (1, minor) => Ok(Version::Other(1, minor)),
        (major, minor) if options.permit_unconventional_http_version => Ok(Version::Other(major, minor)),
        _ => Err(Error::Version(Excerpt::of(text))),
    }
}
