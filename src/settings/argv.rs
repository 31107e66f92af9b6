//! Reads a command line as Python's argparse reads it for Gunicorn.
//!
//! Scripts depend on its ways: abbreviated long flags, `-c=FILE`, `-w4`, blanks inside a word, `-DR`, a value that looks
//! like a negative number, flags after the application. The steps are argparse's too: first every word is told to be a
//! flag or not, then flags and runs of other words are taken from left to right.

use rgunicorn_wire::PyValue;

use super::python_int::{c_like_int, python_int};
use super::python_text::repr_str;
use super::table::{self, Action, Argument, Setting};

/// What a command line says.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Settings with their values, before validation; one entry a setting, in order of first mention.
    pub settings: Vec<(&'static Setting, PyValue)>,
    /// Words that are no flags: the application and whatever stands beside it.
    pub positional: Vec<String>,
}

impl Given {
    /// The value of a flag.
    pub fn get(&self, name: &str) -> Option<&PyValue> {
        self.settings.iter().find(|(setting, _)| setting.name == name).map(|(_, value)| value)
    }

    /// The text of a flag that was given something.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(PyValue::Str(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn set(&mut self, setting: &'static Setting, value: PyValue) {
        match self.settings.iter_mut().find(|(known, _)| known.name == setting.name) {
            Some((_, old)) => *old = value,
            None => self.settings.push((setting, value)),
        }
    }

    fn append(&mut self, setting: &'static Setting, item: PyValue) {
        match self.settings.iter_mut().find(|(known, _)| known.name == setting.name) {
            Some((_, PyValue::List(items))) => items.push(item),
            _ => self.set(setting, PyValue::List(vec![item])),
        }
    }
}

/// A command line that was understood.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Settings.
    Given(Given),
    /// `-h`
    Help,
    /// `-v`
    Version,
}

/// Reads the words after the program's name.
///
/// # Errors
/// What argparse would say after `error: `.
pub fn parse(words: &[String]) -> Result<Outcome, String> {
    let flags = Flags::new();
    let roles = roles(&flags, words)?;
    Parser { flags, words, roles, given: Given::default(), positional_taken: false, extras: Vec::new() }.run()
}

/// What a flag stands for.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    Help,
    Version,
    Setting(&'static Setting),
}

impl Meaning {
    fn action(self) -> Action {
        match self {
            Meaning::Help | Meaning::Version => Action::StoreTrue,
            Meaning::Setting(setting) => setting.action,
        }
    }

    /// How messages name it: all its spellings.
    fn spellings(self) -> String {
        match self {
            Meaning::Help => "-h/--help".to_owned(),
            Meaning::Version => "-v/--version".to_owned(),
            Meaning::Setting(setting) => setting.flags().join("/"),
        }
    }
}

/// Every spelling of every flag.
struct Flags(Vec<(String, Meaning)>);

impl Flags {
    fn new() -> Self {
        let spelt =
            |texts: &[&str], meaning| texts.iter().map(|text| ((*text).to_owned(), meaning)).collect::<Vec<_>>();
        let mut flags = spelt(&["-h", "--help"], Meaning::Help);
        flags.extend(spelt(&["-v", "--version"], Meaning::Version));
        for setting in table::all() {
            flags.extend(setting.flags().into_iter().map(|flag| (flag, Meaning::Setting(setting))));
        }
        Flags(flags)
    }

    fn exact(&self, text: &str) -> Option<Meaning> {
        self.0.iter().find(|(flag, _)| flag == text).map(|(_, meaning)| *meaning)
    }

    /// The flags that `text` abbreviates. Those of our own come last: a flag that Gunicorn does not have must not take
    /// an abbreviation from one that it has.
    fn abbreviated(&self, text: &str) -> Vec<&(String, Meaning)> {
        let ours = |meaning: &Meaning| matches!(meaning, Meaning::Setting(setting) if setting.is_ours());
        let (ours, theirs): (Vec<_>, Vec<_>) =
            self.0.iter().filter(|(flag, _)| flag.starts_with(text)).partition(|(_, meaning)| ours(meaning));
        if theirs.is_empty() { ours } else { theirs }
    }
}

