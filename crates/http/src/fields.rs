//! Field lines (RFC 9112, section 5): of a head, or of a trailer section.

use std::ops::Range;

use memchr::memchr;

use crate::bytes::{same_token, token_end, value_end, work};
use crate::event::{Field, Head, Span};
use crate::facts::Facts;
use crate::{Error, Excerpt, HeaderMap, Name, Options};

/// Whose fields they are, and what is known about them so far.
pub(crate) enum Section<'a> {
    Head { facts: &'a mut Facts, trusted: bool },
    Trailers { fields: &'a mut Vec<Field> },
}

/// How far a section has been read. Positions are into input that begins where the message does (for a head) or where
/// the section does (for trailers), and that is not consumed before its end.
#[derive(Debug)]
pub(crate) struct FieldLines {
    stage: Stage,
    pos: usize,
    /// Where the field that is being read begins, continuation lines and all.
    field: usize,
    name: Span,
    /// Where the line's part of the value begins.
    value: usize,
    /// Where a value that is continued is being put together.
    folded: Option<usize>,
    count: usize,
}

#[derive(Debug)]
enum Stage {
    /// At the first byte of a line.
    LineStart,
    Name,
    /// Blanks before the colon.
    Blanks,
    Value,
    /// After the CR of a field.
    LineFeed,
    /// After the CR of the empty line.
    LastLineFeed,
}

impl FieldLines {
    pub(crate) fn at(pos: usize) -> FieldLines {
        FieldLines {
            stage: Stage::LineStart,
            pos,
            field: pos,
            name: Span::default(),
            value: pos,
            folded: None,
            count: 0,
        }
    }

    /// Reads on. Once the section is complete: where it ends.
    pub(crate) fn advance(
        &mut self,
        input: &[u8],
        options: &Options,
        head: &mut Head,
        section: &mut Section<'_>,
    ) -> Result<Option<usize>, Error> {
        loop {
            match self.stage {
                Stage::LineStart => {
                    let Some(&byte) = input.get(self.pos) else { return Ok(None) };
                    if matches!(byte, b' ' | b'\t') && self.count > 0 {
                        self.fold(input, options, head)?;
                        continue;
                    }
                    // Only now is it known that the field before ends where its line did.
                    if self.count > 0 {
                        self.close(input, options, head, section)?;
                    }
                    if byte == b'\r' {
                        self.pos += 1;
                        self.stage = Stage::LastLineFeed;
                        continue;
                    }
                    let limit = options.limit_request_fields;
                    if self.count >= limit {
                        return Err(Error::TooManyFields { limit });
                    }
                    self.count += 1;
                    self.field = self.pos;
                    match whole_line(input, self.pos, options.limit_request_field_size) {
                        Some((colon, end)) => {
                            self.name = Span::new(self.pos, colon);
                            (self.value, self.folded, self.pos) = (colon + 1, None, end);
                        }
                        None => self.stage = Stage::Name,
                    }
                }
                Stage::Name => {
                    let Some(byte) = self.read(token_end, input, options)? else { return Ok(None) };
                    self.name = Span::new(self.field, self.pos);
                    match byte {
                        b':' if self.pos > self.field => self.begin_value(),
                        b' ' | b'\t' if options.strip_header_spaces && self.pos > self.field => {
                            self.stage = Stage::Blanks
                        }
                        b'\r' => return Err(Error::FieldLine(Excerpt::of(self.name.of(input)))),
                        b'\n' => return Err(Error::LineEnd),
                        _ => return Err(Error::FieldName(Excerpt::of(&input[self.field..=self.pos]))),
                    }
                }
                Stage::Blanks => {
                    let Some(byte) = self.read(blanks_end, input, options)? else { return Ok(None) };
                    match byte {
                        b':' => self.begin_value(),
                        _ => return Err(Error::FieldName(Excerpt::of(&input[self.field..=self.pos]))),
                    }
                }
                Stage::Value => {
                    let Some(byte) = self.read(value_end, input, options)? else { return Ok(None) };
                    match byte {
                        b'\r' => self.pos += 1,
                        b'\n' => return Err(Error::LineEnd),
                        _ => return Err(Error::FieldValue(Excerpt::of(self.name.of(input)))),
                    }
                    self.stage = Stage::LineFeed;
                }
                Stage::LineFeed => {
                    match input.get(self.pos) {
                        None => return Ok(None),
                        Some(b'\n') => self.pos += 1,
                        Some(_) => return Err(Error::LineEnd),
                    }
                    self.stage = Stage::LineStart;
                }
                Stage::LastLineFeed => {
                    return match input.get(self.pos) {
                        None => Ok(None),
                        Some(b'\n') => Ok(Some(self.pos + 1)),
                        Some(_) => Err(Error::LineEnd),
                    };
                }
            }
        }
    }

    /// Goes to the byte that ends a part. The limit is looked at first: it is passed by an earlier byte.
    fn read(
        &mut self,
        end: impl Fn(&[u8], usize) -> usize,
        input: &[u8],
        options: &Options,
    ) -> Result<Option<u8>, Error> {
        self.pos = end(input, self.pos);
        let limit = options.limit_request_field_size;
        if self.pos - self.field > limit.saturating_sub(2) {
            return Err(Error::FieldTooLarge { limit });
        }
        Ok(input.get(self.pos).copied())
    }

    fn begin_value(&mut self) {
        self.pos += 1;
        self.value = self.pos;
        self.folded = None;
        self.stage = Stage::Value;
    }

    /// Where the value is in the line that ended before `pos`, without blanks around it.
    fn line_value(&self, input: &[u8]) -> Range<usize> {
        let mut value = &input[self.value..self.pos - 2];
        work::add(value.len());
        while let [rest @ .., b' ' | b'\t'] = value {
            value = rest;
        }
        let end = self.value + value.len();
        while let [b' ' | b'\t', rest @ ..] = value {
            value = rest;
        }
        end - value.len()..end
    }

    /// The line at `pos` continues the value (RFC 9112, section 5.2): what there is of it goes into a buffer.
    fn fold(&mut self, input: &[u8], options: &Options, head: &mut Head) -> Result<(), Error> {
        if !options.permit_obsolete_folding {
            return Err(Error::Folding(Excerpt::of(self.name.of(input))));
        }
        self.folded.get_or_insert(head.rewritten.len());
        head.rewritten.extend_from_slice(&input[self.line_value(input)]);
        head.rewritten.push(b' ');
        self.value = self.pos;
        self.stage = Stage::Value;
        Ok(())
    }

    /// The field is complete: look at what it means, and keep it.
    fn close(
        &mut self,
        input: &[u8],
        options: &Options,
        head: &mut Head,
        section: &mut Section<'_>,
    ) -> Result<(), Error> {
        let name = self.name.of(input);
        let known = Name::of(name);
        work::add(name.len());
        let value = match self.folded {
            None => {
                let Range { start, end } = self.line_value(input);
                Span::new(start, end)
            }
            Some(start) => {
                head.rewritten.extend_from_slice(&input[self.line_value(input)]);
                head.rewritten_since(start)
            }
        };
        let keep = match section {
            _ if known == Name::Other && memchr(b'_', name).is_some() => {
                let trusted = matches!(section, Section::Head { trusted: true, .. });
                underscored(name, trusted, options)?
            }
            // httpoxy (CVE-2016-5385): as `HTTP_PROXY` it would pass for a setting of the app's own HTTP client.
            _ if same_token(name, b"proxy") => false,
            Section::Head { facts, .. } => {
                facts.note(known, head.text(value, input), head.fields.len() as u16, self.folded.is_some())?;
                true
            }
            Section::Trailers { .. } if is_forbidden_trailer(known) => {
                return Err(Error::Trailer(Excerpt::of(name)));
            }
            Section::Trailers { .. } => true,
        };
        if keep {
            let fields = match section {
                Section::Head { .. } => &mut head.fields,
                Section::Trailers { fields } => fields,
            };
            fields.push(Field { name: self.name, value, known });
        }
        Ok(())
    }
}

/// A line that is all there and has nothing unusual, as most are: where its colon is, and where the next line begins.
/// Of what else there is, and why it's wrong, the stages know.
fn whole_line(input: &[u8], from: usize, limit: usize) -> Option<(usize, usize)> {
    let colon = token_end(input, from);
    if colon == from || input.get(colon) != Some(&b':') {
        return None;
    }
    let end = value_end(input, colon + 1);
    let is_short = end - from <= limit.saturating_sub(2);
    (is_short && input.get(end..)?.starts_with(b"\r\n")).then_some((colon, end + 2))
}

fn blanks_end(input: &[u8], from: usize) -> usize {
    let rest = input.get(from..).unwrap_or_default();
    let length = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
    work::add(length);
    from + length
}

/// Whether to keep a field that has an underscore in its name.
fn underscored(name: &[u8], trusted: bool, options: &Options) -> Result<bool, Error> {
    // A proxy that maps underscores would have seen another framing than we do: never an accident.
    let dashed = |text: &str| {
        text.len() == name.len()
            && text.bytes().zip(name).all(|(t, &n)| t == if n == b'_' { b'-' } else { n.to_ascii_lowercase() })
    };
    if dashed("content-length") || dashed("transfer-encoding") {
        return Err(Error::FieldName(Excerpt::of(name)));
    }
    match options.header_map {
        _ if trusted && options.forwards(name) => Ok(true),
        HeaderMap::Dangerous => Ok(true),
        HeaderMap::Drop => Ok(false),
        HeaderMap::Refuse => Err(Error::FieldName(Excerpt::of(name))),
    }
}

/// RFC 9110, section 6.5.1: what routes, frames or authenticates comes too late there.
fn is_forbidden_trailer(name: Name) -> bool {
    matches!(
        name,
        Name::Host | Name::ContentLength | Name::TransferEncoding | Name::Trailer | Name::Authorization | Name::Te
    )
}
