//! How Python would print a value: `str()` and `repr()`.

use rgunicorn_wire::PyValue;

/// Python's `str(value)`.
pub fn python_str(value: &PyValue) -> String {
    match value {
        PyValue::Str(text) => text.clone(),
        other => python_repr(other),
    }
}

/// Python's `repr(value)`. What stays in the interpreter is shown as the interpreter said.
pub fn python_repr(value: &PyValue) -> String {
    match value {
        PyValue::None => "None".to_owned(),
        PyValue::Bool(true) => "True".to_owned(),
        PyValue::Bool(false) => "False".to_owned(),
        PyValue::Int(number) => number.to_string(),
        PyValue::Float(number) => repr_float(*number),
        PyValue::Str(text) => repr_str(text),
        PyValue::List(items) => format!("[{}]", joined(items.iter().map(python_repr))),
        PyValue::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{}: {}", repr_str(key), python_repr(value)));
            format!("{{{}}}", joined(pairs))
        }
        PyValue::Live { shown, .. } => shown.clone(),
    }
}

/// Python's `repr` of a tuple of these.
pub fn repr_tuple(items: &[PyValue]) -> String {
    match items {
        [one] => format!("({},)", python_repr(one)),
        many => format!("({})", joined(many.iter().map(python_repr))),
    }
}

/// Python's `repr` of a string: single quotes, unless only those are inside.
pub fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push(quote);
    for letter in text.chars() {
        match letter {
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            _ if letter == quote => shown.extend(['\\', letter]),
            _ if is_printable(letter) => shown.push(letter),
            _ => match u32::from(letter) {
                code @ 0..=0xFF => shown.push_str(&format!("\\x{code:02x}")),
                code @ 0x100..=0xFFFF => shown.push_str(&format!("\\u{code:04x}")),
                code => shown.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    shown.push(quote);
    shown
}

/// Python's idea of a printable character is Rust's for `Debug`, apart from marks that combine with the letter before;
/// with a letter before, those are printed.
fn is_printable(letter: char) -> bool {
    letter.is_ascii_graphic() || letter == ' ' || {
        let probe: String = ['a', letter].iter().collect();
        !probe.escape_debug().skip(1).any(|shown| shown == '\\')
    }
}

fn repr_float(number: f64) -> String {
    if number.is_finite() && number != 0.0 && (number.abs() >= 1e16 || number.abs() < 1e-4) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    match number {
        _ if number.is_nan() => "nan".to_owned(),
        _ if number.is_infinite() => if number > 0.0 { "inf" } else { "-inf" }.to_owned(),
        _ => format!("{number:?}"),
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
