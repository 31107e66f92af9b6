//! The table of settings: the one place where a setting is named.
//!
//! Flags, file keys, defaults, `--help`, man pages, `conf/rgunicorn.toml`, `docs/settings.md`, the JSON schema and
//! `--print-config` are all made from it. The entries are flat data, a file a group of sections.

mod dirty;
mod hooks;
mod logging;
mod mechanics;
mod ours;
mod requests;
mod security;
mod socket;
mod tls;
mod workers;

use super::kind::Kind;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in files, in `--print-config` and in messages.
    pub name: &'static str,
    /// Where help and reference list it.
    pub section: Section,
    /// One-letter flag.
    pub short: Option<char>,
    /// Long flags, without the dashes; the first is the one to show. Empty: no flag.
    pub long: &'static [&'static str],
    /// What help calls the flag's value; the setting's name when there is none.
    pub metavar: Option<&'static str>,
    /// What the flag does.
    pub action: Action,
    /// How the text of the flag's value is read before anything else looks at it.
    pub argument: Argument,
    /// Which values are accepted, and what they become.
    pub kind: Kind,
    /// Value when nobody says anything.
    pub default: Default,
    /// Environment variables that move the default (or act in its place).
    pub env: &'static [&'static str],
    /// One line, at most 79 columns. Names of settings and flags stand in backticks.
    pub summary: &'static str,
    /// The rest of what an operator should know; may be empty. Paragraphs are divided by blank lines.
    pub doc: &'static str,
    /// Whether this server acts on it yet. What is not built is accepted and named in a warning when it would matter.
    pub built: bool,
    /// The setting without which this one has no effect.
    pub part_of: Option<&'static str>,
}

/// What the entries start from: `Setting { name: "...", ..PLAIN }`.
const PLAIN: Setting = Setting {
    name: "",
    section: Section::Ours,
    short: None,
    long: &[],
    metavar: None,
    action: Action::Store,
    argument: Argument::Text,
    kind: Kind::Text,
    default: Default::None,
    env: &[],
    summary: "",
    doc: "",
    built: true,
    part_of: None,
};

/// What a flag does when it is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Takes one value; the last one wins.
    Store,
    /// Takes one value and collects all of them.
    Append,
    /// Takes none and means `True`.
    StoreTrue,
    /// Takes none and means `False`.
    StoreFalse,
    /// Takes the next word if it is no flag; alone it means this.
    Optional(&'static str),
}

/// How the command line reads the text of a flag's value; a failure here is a usage error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// As it is.
    Text,
    /// A decimal integer.
    Int,
    /// An integer with a base prefix; a leading 0 means octal.
    AutoInt,
}

/// Value of a setting that nobody set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// `None`, which no validator looks at.
    None,
    /// A boolean.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A string, before validation.
    Text(&'static str),
    /// A list of strings.
    List(&'static [&'static str]),
    /// A dict of strings.
    Map(&'static [(&'static str, &'static str)]),
    /// A hook that does nothing, with the name that `--print-config` shows for it.
    Hook(&'static str),
    /// The directory that the server was started in.
    StartDir,
    /// The user that started the server.
    EffectiveUser,
    /// Its group.
    EffectiveGroup,
    /// `gunicorn.ctl` below `$XDG_RUNTIME_DIR` or `$HOME/.gunicorn`.
    ControlSocket,
}

/// Groups of help and reference, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Which file, which app.
    ConfigFile,
    /// Listeners.
    ServerSocket,
    /// Number, kind and life of workers.
    WorkerProcesses,
    /// Limits on requests.
    Security,
    /// Reload and inspection.
    Debugging,
    /// Process, environment, proxies, request strictness.
    ServerMechanics,
    /// Logs and metrics.
    Logging,
    /// Titles.
    ProcessNaming,
    /// Python callables.
    ServerHooks,
    /// TLS.
    Ssl,
    /// HTTP/2.
    Http2,
    /// Workers for long jobs.
    DirtyArbiters,
    /// Their hooks.
    DirtyArbiterHooks,
    /// Control socket.
    Control,
    /// What Gunicorn does not have.
    Ours,
}

