//! `--check-config`, `--print-config` and `--explain-config`: read everything, import the app, start nothing.
//!
//! A conversation with one forkserver, one answer after the other. Signals keep their default effect: the forkserver ends
//! with this process.

use std::io::Write;
use std::path::Path;

use rgunicorn_wire::{BUILD_ID, Order, Report};

use crate::config;
use crate::exit::Exit;
use crate::forkserver::{self, Forkserver, Heard};
use crate::home::Home;
use crate::settings::{FileLayer, Invocation, Mode, Settings, merge};
use crate::sys::poll::Poller;
use crate::sys::process;

/// What a forkserver that has nothing more to do may take to leave.
const LEAVE_MS: u64 = 2000;

/// Does it, and says how the process ends.
pub fn run(invocation: &Invocation, home: &Home, directory: &Path) -> Exit {
    match Conversation::begin(invocation, home, directory).and_then(|mut talk| {
        let result = talk.go(invocation);
        talk.end();
        result
    }) {
        Ok(()) => Exit::Done,
        Err(Stop { message, exit }) => {
            let _ = writeln!(std::io::stderr(), "{message}");
            exit
        }
    }
}

struct Stop {
    message: String,
    exit: Exit,
}

fn stop(message: impl std::fmt::Display) -> Stop {
    Stop { message: message.to_string(), exit: Exit::Failure }
}

struct Conversation {
    forkserver: Forkserver,
    poller: Poller,
    /// What is being done by whom, for the message if it ends there.
    doing: String,
}

impl Conversation {
    fn begin(invocation: &Invocation, home: &Home, directory: &Path) -> Result<Conversation, Stop> {
        let mut forkserver = Forkserver::start(home, directory).map_err(|error| stop(format!("Error: {error}")))?;
        let poller = Poller::new().map_err(stop)?;
        poller.watch(&forkserver, 0).map_err(stop)?;
        let source = invocation.config_source().map_err(stop)?;
        let interpreter = format!("'{}' (from {})", home.python.display(), home.python_from);
        let doing = match source.name() {
            "" => interpreter,
            name => format!("{interpreter}, which was to read {name},"),
        };
        forkserver.say(&Order::Load(forkserver::load(invocation, source, 1, false)), &[]).map_err(stop)?;
        Ok(Conversation { forkserver, poller, doing })
    }

    fn go(&mut self, invocation: &Invocation) -> Result<(), Stop> {
        let Report::Loaded { settings } = self.answer()? else { return Err(out_of_turn()) };
        let file = invocation.config_source().and_then(|source| FileLayer::read(source, settings)).map_err(stop)?;
        let settings = merge(invocation, file).map_err(stop)?;
        for warning in settings.warnings() {
            let _ = writeln!(std::io::stderr(), "Warning: {warning}");
        }
        self.forkserver.say(&Order::Check(config::for_check(&settings)), &[]).map_err(stop)?;
        let Report::Validated { shown } = self.answer()? else { return Err(out_of_turn()) };
        show(&settings, &shown);
        let Report::Checked = self.answer()? else { return Err(out_of_turn()) };
        Ok(())
    }

    /// The next report that is an answer.
    fn answer(&mut self) -> Result<Report, Stop> {
        loop {
            match self.forkserver.hear() {
                Heard::Report(Report::Hello { build, .. }) if build != BUILD_ID => {
                    return Err(stop(format!(
                        "Error: the extension module is of build {build} and this program of {BUILD_ID}: install rgunicorn again"
                    )));
                }
                Heard::Report(Report::Hello { .. }) => {}
                Heard::Report(Report::Failed(failure)) => {
                    let message = match failure.traceback.trim_end() {
                        "" => format!("Error: {}", failure.message),
                        traceback if failure.stage == "check" => {
                            format!("\nError while loading the application:\n\n{traceback}")
                        }
                        traceback => format!("Error: {}\n{traceback}", failure.message),
                    };
                    return Err(Stop { message, exit: Exit::from_code(failure.exit) });
                }
                Heard::Report(report) => return Ok(report),
                Heard::Nothing => {
                    self.poller.wait(None).map_err(stop)?;
                }
                Heard::Closed => {
                    return Err(stop(format!("Error: the Python interpreter {} ended by itself", self.doing)));
                }
            }
        }
    }

    fn end(mut self) {
        let _ = self.forkserver.say(&Order::Exit { on_exit: false }, &[]);
        process::end_child(self.forkserver.pid, LEAVE_MS);
    }
}

fn show(settings: &Settings, shown: &std::collections::BTreeMap<String, String>) {
    let text = match settings.mode() {
        Mode::PrintConfig => settings.print_config(shown),
        Mode::ExplainConfig => settings.explain_config(),
        Mode::CheckConfig | Mode::Serve => return,
    };
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn out_of_turn() -> Stop {
    stop("Error: the Python process answered out of turn")
}
