//! `rgunicorn ctl` (or the program under the name `rgunicornctl`): asks and tells a running server, over its control socket.
//!
//! Exit codes: 0 done, 1 not done (the reason is on standard error), 2 a wrong command line, 130 interrupted at the prompt.

mod lines;
mod show;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction};
use lines::{Line, Lines};
use serde_json::{Value, json};

use crate::control::{MAX_MESSAGE, frame};
use crate::exit::Exit;
use crate::settings::{Environment, split_words};

/// No answer but that to `reload --wait` takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends with it when it is interrupted, as a shell would say.
const INTERRUPTED: u8 = 128 + 2;

/// The arguments after the program's name, if it is this command that is meant.
pub fn arguments(all: &[OsString]) -> Option<&[OsString]> {
    let name = Path::new(all.first()?).file_name()?;
    if name == "rgunicornctl" {
        return Some(&all[1..]);
    }
    (all.get(1).map(OsString::as_os_str) == Some(OsStr::new("ctl"))).then(|| &all[2..])
}

/// The command line, also for the generated completions and the man page.
pub fn command() -> clap::Command {
    clap::Command::new("rgunicornctl")
        .about("Asks and tells a running server, over its control socket.")
        .after_help(
            "Commands: show all|workers|config|stats|listeners, worker add [N], worker remove [N], worker kill PID, \
             reload [--wait], reopen, shutdown [graceful|quick], help. Without one, commands are read from standard input; \
             at a terminal lines can be edited, and ~/.rgunicornctl_history has the earlier ones.\n\n\
             `reload --wait` ends with 0 when the new generation serves, with 1 and the reason when it was discarded.",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .arg(
            Arg::new("socket")
                .short('s')
                .long("socket")
                .value_name("PATH")
                .help("The server's control socket [default: that of a server with default settings]"),
        )
        .arg(Arg::new("command").short('c').long("command").value_name("COMMAND").help("The command, as one word"))
        .arg(Arg::new("json").short('j').long("json").action(ArgAction::SetTrue).help("Print the answer as JSON"))
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .arg(
            Arg::new("words")
                .value_name("COMMAND")
                .num_args(0..)
                .trailing_var_arg(true)
                .help("The command"),
        )
}

/// Runs it.
pub fn run(arguments: &[OsString]) -> Exit {
    let program = OsString::from("rgunicornctl");
    let matches = match command().try_get_matches_from(std::iter::once(&program).chain(arguments)) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let mut words: Vec<String> = matches.get_many::<String>("words").into_iter().flatten().cloned().collect();
    // After the command's first word flags are the command's, but these are ours wherever they stand.
    let json = matches.get_flag("json") | take(&mut words, &["-j", "--json"]);
    let one_word = matches.get_one::<String>("command").map(|command| split_words(command));
    if one_word.as_ref().is_some_and(|command| command.as_ref().is_ok_and(Vec::is_empty)) {
        let error = command().error(clap::error::ErrorKind::InvalidValue, "the command of --command is empty");
        let _ = error.print();
        return Exit::Usage;
    }
    let path = match socket_path(matches.get_one::<String>("socket")) {
        Ok(path) => path,
        Err(error) => return complain(&error),
    };
    let mut server = match Server::connect(&path) {
        Ok(server) => server,
        Err(error) => return complain(&error),
    };
    match one_word {
        Some(Err(error)) => complain(&format!("the command can't be read: {error}")),
        Some(Ok(command)) => one(&mut server, &command, json),
        None if !words.is_empty() => one(&mut server, &words, json),
        None => prompt(&mut server, &path, json),
    }
}

fn take(words: &mut Vec<String>, flags: &[&str]) -> bool {
    let before = words.len();
    words.retain(|word| !flags.contains(&word.as_str()));
    words.len() != before
}

fn socket_path(given: Option<&String>) -> Result<PathBuf, String> {
    let environment = Environment::capture().map_err(|error| format!("the working directory is gone: {error}"))?;
    Ok(match given {
        Some(path) => environment.absolute(path),
        None => environment.control_socket().into(),
    })
}

fn complain(error: &str) -> Exit {
    let _ = writeln!(io::stderr(), "Error: {error}");
    Exit::Failure
}

fn one(server: &mut Server, words: &[String], json: bool) -> Exit {
    match server.ask(words) {
        Ok(answer) => say(words, &answer, json),
        Err(error) => complain(&error.to_string()),
    }
}

/// A reader that has seen enough (`| head`) is no failure; an answer that says "no" is.
fn say(words: &[String], answer: &Value, json: bool) -> Exit {
    let text = if json { show::json(answer) } else { show::text(words, answer) };
    let _ = writeln!(io::stdout(), "{text}");
    if answer.get("success") == Some(&json!(false)) { Exit::Failure } else { Exit::Done }
}

/// Commands a line at a time. From a terminal, errors are shown and it goes on; a script ends at the first.
fn prompt(server: &mut Server, path: &Path, json: bool) -> Exit {
    let mut lines = match Lines::open() {
        Ok(lines) => lines,
        Err(error) => return complain(&error),
    };
    let interactive = lines.are_typed();
    if interactive {
        let _ = writeln!(
            io::stdout(),
            "Connected to {}\nType 'help' for available commands, 'quit' to exit.\n",
            path.display()
        );
    }
    loop {
        let line = match lines.next("rgunicorn> ") {
            Ok(Line::Text(line)) => line,
            Ok(Line::End) => return Exit::Done,
            Ok(Line::Interrupted) => return Exit::Other(INTERRUPTED),
            Err(error) => return complain(&error),
        };
        let exit = match split_words(&line) {
            Ok(words) if words.is_empty() => continue,
            Ok(words) if matches!(words[0].to_lowercase().as_str(), "quit" | "exit" | "q") => return Exit::Done,
            Ok(words) => match server.ask(&words) {
                Ok(answer) => say(&words, &answer, json),
                Err(Problem::Refused(error)) => complain(&error),
                Err(Problem::Lost(error)) => return complain(&error),
            },
            Err(error) => complain(error),
        };
        if !interactive && exit != Exit::Done {
            return exit;
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
struct Server {
    stream: UnixStream,
    last: u64,
}

/// Why there is no answer.
#[derive(Debug)]
enum Problem {
    /// The server says why not.
    Refused(String),
    /// The connection is of no use any more.
    Lost(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Problem::Refused(text) | Problem::Lost(text)) = self;
        formatter.write_str(text)
    }
}

impl Server {
    fn connect(path: &Path) -> Result<Server, String> {
        let stream = UnixStream::connect(path).map_err(|error| {
            format!("can't connect to {}: {error} (is the server up? `-s` names another socket)", path.display())
        })?;
        Ok(Server { stream, last: 0 })
    }

    /// Sends a command and waits for its answer.
    fn ask(&mut self, words: &[String]) -> Result<Value, Problem> {
        let lost = |error: io::Error| Problem::Lost(format!("the server does not answer: {error}"));
        self.last += 1;
        let command = words.first().cloned().unwrap_or_default();
        let request = json!({"id": self.last, "command": command, "args": words.get(1..).unwrap_or_default()});
        let waits = words.iter().any(|word| word == "--wait");
        self.stream.set_read_timeout(if waits { None } else { Some(PATIENCE) }).map_err(lost)?;
        self.stream.write_all(&frame(request.to_string().as_bytes())).map_err(lost)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(lost)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_MESSAGE {
            return Err(Problem::Lost("what answers is no server of ours".into()));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).map_err(lost)?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|error| Problem::Lost(format!("what answers is no server of ours: {error}")))?;
        match answer.get("status").and_then(Value::as_str) {
            Some("ok") => Ok(answer.get("data").cloned().unwrap_or(Value::Null)),
            _ => {
                Err(Problem::Refused(answer.get("error").and_then(Value::as_str).unwrap_or("Unknown error").to_owned()))
            }
        }
    }
}
