//! The arbiter's side of the control socket: who asked what, and what there is to show.

use std::collections::BTreeMap;
use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::PyValue;
use serde_json::{Map, Value, json};

use super::Arbiter;
use super::core::Board;
use super::event::Event;
use super::fleet::{Stage, Worker};
use super::wait::CONTROL;
use super::wish::{Answer, Wish};
use crate::control::{Command, Control, Request, Target, help};
use crate::sys::Pid;
use crate::sys::clock::now;

/// The settings that `show config` shows: Gunicorn's choice.
const SHOWN: [&str; 20] = [
    "bind",
    "workers",
    "worker_class",
    "threads",
    "timeout",
    "graceful_timeout",
    "keepalive",
    "max_requests",
    "max_requests_jitter",
    "worker_connections",
    "preload_app",
    "daemon",
    "pidfile",
    "proc_name",
    "reload",
    "dirty_workers",
    "dirty_apps",
    "dirty_timeout",
    "control_socket",
    "control_socket_disable",
];

/// The control socket, if there is one, and whose answers are due.
#[derive(Debug, Default)]
pub struct Desk {
    socket: Option<Control>,
    /// What could not be opened, and has been said. It is tried again at every reload, silently.
    given_up: Option<crate::control::Place>,
    /// Client and request by ticket.
    tickets: BTreeMap<u64, (u64, Value)>,
    last_ticket: u64,
    /// Workers that were told to leave, or killed.
    pub killed: u64,
}

impl Desk {
    /// When something is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.socket.as_ref()?.deadline()
    }
}

impl Arbiter {
    /// Opens, moves or closes the control socket, as the settings that serve have it. An arbiter that has not taken over
    /// leaves it to the one before it.
    pub(super) fn use_control(&mut self) {
        let wanted = self.current().and_then(|estate| estate.config.control.clone());
        let wanted = wanted.filter(|_| self.core.is_promoted());
        if self.desk.socket.as_ref().map(Control::place) == wanted.as_ref() {
            return;
        }
        self.close_control();
        let Some(place) = wanted else { return };
        match Control::open(place.clone(), CONTROL, &self.poller) {
            Ok(socket) => {
                self.log.write(Level::Info, &format!("Control socket listening at {}", place.path.display()));
                self.desk.socket = Some(socket);
                self.desk.given_up = None;
            }
            Err(_) if self.desk.given_up.as_ref() == Some(&place) => {}
            // The server serves without it: a read-only root is no fault.
            Err(why) => {
                let text = format!("No control socket: {why} (`control_socket` names another place)");
                self.log.write(Level::Info, &text);
                self.desk.given_up = Some(place);
            }
        }
    }

    /// Closes it. Who waits for an answer gets none.
    pub(super) fn close_control(&mut self) {
        if let Some(socket) = self.desk.socket.take() {
            self.poller.forget(socket.fd());
            socket.close();
            self.desk.tickets.clear();
        }
    }

    /// What is due at the control socket.
    pub(super) fn look_at_control(&mut self) {
        if let Some(socket) = &mut self.desk.socket
            && socket.deadline().is_some_and(|due| due <= now())
        {
            socket.look_at_time(&self.poller);
        }
    }

    /// Somebody connects to it, or has sent something.
    pub(super) fn hear_control(&mut self, token: u64) {
        let Some(socket) = &mut self.desk.socket else { return };
        let client = token - CONTROL;
        if client == 0 {
            return socket.accept(&self.poller);
        }
        for Request { id, command } in socket.hear(client, &self.poller) {
            match command {
                Ok(command) => self.obey(client, id, command),
                Err(why) => self.reply(client, &id, Err(why)),
            }
        }
    }

    fn obey(&mut self, client: u64, id: Value, command: Command) {
        let wish = match command {
            Command::Show(target) => return self.reply(client, &id, Ok(self.show(target))),
            Command::Help => return self.reply(client, &id, Ok(help())),
            Command::Dirty => {
                let answer = json!({"success": false, "error": "Dirty arbiter not running"});
                return self.reply(client, &id, Ok(answer));
            }
            Command::Add(count) => Wish::Add(count),
            Command::Remove(count) => Wish::Remove(count),
            Command::Kill(pid) => Wish::Kill(Pid(pid)),
            Command::Reload { wait } => Wish::Reload { wait },
            Command::Reopen => Wish::Reopen,
            Command::Shutdown { quick } => Wish::Stop { quick },
        };
        let waits = matches!(wish, Wish::Reload { wait: true });
        if waits && !self.desk.socket.as_mut().is_some_and(|socket| socket.answer_later(client, &id)) {
            return self.reply(client, &id, Err("Command failed: this connection waits for a reload already".into()));
        }
        self.desk.last_ticket += 1;
        let ticket = self.desk.last_ticket;
        self.desk.tickets.insert(ticket, (client, if waits { Value::Null } else { id }));
        self.events.push_back(Event::Wished { ticket, wish });
    }

    fn reply(&mut self, client: u64, id: &Value, answer: Result<Value, String>) {
        if let Some(socket) = &mut self.desk.socket {
            socket.answer(client, id, answer, &self.poller);
        }
    }