/// What a word is.
#[derive(Debug, Clone)]
enum Role {
    /// `None`: it looks like a flag and is none.
    Flag(Option<Meaning>, Option<Explicit>),
    Plain,
    /// The first `--`, after which nothing is a flag.
    Dashes,
}

/// A value inside the flag's own word.
#[derive(Debug, Clone)]
struct Explicit {
    value: String,
    /// The flag is one letter, so that what follows may be more letters.
    after_letter: bool,
}

fn roles(flags: &Flags, words: &[String]) -> Result<Vec<Role>, String> {
    let mut roles = Vec::with_capacity(words.len());
    let mut only_plain = false;
    for word in words {
        roles.push(match word.as_str() {
            _ if only_plain => Role::Plain,
            "--" => {
                only_plain = true;
                Role::Dashes
            }
            word => role(flags, word)?,
        });
    }
    Ok(roles)
}

fn role(flags: &Flags, word: &str) -> Result<Role, String> {
    if !word.starts_with('-') || word == "-" {
        return Ok(Role::Plain);
    }
    if let Some(meaning) = flags.exact(word) {
        return Ok(Role::Flag(Some(meaning), None));
    }
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    if let (Some(meaning), Some(value)) = (flags.exact(name), value.clone()) {
        let after_letter = !name.starts_with("--");
        return Ok(Role::Flag(Some(meaning), Some(Explicit { value, after_letter })));
    }
    if word.starts_with("--") {
        match flags.abbreviated(name).as_slice() {
            [] => {}
            [(_, meaning)] => {
                let explicit = value.map(|value| Explicit { value, after_letter: false });
                return Ok(Role::Flag(Some(*meaning), explicit));
            }
            several => {
                let several = several.iter().map(|(flag, _)| flag.as_str()).collect::<Vec<_>>().join(", ");
                return Err(format!("ambiguous option: {word} could match {several}"));
            }
        }
    } else if let Some((letter, rest)) = split_letter(word)
        && let Some(meaning) = flags.exact(letter)
    {
        let explicit = Explicit { value: rest.to_owned(), after_letter: true };
        return Ok(Role::Flag(Some(meaning), Some(explicit)));
    }
    if is_negative_number(word) || word.contains(' ') {
        return Ok(Role::Plain);
    }
    Ok(Role::Flag(None, None))
}

/// `-w4` is `-w` and `4`.
fn split_letter(word: &str) -> Option<(&str, &str)> {
    let end = word.char_indices().nth(2).map(|(position, _)| position)?;
    Some(word.split_at(end))
}

/// `-4` or `-.5`; no flag of ours looks like one.
fn is_negative_number(word: &str) -> bool {
    let Some(number) = word.strip_prefix('-') else { return false };
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    match number.split_once('.') {
        None => !number.is_empty() && digits(number),
        Some((whole, fraction)) => digits(whole) && !fraction.is_empty() && digits(fraction),
    }
}

struct Parser<'a> {
    flags: Flags,
    words: &'a [String],
    roles: Vec<Role>,
    given: Given,
    /// The one run of words that is taken for application and company has been taken.
    positional_taken: bool,
    extras: Vec<String>,
}

/// A flag that asks for something else than a run.
enum Flow {
    On(usize),
    Stop(Outcome),
}

