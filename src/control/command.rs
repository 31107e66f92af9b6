//! What can be asked and told over the control socket: Gunicorn's commands, and `reload --wait`.

use serde_json::{Map, Value, json};

use crate::settings::{python_int, split_words};

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// What there is.
    Show(Target),
    /// So many workers more.
    Add(u32),
    /// So many fewer.
    Remove(u32),
    /// One worker leaves, in order, and is replaced.
    Kill(i32),
    /// About workers that this server has none of.
    /// Dirty workers.
    Dirty,
    /// HUP; whether the answer comes when it is over.
    Reload {
        /// It does.
        wait: bool,
    },
    /// USR1.
    Reopen,
    /// TERM or INT.
    Shutdown {
        /// INT.
        quick: bool,
    },
    /// Which commands there are.
    Help,
}

/// What `show` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The arbiter and every worker.
    All,
    /// Every worker.
    Workers,
    Dirty,
    /// Settings.
    Config,
    /// Counts.
    Stats,
    /// Addresses.
    Listeners,
}

/// The commands, and what each does.
const COMMANDS: [(&str, &str); 16] = [
    ("show all", "The arbiter and every worker"),
    ("show workers", "Every worker: what it does, what it has done"),
    ("show dirty", "Dirty workers (this server has none)"),
    ("show config", "The settings that are asked for most"),
    ("show stats", "Counts since the start"),
    ("show listeners", "Where the server listens"),
    ("worker add [N]", "N workers more (1)"),
    ("worker remove [N]", "N workers fewer (1); one stays"),
    ("worker kill PID", "Has this worker finish, and replaces it"),
    ("dirty add [N]", "More dirty workers (this server has none)"),
    ("dirty remove [N]", "Fewer dirty workers (this server has none)"),
    ("reload", "Starts a new generation, as HUP does"),
    ("reload --wait", "The same; the answer comes when it serves, or was discarded"),
    ("reopen", "Opens the logs again, as USR1 does"),
    ("shutdown [graceful|quick]", "Stops the server, as TERM or INT do"),
    ("help", "This list"),
];

/// A request, as far as it could be read.
#[derive(Debug)]
pub struct Request {
    /// Which the answer has to repeat.
    pub id: Value,
    /// What is to be done, or what is wrong with it.
    pub command: Result<Command, String>,
}

impl Request {
    /// Reads `{"id": 1, "command": "worker add", "args": [2]}`.
    pub fn read(message: &[u8]) -> Request {
        match serde_json::from_slice(message) {
            Ok(Value::Object(request)) => Request {
                id: request.get("id").cloned().unwrap_or(json!(0)),
                command: words(&request).and_then(|words| Command::read(&words)),
            },
            Ok(_) => refused("A request is an object with `id`, `command` and `args`".into()),
            Err(error) => refused(format!("Invalid JSON: {error}")),
        }
    }
}

fn refused(why: String) -> Request {
    Request { id: json!(0), command: Err(why) }
}

fn words(request: &Map<String, Value>) -> Result<Vec<String>, String> {
    let command = match request.get("command") {
        Some(Value::String(command)) => command.trim(),
        None => "",
        Some(_) => return Err("Invalid argument: `command` is a text".into()),
    };
    if command.is_empty() {
        return Err("Empty command".into());
    }
    let mut words = split_words(command).map_err(|why| format!("Invalid argument: {why}"))?;
    match request.get("args") {
        None | Some(Value::Null) => {}
        Some(Value::Array(args)) => words.extend(args.iter().map(|arg| match arg {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })),
        Some(_) => return Err("Invalid argument: `args` is a list".into()),
    }
    Ok(words)
}

impl Command {
    /// Reads a command from its words; the error is what the client is told.
    pub fn read(words: &[String]) -> Result<Command, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((first, rest)) = words.split_first() else { return Err("Empty command".into()) };
        let command = match first.to_lowercase().as_str() {
            "show" => show(rest),
            "worker" => worker(rest),
            "dirty" => match rest.first().map(|word| word.to_lowercase()).as_deref() {
                Some("add" | "remove") => Ok(Command::Dirty),
                None => Err("Missing dirty action (add|remove)".into()),
                Some(other) => Err(format!("Unknown dirty action: {other}")),
            },
            "reload" => match rest {
                [] => Ok(Command::Reload { wait: false }),
                ["--wait"] => Ok(Command::Reload { wait: true }),
                [other, ..] => Err(format!("Unknown argument: {other} (there is `--wait`)")),
            },
            "reopen" => Ok(Command::Reopen),
            "shutdown" => match rest.first().copied() {
                None | Some("graceful") => Ok(Command::Shutdown { quick: false }),
                Some("quick") => Ok(Command::Shutdown { quick: true }),
                Some(other) => Err(format!("Unknown shutdown mode: {other} (graceful|quick)")),
            },
            "help" => Ok(Command::Help),
            other => Err(format!("Unknown command: {other}")),
        };
        command.map_err(|why| format!("Invalid argument: {why}"))
    }
}

