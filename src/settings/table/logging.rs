//! Logs, metrics and process titles.

use super::{Action, Default, PLAIN, Section, Setting};
use crate::settings::kind::Kind;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "accesslog",
        section: Section::Logging,
        long: &["access-logfile"],
        metavar: Some("FILE"),
        summary: "Write the access log to this file; `-` is stdout. Without it there is none.",
        ..PLAIN
    },
    Setting {
        name: "disable_redirect_access_to_syslog",
        section: Section::Logging,
        long: &["disable-redirect-access-to-syslog"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Keep the access log out of syslog.",
        built: false,
        part_of: Some("syslog"),
        ..PLAIN
    },
    Setting {
        name: "access_log_format",
        section: Section::Logging,
        long: &["access-logformat"],
        metavar: Some("STRING"),
        default: Default::Text(r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#),
        summary: "What a line of the access log holds.",
        doc: "Each of these is replaced, and `-` stands for what is not there:\n\n\
              h: address of the client. l: always a dash. u: user of basic authentication. t: time. r: request line. \
              m: method. U: path. q: query string. H: protocol. s: status. B: bytes of the body. b: the same, or a \
              dash. f: referrer. a: user agent. T: seconds the request took. M: milliseconds. D: microseconds. \
              L: seconds with a fraction. p: pid.\n\n\
              {name}i is a request header field, {name}o a response header field, {name}e an entry of the environ.",
        ..PLAIN
    },
    Setting {
        name: "errorlog",
        section: Section::Logging,
        long: &["error-logfile", "log-file"],
        metavar: Some("FILE"),
        default: Default::Text("-"),
        summary: "Write the error log to this file; `-` is stderr.",
        ..PLAIN
    },
    Setting {
        name: "loglevel",
        section: Section::Logging,
        long: &["log-level"],
        metavar: Some("LEVEL"),
        default: Default::Text("info"),
        summary: "Least severe level that the error log holds.",
        doc: "`debug`, `info`, `warning`, `error` or `critical`, in any case. Another word means `info`.",
        ..PLAIN
    },
    Setting {
        name: "capture_output",
        section: Section::Logging,
        long: &["capture-output"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Send what the app prints to the file of `errorlog`.",
        ..PLAIN
    },
    Setting {
        name: "logger_class",
        section: Section::Logging,
        long: &["logger-class"],
        metavar: Some("STRING"),
        kind: Kind::Class,
        default: Default::Text("gunicorn.glogging.Logger"),
        summary: "Python class that writes the logs, as a dotted name.",
        doc: "A Python file may give the class itself.",
        ..PLAIN
    },
    Setting {
        name: "logconfig",
        section: Section::Logging,
        long: &["log-config"],
        metavar: Some("FILE"),
        summary: "Set Python's logging up from this INI file (`logging.config.fileConfig`).",
        doc: "`logconfig_dict` and `logconfig_json` win over it.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "logconfig_dict",
        section: Section::Logging,
        kind: Kind::Dict,
        default: Default::Map(&[]),
        summary: "Set Python's logging up from this dict (`logging.config.dictConfig`).",
        doc: "Its top-level keys replace those of the built-in configuration. An empty one means none.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "logconfig_json",
        section: Section::Logging,
        long: &["log-config-json"],
        metavar: Some("FILE"),
        summary: "Read the dict for Python's logging from this JSON file.",
        doc: "`logconfig_dict` wins over it.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "syslog_addr",
        section: Section::Logging,
        long: &["log-syslog-to"],
        metavar: Some("SYSLOG_ADDR"),
        default: Default::Text("udp://localhost:514"),
        summary: "Where syslog listens.",
        doc: "`unix://PATH`, which may end in `#stream` or `#dgram`, `udp://HOST:PORT` or `tcp://HOST:PORT`.",
        built: false,
        part_of: Some("syslog"),
        ..PLAIN
    },
    Setting {
        name: "syslog",
        section: Section::Logging,
        long: &["log-syslog"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Send logs to syslog too.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "syslog_prefix",
        section: Section::Logging,
        long: &["log-syslog-prefix"],
        metavar: Some("SYSLOG_PREFIX"),
        summary: "Name of the program in syslog, in place of the process name.",
        built: false,
        part_of: Some("syslog"),
        ..PLAIN
    },
    Setting {
        name: "syslog_facility",
        section: Section::Logging,
        long: &["log-syslog-facility"],
        metavar: Some("SYSLOG_FACILITY"),
        default: Default::Text("user"),
        summary: "Facility of syslog messages.",
        built: false,
        part_of: Some("syslog"),
        ..PLAIN
    },
    Setting {
        name: "enable_stdio_inheritance",
        section: Section::Logging,
        short: Some('R'),
        long: &["enable-stdio-inheritance"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "With `daemon`, keep stdout and stderr if they are no terminals.",
        ..PLAIN
    },
    Setting {
        name: "statsd_host",
        section: Section::Logging,
        long: &["statsd-host"],
        metavar: Some("STATSD_ADDR"),
        kind: Kind::StatsdAddress,
        summary: "Send metrics to StatsD at `HOST:PORT` or `unix://PATH`.",
        doc: "The port is 8125 when none is given.",
        built: false,
        ..PLAIN
    },
    Setting {
        name: "dogstatsd_tags",
        section: Section::Logging,
        long: &["dogstatsd-tags"],
        metavar: Some("DOGSTATSD_TAGS"),
        default: Default::Text(""),
        summary: "Tags to add to every metric, divided by commas.",
        built: false,
        part_of: Some("statsd_host"),
        ..PLAIN
    },
    Setting {
        name: "statsd_prefix",
        section: Section::Logging,
        long: &["statsd-prefix"],
        metavar: Some("STATSD_PREFIX"),
        default: Default::Text(""),
        summary: "What names of metrics start with.",
        built: false,
        part_of: Some("statsd_host"),
        ..PLAIN
    },
    Setting {
        name: "enable_backlog_metric",
        section: Section::Logging,
        long: &["enable-backlog-metric"],
        action: Action::StoreTrue,
        kind: Kind::Bool,
        default: Default::Bool(false),
        summary: "Send how many connections wait to be accepted as a metric.",
        built: false,
        part_of: Some("statsd_host"),
        ..PLAIN
    },
    Setting {
        name: "proc_name",
        section: Section::ProcessNaming,
        short: Some('n'),
        long: &["name"],
        metavar: Some("STRING"),
        summary: "Name that stands in the titles of the server's processes.",
        doc: "Without it, that of `default_proc_name`.",
        ..PLAIN
    },
    Setting {
        name: "default_proc_name",
        section: Section::ProcessNaming,
        default: Default::Text("gunicorn"),
        summary: "Name for process titles when `proc_name` is not set.",
        doc: "An application on the command line, or the file of `--paste`, sets it.",
        ..PLAIN
    },
];
