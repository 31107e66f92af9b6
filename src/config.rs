//! The settings, resolved against the machine: addresses parsed, files named, numbers in their types. The only place that
//! reads settings by name for the arbiter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rgunicorn_logs::Level;
use rgunicorn_wire::PyValue;
use rgunicorn_wire::message::Configure;

use crate::arbiter::SLOTS;
use crate::arbiter::event::Plan;
use crate::control::Place;
use crate::logging::Target;
use crate::settings::{Bind, Error, Origin, Settings};

/// How sockets are opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// For listen(2).
    pub backlog: i32,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// For the files of unix sockets.
    pub umask: u32,
    /// Who owns them: the workers' user and group.
    pub owner: Option<(u32, u32)>,
    /// Addresses are logged as https.
    pub tls: bool,
}

/// What one generation runs with.
#[derive(Debug)]
pub struct Config {
    /// All settings, for the forkserver.
    pub settings: Settings,
    /// Where to listen.
    pub binds: Vec<Bind>,
    /// How.
    pub listen: ListenOptions,
    /// Absolute path of the pidfile.
    pub pidfile: Option<PathBuf>,
    /// Where the control socket is, if there is to be one.
    pub control: Option<Place>,
    /// Run in the background.
    pub daemon: bool,
    /// A daemon keeps what standard output and error are, unless they are terminals.
    pub keep_stdio: bool,
    /// `errorlog`
    pub error_log: Target,
    /// `accesslog`
    pub access_log: Target,
    /// `loglevel`
    pub level: Level,
    /// File descriptors 1 and 2 go to the error log.
    pub capture_output: bool,
    /// Threads of a worker that serve.
    pub threads: u32,
    /// What the core needs.
    pub plan: Plan,
    /// Directory to work in (absolute).
    pub chdir: PathBuf,
}

/// Nobody runs more in one worker; the scoreboard has a record for each.
const MAX_THREADS: i64 = 4096;
/// Gives a worker that loads a big application its time, whatever `timeout` is.
const MIN_BOOT_TIMEOUT: Duration = Duration::from_secs(60);

impl Config {
    /// Checks what can be checked before anything is touched.
    pub fn resolve(settings: Settings) -> Result<Config, Error> {
        let seconds = |name: &str| Duration::from_secs(settings.int(name).max(0) as u64);
        let path = |name: &str| settings.text(name).filter(|path| !path.is_empty()).map(str::to_owned);
        // Raises what a start must refuse.
        settings.env()?;
        settings.check_start()?;
        let binds = settings.addresses()?;
        let timeout = Some(seconds("timeout")).filter(|timeout| !timeout.is_zero());
        let workers = u32::try_from(settings.int("workers")).unwrap_or(u32::MAX);
        let mut warnings: Vec<String> = settings.warnings().iter().cloned().chain(settings.unbuilt()).collect();
        if workers > SLOTS {
            warnings.push(format!("workers = {workers} is more than one server can have: there will be {SLOTS}"));
        }
        let plan = Plan {
            workers: workers.min(SLOTS),
            timeout,
            graceful_timeout: seconds("graceful_timeout"),
            reload_surge: match settings.text("reload_surge") {
                Some(_) => u32::MAX,
                None => u32::try_from(settings.int("reload_surge")).unwrap_or(1),
            },
            daemon: false,
            boot_timeout: match seconds("boot_timeout") {
                Duration::ZERO => timeout.unwrap_or_default().max(MIN_BOOT_TIMEOUT),
                limit => limit,
            },
            drain_delay: seconds("drain_delay"),
            max_rss: ["max_rss", "max_rss_jitter"].map(|name| settings.int(name).max(0) as u64),
            max_lifetime: [seconds("max_lifetime"), seconds("max_lifetime_jitter")],
            seed: 0,
            worker_class: settings.worker_class(),
            warnings,
        };
        let chdir = PathBuf::from(settings.text("chdir").unwrap_or("."));
        Ok(Config {
            binds,
            listen: ListenOptions {
                backlog: i32::try_from(settings.int("backlog")).unwrap_or(i32::MAX),
                reuse_port: settings.bool("reuse_port"),
                umask: settings.int("umask") as u32,
                owner: owner(&settings),
                tls: false,
            },
            // Relative to where the server works, like every path that it opens after the change of directory.
            pidfile: path("pidfile").map(|path| chdir.join(path)),
            control: path("control_socket")
                .filter(|_| !settings.bool("control_socket_disable"))
                .map(|path| Place { path: chdir.join(path), mode: settings.int("control_socket_mode") as u32 & 0o777 }),
            daemon: settings.bool("daemon"),
            keep_stdio: settings.bool("enable_stdio_inheritance"),
            error_log: log_target(&settings, "errorlog", &chdir),
            access_log: log_target(&settings, "accesslog", &chdir),
            level: Level::from_setting(settings.text("loglevel").unwrap_or("info")),
            capture_output: settings.bool("capture_output"),
            threads: settings.int("threads").clamp(1, MAX_THREADS) as u32,
            plan,
            chdir,
            settings,
        })
    }

    /// What the forkserver is told.
    pub fn for_forkserver(&self) -> Configure {
        Configure {
            address: self.binds.iter().map(Bind::wire).collect(),
            num_workers: self.plan.workers,
            ..for_check(&self.settings)
        }
    }

    /// Changes settings that a hook changed, and resolves anew.
    pub fn amended(mut self, changed: BTreeMap<String, PyValue>) -> Result<Config, Error> {
        for (name, value) in changed {
            self.settings.set(&name, value, Origin::Hook)?;
        }
        let (daemon, seed) = (self.plan.daemon, self.plan.seed);
        let mut config = Config::resolve(self.settings)?;
        (config.plan.daemon, config.plan.seed) = (daemon, seed);
        Ok(config)
    }
}

fn owner(settings: &Settings) -> Option<(u32, u32)> {
    let id = |name: &str| u32::try_from(settings.int(name)).ok();
    Some((id("user")?, id("group")?))
}

fn log_target(settings: &Settings, name: &str, chdir: &Path) -> Target {
    match Target::from_setting(settings.text(name)) {
        Target::File(path) => Target::File(chdir.join(path).display().to_string()),
        other => other,
    }
}

/// What a forkserver is told that only has to build `cfg` and import the app.
pub fn for_check(settings: &Settings) -> Configure {
    Configure {
        settings: settings.wire(),
        callables: settings.callables(),
        address: Vec::new(),
        app_uri: settings.paste_uri().unwrap_or(settings.app_uri()).to_owned(),
        chdir: settings.text("chdir").unwrap_or(".").to_owned(),
        worker_class: settings.worker_class(),
        proc_name: settings.proc_name().to_owned(),
        arbiter_pid: std::process::id() as i32,
        num_workers: 0,
        old_num_workers: None,
        first: true,
        replacement: false,
        has_error_log: false,
        has_access_log: false,
    }
}
