//! Integers as Python's `int(text, base)` reads them.

/// Python's `int(text, base)` for base 0 (prefixes decide) or 10; `None` where Python raises, or beyond 64 bits.
pub fn python_int(text: &str, base: u32) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match base {
        0 => split_prefix(digits)?,
        other => (other, digits),
    };
    let digits = without_underscores(digits)?;
    // Beside the sign that was taken off, Rust would accept another one.
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// Gunicorn's reading of numbers that are usually octal: as base 0, but a 0 followed by a digit means octal, as in C.
pub fn c_like_int(text: &str) -> Option<i64> {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some('0'), Some(digit)) if digit.is_ascii_digit() => python_int(&format!("0o{}", &text[1..]), 0),
        _ => python_int(text, 0),
    }
}

/// Python's `str.strip()`: white space, and the four ASCII separators that Rust does not count.
pub fn python_strip(text: &str) -> &str {
    text.trim_matches(|letter: char| letter.is_whitespace() || matches!(letter, '\x1c'..='\x1f'))
}

fn split_prefix(digits: &str) -> Option<(u32, &str)> {
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let radix = match lower.as_deref() {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        // A decimal number does not start with 0, unless it is nothing but zeros.
        _ if digits.starts_with('0') && digits.contains(|digit| !matches!(digit, '0' | '_')) => return None,
        _ => return Some((10, digits)),
    };
    // One underscore may stand between prefix and digits.
    let rest = &digits[2..];
    Some((radix, rest.strip_prefix('_').unwrap_or(rest)))
}

/// Underscores may stand between digits, one at a time.
fn without_underscores(digits: &str) -> Option<String> {
    let misplaced = digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    (!misplaced).then(|| digits.replace('_', ""))
}