impl Parser<'_> {
    fn run(mut self) -> Result<Outcome, String> {
        let last_flag = self.roles.iter().rposition(|role| matches!(role, Role::Flag(..)));
        let mut at = 0;
        while last_flag.is_some_and(|last| at <= last) {
            let next_flag = at + self.roles[at..].iter().take_while(|role| !matches!(role, Role::Flag(..))).count();
            if at < next_flag {
                if self.positional_taken {
                    self.extras.extend_from_slice(&self.words[at..next_flag]);
                } else {
                    self.take_positional(at, next_flag);
                }
                at = next_flag;
                continue;
            }
            match self.take_flag(at)? {
                Flow::On(next) => at = next,
                Flow::Stop(outcome) => return Ok(outcome),
            }
        }
        if self.positional_taken {
            self.extras.extend_from_slice(&self.words[at..]);
        } else {
            self.take_positional(at, self.words.len());
        }
        if self.extras.is_empty() {
            return Ok(Outcome::Given(self.given));
        }
        Err(format!("unrecognized arguments: {}", self.extras.join(" ")))
    }

    fn take_positional(&mut self, from: usize, to: usize) {
        self.positional_taken = true;
        let mut words = self.words[from..to].to_vec();
        if let Some(dashes) = words.iter().position(|word| word == "--") {
            words.remove(dashes);
        }
        self.given.positional = words;
    }

    fn take_flag(&mut self, at: usize) -> Result<Flow, String> {
        let Role::Flag(meaning, explicit) = self.roles[at].clone() else { return Ok(Flow::On(at + 1)) };
        let Some(mut meaning) = meaning else {
            self.extras.push(self.words[at].clone());
            return Ok(Flow::On(at + 1));
        };
        let mut taken = Vec::new();
        let mut explicit = explicit;
        let next = loop {
            let takes_value = !matches!(meaning.action(), Action::StoreTrue | Action::StoreFalse);
            match explicit.take() {
                Some(Explicit { value, .. }) if takes_value => {
                    taken.push((meaning, Some(value)));
                    break at + 1;
                }
                // The rest of the word is more one-letter flags: `-DR`.
                Some(Explicit { value, after_letter: true }) if !value.is_empty() => {
                    taken.push((meaning, None));
                    let ignored = format!("ignored explicit argument {}", repr_str(&value));
                    let mut letters = value.chars();
                    let letter = letters.next().map(|letter| format!("-{letter}")).unwrap_or_default();
                    let unknown = argument_error(meaning, &ignored);
                    meaning = self.flags.exact(&letter).ok_or(unknown)?;
                    let rest = letters.as_str().to_owned();
                    explicit = (!rest.is_empty()).then_some(Explicit { value: rest, after_letter: true });
                }
                Some(Explicit { value, .. }) => {
                    let ignored = format!("ignored explicit argument {}", repr_str(&value));
                    return Err(argument_error(meaning, &ignored));
                }
                None => {
                    let plain = matches!(self.roles.get(at + 1), Some(Role::Plain));
                    match meaning.action() {
                        Action::StoreTrue | Action::StoreFalse => taken.push((meaning, None)),
                        Action::Optional(_) if !plain => taken.push((meaning, None)),
                        _ if !plain => return Err(argument_error(meaning, "expected one argument")),
                        _ => {
                            taken.push((meaning, Some(self.words[at + 1].clone())));
                            break at + 2;
                        }
                    }
                    break at + 1;
                }
            }
        };
        for (meaning, value) in taken {
            match meaning {
                Meaning::Help => return Ok(Flow::Stop(Outcome::Help)),
                Meaning::Version => return Ok(Flow::Stop(Outcome::Version)),
                Meaning::Setting(setting) => self.act(setting, value)?,
            }
        }
        Ok(Flow::On(next))
    }

    fn act(&mut self, setting: &'static Setting, value: Option<String>) -> Result<(), String> {
        match (setting.action, value) {
            (Action::StoreTrue, _) => self.given.set(setting, PyValue::Bool(true)),
            (Action::StoreFalse, _) => self.given.set(setting, PyValue::Bool(false)),
            (Action::Append, Some(text)) => self.given.append(setting, converted(setting, text)?),
            (Action::Optional(alone), None) => self.given.set(setting, PyValue::Str(alone.to_owned())),
            (_, Some(text)) => self.given.set(setting, converted(setting, text)?),
            (_, None) => {}
        }
        Ok(())
    }
}

fn converted(setting: &'static Setting, text: String) -> Result<PyValue, String> {
    let (number, type_name) = match setting.argument {
        Argument::Text => return Ok(PyValue::Str(text)),
        Argument::Int => (python_int(&text, 10), "int"),
        Argument::AutoInt => (c_like_int(&text), "auto_int"),
    };
    number.map(PyValue::Int).ok_or_else(|| {
        argument_error(Meaning::Setting(setting), &format!("invalid {type_name} value: {}", repr_str(&text)))
    })
}

fn argument_error(meaning: Meaning, what: &str) -> String {
    format!("argument {}: {what}", meaning.spellings())
}
