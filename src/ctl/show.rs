//! Answers, for people.

use serde_json::{Map, Value};

/// As JSON, for scripts.
pub fn json(answer: &Value) -> String {
    serde_json::to_string_pretty(answer).unwrap_or_default()
}

/// As tables and lines. What has no form of its own is shown as JSON.
pub fn text(words: &[String], answer: &Value) -> String {
    let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (words.as_slice(), answer) {
        (["show", "workers"], _) => {
            let workers = list(answer, "workers");
            if workers.is_empty() {
                "No workers running".into()
            } else {
                format!("{}\n\nTotal: {} workers", table(workers), workers.len())
            }
        }
        (["show", "all"], _) => {
            let workers = list(answer, "web_workers");
            let arbiter = answer.pointer("/arbiter/pid").map(ToString::to_string).unwrap_or_default();
            let shown = if workers.is_empty() { "(none)".into() } else { table(workers) };
            format!("ARBITER (master)\n  PID: {arbiter}\n\nWEB WORKERS ({})\n{}", workers.len(), indented(&shown))
        }
        (["show", "dirty"], _) => "Dirty arbiter not running".into(),
        (["show", "listeners"], _) => {
            let rows = list(answer, "listeners")
                .iter()
                .map(|listener| [plain(&listener["address"]), plain(&listener["type"]), plain(&listener["fd"])]);
            columns(["ADDRESS", "TYPE", "FD"], rows)
        }
        (["show", "stats"], Value::Object(stats)) => stats_text(stats),
        (["show", "config"], Value::Object(settings)) => {
            let lines: Vec<String> = settings.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect();
            lines.join("\n")
        }
        (["help"], _) => {
            let commands = answer.get("commands").and_then(Value::as_object);
            let rows = commands.into_iter().flatten().map(|(name, text)| [name.clone(), plain(text)]);
            format!("Available commands:\n\n{}", indented(&columns(["COMMAND", ""], rows)))
        }
        _ => json(answer),
    }
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn table(workers: &[Value]) -> String {
    let rows = workers.iter().map(|worker| {
        let mut state = plain(&worker["state"]);
        if let Some(first) = list(worker, "in_flight").first() {
            state = format!("{} ({} s)", plain(&first["request"]), plain(&first["seconds"]));
        }
        let memory = worker["rss"].as_u64().map_or("?".into(), |bytes| format!("{} MB", bytes >> 20));
        let beat = worker["last_heartbeat"].as_f64().map_or("n/a".into(), |seconds| format!("{seconds}s ago"));
        let booted = if worker["booted"] == Value::Bool(true) { "yes" } else { "no" };
        [
            plain(&worker["pid"]),
            plain(&worker["age"]),
            booted.into(),
            beat,
            plain(&worker["generation"]),
            plain(&worker["requests"]),
            memory,
            state,
        ]
    });
    columns(["PID", "AGE", "BOOTED", "LAST_BEAT", "GENERATION", "REQUESTS", "MEMORY", "STATE"], rows)
}

fn stats_text(stats: &Map<String, Value>) -> String {
    let uptime = stats.get("uptime").and_then(Value::as_f64).unwrap_or_default() as u64;
    let (hours, minutes, seconds) = (uptime / 3600, uptime / 60 % 60, uptime % 60);
    let uptime = match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds}s"),
        _ => format!("{hours}h {minutes}m {seconds}s"),
    };
    let value = |name: &str| stats.get(name).map(plain).unwrap_or_default();
    let rows = [
        ("Uptime", uptime),
        ("PID", value("pid")),
        ("Workers current", value("workers_current")),
        ("Workers target", value("workers_target")),
        ("Workers spawned", value("workers_spawned")),
        ("Workers killed", value("workers_killed")),
        ("Reloads", value("reloads")),
        ("Generation", value("generation")),
        ("Requests", value("requests")),
    ];
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{:<18}{value}", format!("{name}:"))).collect();
    lines.join("\n")
}

fn columns<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([heads[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let lines: Vec<String> = std::iter::once(line(heads.to_vec()))
        .chain(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())))
        .collect();
    lines.join("\n")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// What came from the server is shown, not obeyed: no control character reaches the terminal.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::String(text) => text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
