//! Looking at bytes: tables and scans of eight bytes at a time. Nothing here knows HTTP beyond its character classes.

/// RFC 9110, section 5.6.2: the characters of a token.
const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~", true);
/// What a Host may be made of (RFC 3986, section 3.2.2: registered names, literals) and the colon of a port.
const HOST: [bool; 256] = table(b"-._~!$&'()*+,;=%:[]", true);

const fn table(specials: &[u8], alphanumeric: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = alphanumeric && (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < specials.len() {
        table[specials[index] as usize] = true;
        index += 1;
    }
    table
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

pub(crate) fn is_host_byte(byte: u8) -> bool {
    HOST[byte as usize]
}

/// Where the first byte at or after `from` is that can't be in a token; the end of `input` if there is none.
pub(crate) fn token_end(input: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        at = scan(input, at, |word| !letters_and_dashes(word) & HIGH, |byte| !is_token_byte(byte));
        // Other characters of tokens are rare.
        match input.get(at) {
            Some(&byte) if is_token_byte(byte) => at += 1,
            _ => return at,
        }
    }
}

/// Where the first byte at or after `from` is that can't be in a field value (RFC 9110, section 5.5).
pub(crate) fn value_end(input: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        at = scan(input, at, |word| (below(word, 0x20) | equal(word, 0x7f)) & HIGH, |byte| byte < 0x20 || byte == 0x7f);
        // HTAB is the one control character that may be there; it is rare, so the scan stops at it.
        if input.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// Where the first byte at or after `from` is that can't be in a request target (RFC 3986: printable ASCII).
pub(crate) fn target_end(input: &[u8], from: usize) -> usize {
    scan(
        input,
        from,
        |word| (below(word, 0x21) | word | equal(word, 0x7f)) & HIGH,
        |byte| !(0x21..0x7f).contains(&byte),
    )
}

/// Without blanks (SP, HTAB) at either end.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let blanks = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let end = bytes.len() - bytes.iter().rev().take_while(blanks).count();
    let start = bytes[..end].iter().take_while(blanks).count();
    &bytes[start..end]
}

/// Whether two tokens are the same but for case; `lower` has letters, dashes and digits only, and no upper case.
pub(crate) fn same_token(token: &[u8], lower: &[u8]) -> bool {
    if token.len() != lower.len() {
        return false;
    }
    let word =
        |bytes: &[u8], at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|w| u64::from_le_bytes(*w));
    match token.len() {
        0..8 => token.iter().zip(lower).all(|(token, lower)| token | 0x20 == *lower),
        // The last word may overlap the one before.
        length => (0..length.div_ceil(8)).all(|index| {
            let at = (8 * index).min(length - 8);
            word(token, at).map(|word| word | CASE) == word(lower, at)
        }),
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// The bit that turns letters into lower case, and nothing else that may be in a token into a letter, digit or dash.
const CASE: u64 = ONES * 0x20;

/// High bits set where a byte of `word` is below `limit` (at most 0x80). Borrows go upward from a true hit only: the
/// lowest bit set is always right.
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word
}

/// High bits set where a byte of `word` is `byte`; as above, the lowest is right.
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// High bits set where a byte of `word` is an ASCII letter or `-`, and only there.
fn letters_and_dashes(word: u64) -> u64 {
    // No byte of a sum carries into the next: the high bits are left out of it.
    let low = (word | CASE) & !HIGH;
    let from_a = low + ONES * (0x80 - b'a' as u64);
    let after_z = low + ONES * (0x80 - b'z' as u64 - 1);
    let not_dash = ((word ^ (ONES * b'-' as u64)) & !HIGH) + ONES * 0x7f;
    ((from_a & !after_z) | !not_dash) & !word & HIGH
}

/// The first position at or after `from` that stops, by words of eight bytes while there are that many.
#[inline(always)]
fn scan(input: &[u8], from: usize, word_stops: impl Fn(u64) -> u64, byte_stops: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while let Some(word) = input.get(at..).and_then(|rest| rest.first_chunk()) {
        let stops = word_stops(u64::from_le_bytes(*word));
        if stops != 0 {
            let length = (stops.trailing_zeros() / 8) as usize;
            work::add(at + length - from);
            return at + length;
        }
        at += 8;
    }
    while let Some(&byte) = input.get(at) {
        if byte_stops(byte) {
            break;
        }
        at += 1;
    }
    work::add(at - from);
    at
}

/// Counts the bytes looked at, so that a test can hold the work to be linear. Does nothing outside of tests.
pub(crate) mod work {
    #[cfg(test)]
    thread_local!(static DONE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

    #[inline(always)]
    pub(crate) fn add(bytes: usize) {
        #[cfg(test)]
        DONE.with(|done| done.set(done.get() + bytes + 1));
        #[cfg(not(test))]
        let _ = bytes;
    }

    #[cfg(test)]
    pub(crate) fn take() -> usize {
        DONE.with(|done| done.replace(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of a word, with every neighbour that could disturb the arithmetic.
    fn agrees(scan: impl Fn(&[u8], usize) -> usize, allowed: impl Fn(u8) -> bool) {
        for byte in 0..=255u8 {
            for neighbour in [0x00, 0x01, 0x09, 0x1f, 0x20, 0x21, b'a', 0x7e, 0x7f, 0x80, 0xff] {
                for at in 0..19 {
                    let mut input = [b'a'; 19];
                    input[at] = byte;
                    if at + 1 < input.len() {
                        input[at + 1] = neighbour;
                    }
                    for from in [0, 1, at] {
                        let expected = (from..19).find(|&at| !allowed(input[at])).unwrap_or(19);
                        assert_eq!(scan(&input, from), expected, "{input:?} from {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn scans_by_words_agree_with_scans_by_bytes() {
        agrees(value_end, |byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f));
        agrees(target_end, |byte| (0x21..=0x7e).contains(&byte));
        agrees(token_end, |byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    }

    #[test]
    fn tokens_are_the_same_but_for_case() {
        let lower = b"upgrade-insecure-requests";
        for length in 0..=lower.len() {
            let lower = &lower[..length];
            assert!(same_token(&lower.to_ascii_uppercase(), lower) && same_token(lower, lower));
            assert!(!same_token(&[lower, b"x"].concat(), lower));
            for at in 0..length {
                for byte in (0..=255).filter(|&byte| is_token_byte(byte)) {
                    let mut token = lower.to_vec();
                    token[at] = byte;
                    assert_eq!(same_token(&token, lower), byte.eq_ignore_ascii_case(&lower[at]), "{byte:#x} at {at}");
                }
            }
        }
    }

    #[test]
    fn scans_start_at_the_end_without_harm() {
        assert_eq!((value_end(b"", 0), target_end(b"ab", 2), token_end(b"ab", 2)), (0, 2, 2));
    }

    #[test]
    fn blanks_are_trimmed_at_both_ends() {
        for (given, expected) in [("", ""), (" \t ", ""), (" a b\t", "a b"), ("\u{b}a", "\u{b}a")] {
            assert_eq!(trim(given.as_bytes()), expected.as_bytes());
        }
    }
}
