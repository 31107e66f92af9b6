//! The command line as clap sees it: for help, man page and completions. It is parsed by
//! [`settings::argv`](crate::settings::argv), since only argparse's own ways are compatible.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};

use crate::settings::kind::Kind;
use crate::settings::table::{self, Action, Setting};

/// The first line of help and of every usage error, after `usage: `.
pub const USAGE: &str = "rgunicorn [OPTIONS] [APP_MODULE]";

/// `--help`
pub fn help() -> String {
    command().render_help().to_string()
}

/// `--version`
pub fn version() -> String {
    format!(
        "rgunicorn (version {}, Gunicorn {} compatible)\n",
        rgunicorn_wire::VERSION,
        rgunicorn_wire::GUNICORN_VERSION
    )
}

/// Every flag, by section.
pub fn command() -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Print this help and exit");
    let version = Arg::new("version").short('v').long("version").action(ArgAction::Version);
    let application = Arg::new("app_module")
        .value_name("APP_MODULE")
        .num_args(0..)
        .help("The application: MODULE, MODULE:CALLABLE or MODULE:FACTORY(ARGUMENTS)");
    Command::new("rgunicorn")
        .about("Gunicorn with the server written in Rust")
        .override_usage(USAGE)
        .help_template("usage: {usage}\n\n{about}\n\n{all-args}{after-help}")
        .term_width(80)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .version(rgunicorn_wire::VERSION)
        .args([application, help, version.help("Print the version and exit")])
        .args(table::all().filter(|setting| !setting.long.is_empty()).map(arg))
        .after_help(
            "Values can also stand in a config file (-c) and in $GUNICORN_CMD_ARGS; \
             the command line wins. See rgunicorn(1) and rgunicorn.toml(5).\n",
        )
}

fn arg(setting: &'static Setting) -> Arg {
    let (long, aliases) = setting.long.split_first().map_or((&setting.name, [].as_slice()), |split| split);
    let arg = Arg::new(setting.name)
        .long(*long)
        .visible_aliases(aliases.iter().copied())
        .help(format!("{} [{}]", plain(setting.summary), setting.default_text()))
        .long_help(long_help(setting))
        .help_heading(setting.section.title())
        .action(match setting.action {
            Action::StoreTrue => ArgAction::SetTrue,
            Action::StoreFalse => ArgAction::SetFalse,
            Action::Append => ArgAction::Append,
            Action::Store | Action::Optional(_) => ArgAction::Set,
        });
    let arg = setting.short.map_or(arg.clone(), |letter| arg.short(letter));
    let arg = if let Action::Optional(_) = setting.action { arg.num_args(0..=1) } else { arg };
    if matches!(setting.action, Action::StoreTrue | Action::StoreFalse) {
        return arg;
    }
    let arg = match words(setting) {
        Some(words) => arg.value_parser(PossibleValuesParser::new(words)).hide_possible_values(true),
        None => arg.value_hint(hint(setting)),
    };
    arg.value_name(setting.value_name())
}

/// For the man page: the rest of the text, too.
fn long_help(setting: &Setting) -> String {
    let default = format!("Default: {}.", setting.default_text());
    let paragraphs = [plain(setting.summary), plain(setting.doc), default];
    paragraphs.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// Without the marks around names.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// The values that a shell can offer.
fn words(setting: &Setting) -> Option<&'static [&'static str]> {
    match (setting.kind, setting.name) {
        (Kind::Choice { values, .. } | Kind::ExactChoice(values), _) => Some(values),
        (Kind::ProxyProtocol, _) => Some(&["off", "v1", "v2", "auto"]),
        (Kind::Http2Cleartext, _) => Some(&["off", "prior-knowledge", "upgrade", "both"]),
        (_, "loglevel") => Some(&["debug", "info", "warning", "error", "critical"]),
        (_, "protocol") => Some(&["http", "uwsgi"]),
        _ => None,
    }
}

fn hint(setting: &Setting) -> ValueHint {
    match (setting.kind, setting.metavar) {
        (Kind::User, _) => ValueHint::Username,
        (Kind::Directory, _) | (_, Some("DIR")) => ValueHint::DirPath,
        (_, Some("FILE" | "FILES" | "CONFIG" | "PATH" | "INTERPRETER")) => ValueHint::FilePath,
        _ => ValueHint::Other,
    }
}
