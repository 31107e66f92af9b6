//! Divides `GUNICORN_CMD_ARGS` into words as Python's `shlex.split` does.
//!
//! The shlex and shell-words crates take a `#` at the start of a word for a comment; `shlex.split` does not.

/// The words.
///
/// # Errors
/// What Python's exception says.
pub fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    // `None` between words; quotes make a word of nothing.
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(letters.next().ok_or("No escaped character")?),
            '\'' | '"' => quoted(letter, &mut letters, word.get_or_insert_default())?,
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(quote: char, letters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    const UNCLOSED: &str = "No closing quotation";
    loop {
        match letters.next().ok_or(UNCLOSED)? {
            letter if letter == quote => return Ok(()),
            // Only a quote or a backslash can be escaped inside double quotes.
            '\\' if quote == '"' => match letters.next().ok_or("No escaped character")? {
                escaped @ ('"' | '\\') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            letter => word.push(letter),
        }
    }
}