    /// What the core says to a wish.
    pub(super) fn answer(&mut self, ticket: u64, answer: Answer) {
        let Some((client, id)) = self.desk.tickets.remove(&ticket) else { return };
        let data = match answer {
            Answer::Resized { previous, total } if total >= previous => {
                json!({"added": total - previous, "previous": previous, "total": total})
            }
            Answer::Resized { previous, total } => {
                json!({"removed": previous - total, "previous": previous, "total": total})
            }
            Answer::Told(pid) => json!({"success": true, "killed": pid.0}),
            Answer::NoWorker(pid) => json!({"success": false, "error": format!("Worker {} not found", pid.0)}),
            Answer::Reloading => json!({"status": "reloading"}),
            Answer::Reloaded { generation } => json!({"status": "reloaded", "generation": generation}),
            Answer::Reopening => json!({"status": "reopening"}),
            Answer::Stopping { quick } => {
                json!({"status": "shutting_down", "mode": if quick { "quick" } else { "graceful" }})
            }
            Answer::Refused(why) if id.is_null() => return self.reply_late(client, Err(why)),
            Answer::Refused(why) => return self.reply(client, &id, Err(format!("Command failed: {why}"))),
        };
        if id.is_null() { self.reply_late(client, Ok(data)) } else { self.reply(client, &id, Ok(data)) }
    }

    fn reply_late(&mut self, client: u64, answer: Result<Value, String>) {
        if let Some(socket) = &mut self.desk.socket {
            socket.answer_late(client, answer, &self.poller);
        }
    }

    fn show(&self, target: Target) -> Value {
        match target {
            Target::All => {
                let workers: Vec<Value> =
                    self.core.fleet.iter().filter_map(|worker| self.show_worker(worker, true)).collect();
                json!({
                    "arbiter": {"pid": std::process::id(), "type": "arbiter", "role": "master"},
                    "web_worker_count": workers.len(),
                    "web_workers": workers,
                    "dirty_arbiter": null,
                    "dirty_workers": [],
                    "dirty_worker_count": 0,
                })
            }
            Target::Workers => {
                let workers: Vec<Value> =
                    self.core.fleet.iter().filter_map(|worker| self.show_worker(worker, false)).collect();
                json!({"count": workers.len(), "workers": workers})
            }
            Target::Dirty => json!({"enabled": false, "pid": null, "workers": [], "apps": []}),
            Target::Config => self.show_config(),
            Target::Stats => self.show_stats(),
            Target::Listeners => self.show_listeners(),
        }
    }

    /// Gunicorn's columns, and what the scoreboard knows besides.
    fn show_worker(&self, worker: &Worker, with_type: bool) -> Option<Value> {
        let pid = worker.pid?;
        let heartbeat = self.boards.heartbeat(worker.generation, worker.slot);
        let silent = heartbeat.filter(|beat| !beat.is_zero()).map(|beat| now().saturating_sub(beat).as_secs_f64());
        let state = match worker.stage {
            Stage::Ordered { .. } | Stage::Booting { .. } => "booting",
            Stage::Ready { .. } => "ready",
            Stage::Asked { .. } | Stage::Retiring { .. } => "leaving",
            Stage::Aborting { .. } | Stage::Condemned { .. } | Stage::Killed => "aborted",
        };
        let now_nanos = crate::sys::clock::nanos(now());
        let requests: Vec<Value> = self
            .boards
            .in_flight(worker.generation, worker.slot)
            .into_iter()
            .map(|request| {
                let seconds = now_nanos.saturating_sub(request.started) as f64 / 1e9;
                json!({"request": request.target, "seconds": hundredths(seconds)})
            })
            .collect();
        let mut shown = json!({
            "pid": pid.0,
            "age": worker.age,
            "booted": worker.booted,
            "aborted": matches!(worker.stage, Stage::Aborting { .. } | Stage::Condemned { .. } | Stage::Killed),
            "last_heartbeat": silent.map(hundredths),
            "state": state,
            "generation": worker.generation,
            "requests": self.boards.requests(worker.generation, worker.slot),
            "in_flight": requests,
            "rss": self.boards.resident(pid),
        });
        if with_type && let Some(fields) = shown.as_object_mut() {
            fields.insert("type".into(), json!("web"));
        }
        Some(shown)
    }

    fn show_config(&self) -> Value {
        let Some(settings) = self.current().map(|estate| &estate.config.settings) else { return json!({}) };
        let shown: Map<String, Value> =
            SHOWN.iter().map(|name| ((*name).to_owned(), as_json(settings.get(name)))).collect();
        Value::Object(shown)
    }

    fn show_stats(&self) -> Value {
        let core = &self.core;
        let living: u64 = core.fleet.iter().map(|worker| self.boards.requests(worker.generation, worker.slot)).sum();
        json!({
            "uptime": hundredths(now().saturating_sub(self.started).as_secs_f64()),
            "pid": std::process::id(),
            "workers_current": core.fleet.iter().filter(|worker| worker.pid.is_some()).count(),
            "workers_target": core.target,
            "workers_spawned": core.fleet.ordered(),
            "workers_killed": self.desk.killed,
            "reloads": core.reloads,
            "dirty_arbiter_pid": null,
            "requests": self.boards.past_requests.saturating_add(living),
            "generation": core.serving,
        })
    }

    fn show_listeners(&self) -> Value {
        let listeners: Vec<Value> = self
            .current()
            .into_iter()
            .flat_map(|estate| &estate.listeners)
            .map(|listener| json!({"address": listener.shown, "fd": listener.number(), "type": listener.family()}))
            .collect();
        json!({"count": listeners.len(), "listeners": listeners})
    }
}

fn hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

fn as_json(value: &PyValue) -> Value {
    match value {
        PyValue::None => Value::Null,
        PyValue::Bool(truth) => json!(truth),
        PyValue::Int(number) => json!(number),
        PyValue::Float(number) => json!(number),
        PyValue::Str(text) => json!(text),
        PyValue::List(items) => items.iter().map(as_json).collect(),
        PyValue::Map(pairs) => pairs.iter().map(|(name, value)| (name.clone(), as_json(value))).collect(),
        PyValue::Live { shown, .. } => json!(shown),
    }
}