fn show(words: &[&str]) -> Result<Command, String> {
    let Some(target) = words.first() else {
        return Err("Missing show target (all|workers|dirty|config|stats|listeners)".into());
    };
    Ok(Command::Show(match target.to_lowercase().as_str() {
        "all" => Target::All,
        "workers" => Target::Workers,
        "dirty" => Target::Dirty,
        "config" => Target::Config,
        "stats" => Target::Stats,
        "listeners" => Target::Listeners,
        other => return Err(format!("Unknown show target: {other}")),
    }))
}

fn worker(words: &[&str]) -> Result<Command, String> {
    let Some((action, rest)) = words.split_first() else {
        return Err("Missing worker action (add|remove|kill)".into());
    };
    let number = |word: &str| python_int(word, 10).ok_or(format!("{word:?} is no number"));
    let count = || match rest.first() {
        None => Ok(1),
        Some(word) => number(word).map(|count| u32::try_from(count.max(1)).unwrap_or(u32::MAX)),
    };
    match action.to_lowercase().as_str() {
        "add" => count().map(Command::Add),
        "remove" => count().map(Command::Remove),
        "kill" => match rest.first() {
            None => Err("Missing PID for worker kill".into()),
            Some(word) => Ok(Command::Kill(i32::try_from(number(word)?).unwrap_or(0))),
        },
        other => Err(format!("Unknown worker action: {other}")),
    }
}

/// The answer to `help`.
pub fn help() -> Value {
    let commands: Map<String, Value> = COMMANDS.iter().map(|(name, text)| ((*name).into(), json!(text))).collect();
    json!({ "commands": commands })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(request: Value) -> Result<Command, String> {
        Request::read(request.to_string().as_bytes()).command
    }

    #[test]
    fn commands_are_gunicorns() {
        let command = |text: &str| read(json!({"id": 1, "command": text}));
        assert_eq!(command("show all"), Ok(Command::Show(Target::All)));
        assert_eq!(command("SHOW Workers"), Ok(Command::Show(Target::Workers)));
        assert_eq!(command("worker add"), Ok(Command::Add(1)));
        assert_eq!(command("worker add -3"), Ok(Command::Add(1)));
        assert_eq!(command("worker remove 99999999999"), Ok(Command::Remove(u32::MAX)));
        assert_eq!(command("worker kill 17"), Ok(Command::Kill(17)));
        assert_eq!(command("dirty add 2"), Ok(Command::Dirty));
        assert_eq!(command("reload"), Ok(Command::Reload { wait: false }));
        assert_eq!(command("reload --wait"), Ok(Command::Reload { wait: true }));
        assert_eq!(command("shutdown quick"), Ok(Command::Shutdown { quick: true }));
        assert_eq!(read(json!({"command": "worker add", "args": [2]})), Ok(Command::Add(2)));
        assert_eq!(read(json!({"command": "worker", "args": ["add", "2"]})), Ok(Command::Add(2)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |request: Value| read(request).unwrap_err();
        assert_eq!(error(json!({"command": " "})), "Empty command");
        assert_eq!(error(json!({"id": 3})), "Empty command");
        assert_eq!(error(json!({"command": "'"})), "Invalid argument: No closing quotation");
        assert_eq!(error(json!({"command": "fly"})), "Invalid argument: Unknown command: fly");
        assert_eq!(error(json!({"command": "worker add x"})), "Invalid argument: \"x\" is no number");
        assert_eq!(
            error(json!({"command": "shutdown now"})),
            "Invalid argument: Unknown shutdown mode: now (graceful|quick)"
        );
        assert_eq!(error(json!({"command": 7})), "Invalid argument: `command` is a text");
        assert_eq!(error(json!({"command": "reload", "args": 7})), "Invalid argument: `args` is a list");
        assert!(error(json!([1])).starts_with("A request is an object"));
        assert!(Request::read(b"\xff").command.unwrap_err().starts_with("Invalid JSON"));
        assert!(Request::read(&[b'['; 60_000]).command.unwrap_err().starts_with("Invalid JSON"));
    }
}
