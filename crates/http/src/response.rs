//! The pieces of a response that are the same whoever answers. Nothing here allocates but [`error_response`].

use crate::Version;
use crate::bytes::{is_token, value_end};

/// Whether an application may send this as a field name.
pub fn valid_name(name: &[u8]) -> bool {
    is_token(name)
}

/// Whether an application may send this as a field value or in a status line: no control characters but HTAB.
pub fn valid_value(value: &[u8]) -> bool {
    value_end(value, 0) == value.len()
}

/// Whether the field is the server's to send, so that an application's is left out.
pub fn hop_by_hop(name: &[u8]) -> bool {
    let names: &[&str] = match name.len() {
        2 => &["te"],
        4 => &["date"],
        6 => &["server"],
        7 => &["upgrade"],
        8 => &["trailers"],
        10 => &["connection", "keep-alive"],
        17 => &["transfer-encoding"],
        18 => &["proxy-authenticate"],
        19 => &["proxy-authorization"],
        _ => &[],
    };
    names.iter().any(|text| name.eq_ignore_ascii_case(text.as_bytes()))
}

/// How the body of a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyPlan {
    /// Not at all: whatever the application gives is dropped.
    None,
    /// So many bytes, no more.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection is closed.
    UntilClose,
}

/// How to send the body, and whether the application's Content-Length goes into the head (RFC 9110, section 6.4.1;
/// RFC 9112, section 6).
pub fn plan(version: Version, method_is_head: bool, status: u16, content_length: Option<u64>) -> (BodyPlan, bool) {
    match content_length {
        // RFC 9110, section 8.6: these never have a Content-Length.
        _ if matches!(status, 100..=199 | 204) => (BodyPlan::None, false),
        _ if method_is_head || status == 304 => (BodyPlan::None, content_length.is_some()),
        Some(length) => (BodyPlan::Length(length), true),
        None if version.at_least_11() => (BodyPlan::Chunked, false),
        None => (BodyPlan::UntilClose, false),
    }
}

/// The line before a chunk of `len` bytes. An empty chunk would end the body: the caller leaves it out.
pub fn chunk_head(len: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| DIGITS[len >> (4 * digit) & 0xf]));
    out.extend_from_slice(b"\r\n");
}

/// A whole response that says what went wrong, and that the connection ends with it.
pub fn error_response(status: u16, reason: &str, message: &str) -> Vec<u8> {
    let (reason_text, message) = (escape(reason), escape(message));
    let page = format!(
        "<!DOCTYPE html>\n<html>\n<head><title>{reason_text}</title></head>\n<body>\n<h1>{reason_text}</h1>\n\
         <p>{message}</p>\n</body>\n</html>\n"
    );
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
        page.len()
    );
    [head.into_bytes(), page.into_bytes()].concat()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_and_values_have_no_controls() {
        for (name, valid) in [
            ("X-A", true),
            ("a_b!~", true),
            ("", false),
            ("a b", false),
            ("a:", false),
            ("a\r", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(valid_name(name.as_bytes()), valid, "{name:?}");
        }
        for byte in 0..=255u8 {
            let valid = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            assert_eq!(valid_value(&[b'a', byte, b'b']), valid, "{byte:#x}");
        }
        assert!(valid_value(b""));
        assert!(!valid_value(b"a long enough value\r\nSet-Cookie: evil=1"));
    }

    #[test]
    fn hop_by_hop_names_are_gunicorns() {
        for name in [
            "Connection",
            "keep-alive",
            "PROXY-AUTHENTICATE",
            "Proxy-Authorization",
            "TE",
            "Trailers",
            "Transfer-Encoding",
            "Upgrade",
            "Server",
            "Date",
        ] {
            assert!(hop_by_hop(name.as_bytes()), "{name}");
        }
        for name in ["", "Trailer", "Content-Length", "Dates", "X-Server", "Keep-Alivf"] {
            assert!(!hop_by_hop(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn plans() {
        use BodyPlan::{Chunked, Length, None as Nothing, UntilClose};
        let (old, new) = (Version::Http10, Version::Http11);
        for (version, head, status, length, expected) in [
            (new, false, 200, Some(5), (Length(5), true)),
            (new, false, 200, Some(0), (Length(0), true)),
            (new, false, 200, None, (Chunked, false)),
            (old, false, 200, None, (UntilClose, false)),
            (old, false, 200, Some(5), (Length(5), true)),
            (Version::Other(1, 2), false, 200, None, (Chunked, false)),
            (Version::Other(0, 9), false, 200, None, (UntilClose, false)),
            (new, true, 200, Some(5), (Nothing, true)),
            (new, true, 200, None, (Nothing, false)),
            (new, false, 304, Some(5), (Nothing, true)),
            (new, false, 304, None, (Nothing, false)),
            (new, false, 204, Some(5), (Nothing, false)),
            (new, true, 204, Some(5), (Nothing, false)),
            (new, false, 103, None, (Nothing, false)),
            (new, false, 205, None, (Chunked, false)),
        ] {
            assert_eq!(plan(version, head, status, length), expected, "{version:?} head={head} {status} {length:?}");
        }
    }

    #[test]
    fn chunk_heads_are_in_upper_case() {
        for (length, expected) in [
            (0, "0\r\n"),
            (1, "1\r\n"),
            (15, "F\r\n"),
            (16, "10\r\n"),
            (0xabc, "ABC\r\n"),
            (usize::MAX, "FFFFFFFFFFFFFFFF\r\n"),
        ] {
            let mut out = b"x".to_vec();
            chunk_head(length, &mut out);
            assert_eq!(out, format!("x{expected}").as_bytes());
        }
    }

    #[test]
    fn an_error_response_is_whole_and_escaped() {
        let response = String::from_utf8(error_response(400, "Bad Request", "<b> & \"it's\"")).unwrap();
        let (head, page) = response.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: {}",
                page.len()
            )
        );
        assert!(page.contains("<title>Bad Request</title>"));
        assert!(page.contains("&lt;b&gt; &amp; &quot;it&#x27;s&quot;"));
    }
}
