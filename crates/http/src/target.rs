//! The request target (RFC 9112, section 3.2): its form, its path, its query.

use std::ops::Range;

use memchr::{memchr, memmem};

use crate::bytes::target_end;
use crate::facts::is_host;
use crate::{Error, Excerpt};

/// Where the path and the query are in a target. The fragment, which has no business there, is in neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Still percent-encoded. Empty for the authority form, and for an absolute form without one.
    pub path: Range<usize>,
    /// What is after the first `?`.
    pub query: Range<usize>,
}

/// Takes a target apart, or refuses it: one that is not printable ASCII, or has no form that goes with the method.
pub fn split_target(target: &[u8], method: &[u8]) -> Result<Target, Error> {
    match target_end(target, 0) == target.len() {
        true => parts(target, method),
        false => Err(Error::Target(Excerpt::of(target))),
    }
}

/// [`split_target`] of what is known to be printable ASCII.
pub(crate) fn parts(target: &[u8], method: &[u8]) -> Result<Target, Error> {
    let start = match target {
        _ if method == b"CONNECT" => {
            // The host of a CONNECT is never left out, nor is its port (RFC 9110, section 9.3.6).
            let valid = is_host(target) && target.last().is_some_and(u8::is_ascii_digit);
            let end = target.len();
            return match valid && memchr(b':', target).is_some() {
                true => Ok(Target { path: end..end, query: end..end }),
                false => Err(Error::Target(Excerpt::of(target))),
            };
        }
        [b'/', ..] => 0,
        b"*" if method == b"OPTIONS" => 0,
        _ => authority_end(target).ok_or_else(|| Error::Target(Excerpt::of(target)))?,
    };
    let end = memchr(b'#', &target[start..]).map_or(target.len(), |at| start + at);
    Ok(match memchr(b'?', &target[start..end]) {
        Some(at) => Target { path: start..start + at, query: start + at + 1..end },
        None => Target { path: start..end, query: end..end },
    })
}

/// Where the authority of an absolute form ends: `scheme://host[:port]`. User information is refused, as RFC 9110,
/// section 4.2.4, recommends.
fn authority_end(target: &[u8]) -> Option<usize> {
    let colon = memmem::find(target, b"://")?;
    let (first, rest) = target[..colon].split_first()?;
    let is_scheme = first.is_ascii_alphabetic()
        && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let start = colon + 3;
    let length = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let end = length.map_or(target.len(), |length| start + length);
    let authority = &target[start..end];
    (is_scheme && !authority.is_empty() && is_host(authority)).then_some(end)
}

/// Appends the path with `%XX` decoded, once. What is no valid escape stays as it is, as in Python's
/// `urllib.parse.unquote_to_bytes`.
pub fn percent_decode_into(path: &[u8], out: &mut Vec<u8>) {
    let mut rest = path;
    while let Some(at) = memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).and_then(|pair| Some((hex(pair[0])?, hex(pair[1])?)));
        match digits {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &rest[at + 3..];
            }
            None => {
                out.push(b'%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn splits(method: &str, target: &str, expected: Option<(&str, &str)>) {
        let split = split_target(target.as_bytes(), method.as_bytes()).ok();
        let split = split.map(|parts| (&target[parts.path], &target[parts.query]));
        assert_eq!(split, expected, "{method} {target}");
    }

    #[test]
    fn forms_of_a_target() {
        for (target, path, query) in [
            ("/", "/", ""),
            ("/a?b", "/a", "b"),
            ("/a?b?c#d", "/a", "b?c"),
            ("/a#b?c", "/a", ""),
            ("/a?#", "/a", ""),
            ("//a//b", "//a//b", ""),
            ("/a;b=c?d", "/a;b=c", "d"),
            ("/http://a/b", "/http://a/b", ""),
            ("http://h/x?y#z", "/x", "y"),
            ("http://h:80", "", ""),
            ("http://h?q", "", "q"),
            ("HTTP+x://[::1]:80/p", "/p", ""),
            ("http://h//p", "//p", ""),
        ] {
            splits("GET", target, Some((path, query)));
        }
        splits("OPTIONS", "*", Some(("*", "")));
        splits("CONNECT", "h:443", Some(("", "")));
        splits("CONNECT", "[::1]:443", Some(("", "")));
    }

    #[test]
    fn targets_without_a_form() {
        for target in [
            "",
            "*",
            "a",
            "h:443",
            "foo/bar",
            "a/b://c",
            "?q",
            "#f",
            "http:/a",
            "://a",
            "1http://a",
            "http://",
            "http:///a",
            "http://u@h/",
            "http://u:p@h/",
            "http://[::1/",
            "http://h h/",
            "http://h:p/",
            "/a b",
            "/a\u{e9}",
            "/a\t",
            "/\0",
            "/\r",
            "/\n",
            "/\u{1b}",
            "/\u{7f}",
        ] {
            splits("GET", target, None);
        }
        splits("OPTIONS", "*a", None);
        for target in ["h", "h:", ":443", "/", "http://h:443", "h:443/", "u@h:443", "*", "[::1]", "[::1]:", "[::1"] {
            splits("CONNECT", target, None);
        }
    }

    #[test]
    fn percent_decoding_is_done_once_and_leaves_invalid_escapes() {
        for (path, expected) in [
            ("/a", "/a"),
            ("/%41%4a%4A", "/AJJ"),
            ("%", "%"),
            ("%4", "%4"),
            ("%4g%zz%41", "%4g%zzA"),
            ("%%41", "%A"),
            ("%2541", "%41"),
            ("%2e%2E/", "../"),
            ("a+b", "a+b"),
        ] {
            let mut out = b"<".to_vec();
            percent_decode_into(path.as_bytes(), &mut out);
            assert_eq!(out, format!("<{expected}").as_bytes(), "{path}");
        }
        let mut out = Vec::new();
        percent_decode_into(b"%00%ff%0a", &mut out);
        assert_eq!(out, b"\0\xff\n");
    }
}
