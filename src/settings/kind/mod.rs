//! Which values a setting accepts, and what they become.
//!
//! Python files and flags are as loose as Gunicorn is (`"0x10"` for a number, `"true"` for a boolean, a string where a
//! list is meant); what Gunicorn refuses is refused here.

mod network;
mod number;
mod python_object;
mod text;

use rgunicorn_wire::PyValue;

use super::environment::Environment;
use super::python_text::{python_repr, repr_str};
use crate::sys::users;

/// A kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer from 0, a boolean, or a string that holds such an integer.
    PosInt,
    /// The same within bounds.
    Between(i64, i64),
    /// A number of workers, or `all`.
    Surge,
    /// Bytes, as a number or with `K`, `M` or `G` behind it; 0 for no limit.
    Size,
    /// A boolean, a string that says true or false, or `None`.
    Bool,
    /// A string or `None`; blanks around it are taken away.
    Text,
    /// Strings; a lone one makes a list of one.
    TextList,
    /// The same, each the name of a file or a pattern.
    FileList,
    /// Strings in one, divided by commas.
    CommaList,
    /// The same, each an address, a network or `*`.
    AddressList,
    /// HTTP versions, divided by commas.
    Protocols,
    /// One of these words in any case; `None` means `none`.
    Choice {
        /// The words.
        values: &'static [&'static str],
        /// What `None` stands for.
        none: Option<&'static str>,
    },
    /// One of these words, exactly.
    ExactChoice(&'static [&'static str]),
    /// `off`, `v1`, `v2`, `auto`, and words and booleans that mean them.
    ProxyProtocol,
    /// `off`, `prior-knowledge`, `upgrade`, `both`, or a boolean.
    Http2Cleartext,
    /// A dict.
    Dict,
    /// A class, or its name.
    Class,
    /// Something callable with this many positional parameters, or its dotted name.
    Callable(u32),
    /// A callable with two to four.
    PostRequest,
    /// A user by name or number; `None` is the one that started the server.
    User,
    /// A group.
    Group,
    /// A directory that exists.
    Directory,
    /// Where StatsD listens.
    StatsdAddress,
    /// Anything, and it is ignored.
    SslVersion,
}

/// What validators look at besides the value.
pub struct Surroundings<'a> {
    /// Start directory and user.
    pub environment: &'a Environment,
    /// Receives what the operator should be told although the value is accepted.
    pub warnings: &'a mut Vec<String>,
}

/// A value on its way in.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The value.
    pub value: &'a PyValue,
    /// How Python prints it, where Python was asked.
    pub shown: Option<&'a str>,
}

impl Input<'_> {
    /// How a message quotes it.
    fn quoted(self) -> String {
        match (self.value, self.shown) {
            (PyValue::Live { .. }, Some(shown)) => shown.to_owned(),
            (value, _) => python_repr(value),
        }
    }

    /// How a message quotes a part of it, and what it is a part of.
    fn quoted_part(self, part: &str) -> String {
        let (part, whole) = (repr_str(part), self.quoted());
        if part == whole { whole } else { format!("{part} in {whole}") }
    }
}

impl Kind {
    /// The value that the setting takes, or why not.
    ///
    /// # Errors
    /// A clause that quotes the value.
    pub fn validate(self, input: Input<'_>, around: &mut Surroundings<'_>) -> Result<PyValue, String> {
        match self {
            Kind::PosInt => number::between(input, 0, i64::MAX),
            Kind::Between(low, high) => number::between(input, low, high),
            Kind::Surge => number::surge(input),
            Kind::Size => number::size(input),
            Kind::Bool => text::boolean(input),
            Kind::Text => text::text(input),
            Kind::TextList => text::list(input).map(PyValue::List),
            Kind::FileList => text::files(input, around),
            Kind::CommaList => text::comma_list(input).map(list_of),
            Kind::AddressList => network::addresses(input),
            Kind::Protocols => text::protocols(input),
            Kind::Choice { values, none } => text::choice(input, values, none),
            Kind::ExactChoice(values) => text::exact_choice(input, values),
            Kind::ProxyProtocol => text::proxy_protocol(input),
            Kind::Http2Cleartext => text::http2_cleartext(input),
            Kind::Dict => python_object::dict(input),
            Kind::Class => python_object::class(input),
            Kind::Callable(arity) => python_object::callable(input, &[arity]),
            Kind::PostRequest => python_object::callable(input, &[4, 3, 2]),
            Kind::User => number::id(input, around.environment.euid, "user", users::uid_of),
            Kind::Group => number::id(input, around.environment.egid, "group", users::gid_of),
            Kind::Directory => text::directory(input, around),
            Kind::StatsdAddress => network::statsd(input),
            Kind::SslVersion => {
                if *input.value != PyValue::Int(2) {
                    around.warnings.push("ssl_version is ignored; use the ssl_context hook instead".to_owned());
                }
                Ok(input.value.clone())
            }
        }
    }
}

fn list_of(items: Vec<String>) -> PyValue {
    PyValue::List(items.into_iter().map(PyValue::Str).collect())
}
