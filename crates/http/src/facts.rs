//! What the fields of a head say about the message: its framing, what becomes of the connection, expectations.

use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::bytes::{is_host_byte, trim};
use crate::event::{Framing, Head, Version};
use crate::{Error, Excerpt, Name, Options};

/// Collected field by field, judged once the head is complete.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    length: Option<u64>,
    /// The last transfer coding so far.
    coding: Coding,
    /// The first that isn't `chunked`.
    undecoded: Option<Excerpt>,
    /// Whether one was none that is registered.
    unknown_coding: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    expects_continue: bool,
    host: Option<u16>,
    content_type: Option<u16>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    Undecoded,
    Chunked,
}

/// What isn't decoded but has a name: RFC 9112, section 7 and 12.5, and `identity`, which was one until RFC 7230.
const UNDECODED: [&str; 6] = ["gzip", "x-gzip", "deflate", "compress", "x-compress", "identity"];

impl Facts {
    /// Takes note of the field that is to become number `index`.
    pub(crate) fn note(&mut self, name: Name, value: &[u8], index: u16, folded: bool) -> Result<(), Error> {
        match name {
            // A proxy that doesn't unfold would have framed or routed the message differently.
            Name::ContentLength | Name::TransferEncoding | Name::Host if folded => {
                return Err(Error::Folding(Excerpt::of(name.as_str().as_bytes())));
            }
            Name::ContentLength => {
                if self.length.is_some() {
                    return Err(Error::Repeated("Content-Length"));
                }
                self.length = Some(content_length(value).ok_or_else(|| Error::ContentLength(Excerpt::of(value)))?);
            }
            Name::TransferEncoding => self.transfer_encoding(value)?,
            Name::Connection => self.connection(value),
            Name::Expect => {
                // RFC 9110, section 10.1.1: the value is case-insensitive.
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Error::Expectation(Excerpt::of(value)));
                }
                self.expects_continue = true;
            }
            Name::Host => {
                if self.host.replace(index).is_some() {
                    return Err(Error::Repeated("Host"));
                }
                if !is_host(value) {
                    return Err(Error::Host(Excerpt::of(value)));
                }
            }
            Name::ContentType if self.content_type.replace(index).is_some() => {
                return Err(Error::Repeated("Content-Type"));
            }
            _ => {}
        }
        Ok(())
    }

    /// All fields have been seen: what they come to.
    pub(crate) fn judge(&mut self, is_connect: bool, options: &Options, head: &mut Head) -> Result<(), Error> {
        if options.require_host && self.host.is_none() && head.version.at_least_11() {
            return Err(Error::NoHost);
        }
        head.framing = self.framing(head.version)?;
        // RFC 9110, section 10.1.1: an HTTP/1.0 peer doesn't know 100 Continue.
        head.expect_continue = self.expects_continue && head.version.at_least_11();
        // RFC 9112, section 9.3. What follows a CONNECT belongs to no request, whatever it is answered.
        head.keep_alive = !self.close && !is_connect && (head.version.at_least_11() || self.keep_alive);
        head.upgrade = self.upgrade;
        head.host = self.host;
        head.content_type = self.content_type;
        Ok(())
    }

    /// RFC 9112, section 6, without anything it lets a server be lenient about.
    fn framing(&mut self, version: Version) -> Result<Framing, Error> {
        match (&self.coding, self.length) {
            (Coding::None, None) => Ok(Framing::None),
            (Coding::None, Some(length)) => Ok(Framing::Length(length)),
            (_, Some(_)) => Err(Error::TwoFramings),
            // Section 6.1: in HTTP/1.0 the framing is faulty, whatever it says.
            (_, None) if !version.at_least_11() => Err(Error::TransferEncoding(Excerpt::of(b"in HTTP/1.0"))),
            // Section 6.3: without a final chunked the length can't be known.
            (Coding::Undecoded, None) if !self.unknown_coding => {
                Err(Error::TransferEncoding(Excerpt::of(b"without chunked")))
            }
            // Section 6.1. Gunicorn gives an app what is gzipped inside of chunks undecoded, and skips `identity`.
            (_, None) => match self.undecoded.take() {
                Some(coding) => Err(Error::UnsupportedCoding(coding)),
                None => Ok(Framing::Chunked),
            },
        }
    }

    /// Codings stack over all the fields; `chunked` is there once, and last.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Error> {
        for coding in value.split(|&byte| byte == b',').map(trim) {
            if coding.is_empty() || self.coding == Coding::Chunked {
                return Err(Error::TransferEncoding(Excerpt::of(value)));
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.coding = Coding::Chunked;
            } else {
                self.coding = Coding::Undecoded;
                self.undecoded.get_or_insert_with(|| Excerpt::of(coding));
                self.unknown_coding |= !UNDECODED.iter().any(|known| coding.eq_ignore_ascii_case(known.as_bytes()));
            }
        }
        Ok(())
    }

    /// RFC 9110, section 7.6.1: a list, over all the fields.
    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(trim) {
            match option.len() {
                5 => self.close |= option.eq_ignore_ascii_case(b"close"),
                7 => self.upgrade |= option.eq_ignore_ascii_case(b"upgrade"),
                10 => self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive"),
                _ => {}
            }
        }
    }
}

