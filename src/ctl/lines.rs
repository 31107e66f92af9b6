//! Lines of commands: from a terminal with a line that can be edited and a history, else as they come.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

/// In the user's home, as Gunicorn's client has one.
const HISTORY: &str = ".rgunicornctl_history";

/// Where commands come from.
pub enum Lines {
    /// Somebody types them.
    Terminal(Box<DefaultEditor>, Option<PathBuf>),
    /// A script.
    Script(io::Lines<io::StdinLock<'static>>),
}

/// What came.
pub enum Line {
    /// A line.
    Text(String),
    /// There are no more.
    End,
    /// Ctrl-C.
    Interrupted,
}

impl Lines {
    /// Of the standard input.
    pub fn open() -> Result<Lines, String> {
        if !io::stdin().is_terminal() {
            return Ok(Lines::Script(io::stdin().lines()));
        }
        let mut editor = DefaultEditor::new().map_err(|error| format!("the terminal can't be used: {error}"))?;
        let history = std::env::home_dir().map(|home| home.join(HISTORY));
        if let Some(path) = &history {
            // There may be none yet.
            let _ = editor.load_history(path);
        }
        Ok(Lines::Terminal(Box::new(editor), history))
    }

    /// Whether somebody types them.
    pub fn are_typed(&self) -> bool {
        matches!(self, Lines::Terminal(..))
    }

    /// The next one.
    pub fn next(&mut self, prompt: &str) -> Result<Line, String> {
        let failed = |error: &dyn std::fmt::Display| format!("can't read commands: {error}");
        match self {
            Lines::Script(lines) => match lines.next() {
                None => Ok(Line::End),
                Some(Ok(line)) => Ok(Line::Text(line)),
                Some(Err(error)) => Err(failed(&error)),
            },
            Lines::Terminal(editor, history) => match editor.readline(prompt) {
                Ok(line) => {
                    let new = editor.add_history_entry(line.as_str()).unwrap_or(false);
                    if let (true, Some(path)) = (new, history) {
                        // A home that cannot be written to costs the history, not the command.
                        let _ = editor.append_history(path);
                    }
                    Ok(Line::Text(line))
                }
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(error) => Err(failed(&error)),
            },
        }
    }
}
