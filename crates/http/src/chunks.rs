//! The chunked coding (RFC 9112, section 7.1), consumed as it comes.

use crate::bytes::{is_token_byte, work};
use crate::target::hex;
use crate::{Error, Options};

/// Extensions may add up to this much, and as much again as there is data: what a sender of signed chunks needs, and
/// no way to make us work for nothing.
const FREE_EXTENSION_BYTES: u64 = 16 * 1024;
/// A small `limit_request_field_size` is not meant to forbid chunk sizes.
const MIN_LINE_LIMIT: usize = 64;

/// Where in a chunked body we are.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    stage: Stage,
    /// Of the chunk, what has not come yet; of its size line, what has been read.
    remaining: u64,
    digits: u32,
    /// Bytes of the size line so far.
    line: usize,
    extension_bytes: u64,
    data_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Size,
    /// Blanks after the size or after an extension: only before a semicolon.
    BeforeSemicolon,
    /// After a semicolon.
    BeforeName,
    Name,
    /// Blanks after a name: before an equals sign or a semicolon.
    AfterName,
    /// After the equals sign.
    BeforeValue,
    Value,
    Quoted,
    /// After a backslash.
    Escaped,
    /// After a quoted string.
    AfterQuoted,
    /// After the CR of the size line.
    SizeLineFeed,
    Data,
    /// After the data.
    DataReturn,
    DataLineFeed,
}

/// What was found; the number is how much of the input is consumed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    More(usize),
    /// `length` bytes of data before the end of what is consumed.
    Data(usize, usize),
    /// The size line of the last chunk has ended: trailers follow.
    Last(usize),
}

impl Chunks {
    pub(crate) fn advance(&mut self, input: &[u8], options: &Options) -> Result<Step, Error> {
        let mut pos = 0;
        while let Some(&byte) = input.get(pos) {
            match self.stage {
                Stage::Data => {
                    let there = (input.len() - pos) as u64;
                    let length = there.min(self.remaining);
                    self.remaining -= length;
                    self.data_bytes = self.data_bytes.saturating_add(length);
                    if self.remaining == 0 {
                        self.stage = Stage::DataReturn;
                    }
                    return Ok(Step::Data(pos + length as usize, length as usize));
                }
                Stage::DataReturn if input[pos..].starts_with(b"\r\n") => {
                    self.begin_line();
                    pos += 1;
                }
                Stage::DataReturn if byte == b'\r' => self.stage = Stage::DataLineFeed,
                Stage::DataLineFeed if byte == b'\n' => self.begin_line(),
                Stage::DataReturn | Stage::DataLineFeed => return Err(Error::ChunkEnd),
                Stage::SizeLineFeed if byte == b'\n' => {
                    if self.remaining == 0 {
                        return Ok(Step::Last(pos + 1));
                    }
                    self.stage = Stage::Data;
                }
                Stage::SizeLineFeed => return Err(Error::LineEnd),
                Stage::Size => match plain_size_line(&input[pos..]).filter(|_| self.digits == 0) {
                    Some((size, length)) => {
                        (self.remaining, self.stage) = (size, Stage::SizeLineFeed);
                        // Up to the LF, which is read as in any other line.
                        pos += length - 1;
                        continue;
                    }
                    None => self.size(byte)?,
                },
                _ => self.extension(byte, options)?,
            }
            work::add(0);
            pos += 1;
        }
        Ok(Step::More(pos))
    }

    fn begin_line(&mut self) {
        self.stage = Stage::Size;
        (self.remaining, self.digits, self.line) = (0, 0, 0);
    }

    fn size(&mut self, byte: u8) -> Result<(), Error> {
        self.line += 1;
        if let Some(value) = hex(byte) {
            self.digits += 1;
            self.remaining = self.remaining << 4 | u64::from(value);
            // Sixteen digits fit; a size that is no signed number is nothing that anyone sends.
            return if self.digits > 16 || self.remaining > i64::MAX as u64 { Err(Error::ChunkSize) } else { Ok(()) };
        }
        self.stage = match byte {
            _ if self.digits == 0 => return Err(Error::ChunkSize),
            b'\r' => Stage::SizeLineFeed,
            b';' => Stage::BeforeName,
            b' ' | b'\t' => Stage::BeforeSemicolon,
            _ => return Err(Error::ChunkSize),
        };
        Ok(())
    }

    /// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`: read to be refused if it is anything else.
    fn extension(&mut self, byte: u8, options: &Options) -> Result<(), Error> {
        self.line += 1;
        self.extension_bytes += 1;
        if self.line > options.limit_request_field_size.max(MIN_LINE_LIMIT)
            || self.extension_bytes > FREE_EXTENSION_BYTES.saturating_add(self.data_bytes)
        {
            return Err(Error::ChunkExtension);
        }
        self.stage = match (self.stage, byte) {
            (Stage::BeforeSemicolon | Stage::BeforeName | Stage::AfterName | Stage::BeforeValue, b' ' | b'\t') => {
                self.stage
            }
            (Stage::Name | Stage::BeforeName, _) if is_token_byte(byte) => Stage::Name,
            (Stage::Value | Stage::BeforeValue, _) if is_token_byte(byte) => Stage::Value,
            (Stage::BeforeValue, b'"') => Stage::Quoted,
            (Stage::Name, b' ' | b'\t') => Stage::AfterName,
            (Stage::Name | Stage::AfterName, b'=') => Stage::BeforeValue,
            (Stage::Value | Stage::AfterQuoted, b' ' | b'\t') => Stage::BeforeSemicolon,
            (Stage::Quoted, b'"') => Stage::AfterQuoted,
            (Stage::Quoted, b'\\') => Stage::Escaped,
            (Stage::Quoted | Stage::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Stage::Quoted,
            (Stage::Name | Stage::Value | Stage::AfterQuoted, b'\r') => Stage::SizeLineFeed,
            (Stage::BeforeSemicolon | Stage::Name | Stage::AfterName | Stage::Value | Stage::AfterQuoted, b';') => {
                Stage::BeforeName
            }
            _ => return Err(Error::ChunkExtension),
        };
        Ok(())
    }
}

/// A size line that is all there and has no extension, as most are: the size, and the line's length. Of what else there is,
/// and why it's wrong, the stages know.
fn plain_size_line(input: &[u8]) -> Option<(u64, usize)> {
    // One less than could be too large.
    const MAX_DIGITS: usize = 15;
    let mut size = 0;
    for (index, &byte) in input.iter().enumerate().take(MAX_DIGITS + 1) {
        match hex(byte) {
            Some(value) => size = size << 4 | u64::from(value),
            None => {
                let is_plain = index > 0 && input[index..].starts_with(b"\r\n");
                return is_plain.then_some((size, index + 2));
            }
        }
    }
    None
}