/// RFC 9110, section 8.6: digits and nothing else. Bounded so that it fits in a signed number too, and in zeros before
/// it: some readers refuse what has over 20 digits.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 20 {
        return None;
    }
    value.iter().try_fold(0u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit).filter(|&length| length <= i64::MAX as u64)
    })
}

/// `uri-host [ ":" port ]` (RFC 9110, section 7.2), or nothing.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let port = match value {
        [b'[', literal @ ..] => match literal.iter().position(|&byte| byte == b']') {
            Some(end) if is_literal(&literal[..end]) => &literal[end + 1..],
            _ => return false,
        },
        _ => {
            let end = value.iter().position(|&byte| byte == b':').unwrap_or(value.len());
            let (name, port) = value.split_at(end);
            // A port of no host is neither.
            let is_nothing = name.is_empty() && !port.is_empty();
            if is_nothing || !name.iter().all(|&byte| is_host_byte(byte) && !matches!(byte, b'[' | b']')) {
                return false;
            }
            port
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// What is between brackets (RFC 3986, section 3.2.2): an IPv6 address, perhaps with a zone (RFC 6874), or one of the future.
fn is_literal(literal: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(literal) else { return false };
    match text.strip_prefix(['v', 'V']).and_then(|future| future.split_once('.')) {
        Some((version, address)) => {
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !address.is_empty()
                && address.bytes().all(|byte| is_host_byte(byte) && !matches!(byte, b'[' | b']' | b'%'))
        }
        None => {
            let (address, zone) = text.split_once('%').unwrap_or((text, "zone"));
            let is_zone = !zone.is_empty() && zone.bytes().all(|byte| is_host_byte(byte) && !b"[]:".contains(&byte));
            is_zone && Ipv6Addr::from_str(address).is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_digits() {
        for (value, expected) in [
            ("0", Some(0)),
            ("5", Some(5)),
            ("00005", Some(5)),
            ("00000000000000000005", Some(5)),
            ("000000000000000000005", None),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("99999999999999999999999", None),
            ("", None),
            ("+5", None),
            ("-0", None),
            ("0_5", None),
            ("5, 5", None),
            ("5,5", None),
            ("3 1", None),
            ("0x5", None),
            ("5.0", None),
            ("\u{b2}", None),
        ] {
            assert_eq!(content_length(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn hosts() {
        for host in [
            "",
            "a",
            "a_b.example",
            "a:80",
            "a:",
            "127.0.0.1:8000",
            "[::1]",
            "[::1]:80",
            "[fe80::1%25eth0]:1",
            "[fe80::1%eth0]",
            "[::ffff:1.2.3.4]",
            "[v1.a:b]:80",
            "a%20b",
            "*",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            ":80",
            ":",
            "a b",
            "a/b",
            "u@a",
            "a:80:80",
            "a:b",
            "[::1",
            "::1",
            "[]",
            "[::1]80",
            "[[::1]",
            "[:::1]",
            "[1.2.3.4]",
            "[a]",
            "[::1%]",
            "[v.a]",
            "[v1.]",
            "[vx.a]",
            "[::\u{e9}]",
            "a]",
            "a\\b",
            "a\"",
            "\u{e9}",
            "a?b",
            "a#",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