impl Section {
    /// Its heading; Gunicorn's own name for it.
    pub fn title(self) -> &'static str {
        match self {
            Section::ConfigFile => "Config File",
            Section::ServerSocket => "Server Socket",
            Section::WorkerProcesses => "Worker Processes",
            Section::Security => "Security",
            Section::Debugging => "Debugging",
            Section::ServerMechanics => "Server Mechanics",
            Section::Logging => "Logging",
            Section::ProcessNaming => "Process Naming",
            Section::ServerHooks => "Server Hooks",
            Section::Ssl => "SSL",
            Section::Http2 => "HTTP/2",
            Section::DirtyArbiters => "Dirty Arbiters",
            Section::DirtyArbiterHooks => "Dirty Arbiter Hooks",
            Section::Control => "Control",
            Section::Ours => "rgunicorn",
        }
    }
}

impl Setting {
    /// Not one of Gunicorn's.
    pub fn is_ours(&self) -> bool {
        self.section == Section::Ours
    }

    /// Asks for something to be shown instead of served (`--explain-config`); not a setting that a file may hold.
    pub fn is_mode(&self) -> bool {
        self.name == "explain_config"
    }

    /// May stand in a Python config file: Gunicorn's settings, and ours but those that it comes too late for. A file that
    /// happens to have a variable called `python` must go on working.
    pub fn in_python_file(&self) -> bool {
        !self.is_ours() || !self.is_mode() && self.name != "python"
    }

    /// May stand in a TOML file.
    pub fn in_toml_file(&self) -> bool {
        !self.is_mode() && self.name != "config"
    }

    /// The flags as typed, short one first.
    pub fn flags(&self) -> Vec<String> {
        let short = self.short.iter().map(|letter| format!("-{letter}"));
        short.chain(self.long.iter().map(|name| format!("--{name}"))).collect()
    }

    /// What help calls the flag's value.
    pub fn value_name(&self) -> String {
        self.metavar.map_or_else(|| self.name.to_uppercase(), str::to_owned)
    }

    /// The default as help shows it; the same on every machine.
    pub fn default_text(&self) -> String {
        let listed = |items: &[&str]| format!("[{}]", items.join(", "));
        match self.default {
            Default::None => "not set".to_owned(),
            Default::Text("") => "empty".to_owned(),
            Default::List([]) | Default::Map([]) => "none".to_owned(),
            Default::Bool(true) => "True".to_owned(),
            Default::Bool(false) => "False".to_owned(),
            Default::Int(number) if self.argument == Argument::AutoInt => format!("{number:#o}"),
            Default::Int(number) => number.to_string(),
            Default::Text(text) => text.to_owned(),
            Default::List(items) => listed(items),
            Default::Map(pairs) => listed(&pairs.iter().map(|(key, _)| *key).collect::<Vec<_>>()),
            Default::Hook(_) => "does nothing".to_owned(),
            Default::StartDir => ".".to_owned(),
            Default::EffectiveUser => "user that starts it".to_owned(),
            Default::EffectiveGroup => "group of that user".to_owned(),
            Default::ControlSocket => "$XDG_RUNTIME_DIR/gunicorn.ctl or $HOME/.gunicorn/gunicorn.ctl".to_owned(),
        }
    }

    /// What is not built yet, in words.
    pub fn missing(&self) -> Option<&'static str> {
        match self.name {
            _ if self.built => None,
            "worker_class" => Some("Only sync and gthread are available yet, and classes of your own."),
            _ => Some("Accepted, not available yet."),
        }
    }

    /// Number of positional parameters of the callable that it holds, if it holds one.
    pub fn arity(&self) -> Option<u32> {
        match self.kind {
            Kind::Callable(arity) => Some(arity),
            Kind::PostRequest => Some(4),
            _ => None,
        }
    }
}

/// Every setting, section by section.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    FILES.iter().copied().flatten()
}

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

/// The names that a Python config file can set.
pub fn python_names() -> Vec<String> {
    all().filter(|setting| setting.in_python_file()).map(|setting| setting.name.to_owned()).collect()
}

static FILES: &[&[Setting]] = &[
    socket::SETTINGS,
    workers::SETTINGS,
    security::SETTINGS,
    mechanics::SETTINGS,
    requests::SETTINGS,
    logging::SETTINGS,
    hooks::SETTINGS,
    tls::SETTINGS,
    dirty::SETTINGS,
    ours::SETTINGS,
];
