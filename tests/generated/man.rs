//! The manual pages: prose here, tables from the table.

use clap_mangen::Man;
use rgunicorn::cli;
use rgunicorn::settings::table::{self, Setting};
use roff::{Inline, Roff, bold, italic, roman};

/// rgunicorn(1)
pub fn rgunicorn_1() -> String {
    let man = Man::new(cli::command()).title("RGUNICORN").date("").source("rgunicorn").manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    page.extend(sections(NAME_1).render().into_bytes());
    man.render_options_section(&mut page).unwrap();
    page.extend(sections(REST_1).render().into_bytes());
    without_repeated_preamble(&String::from_utf8(page).unwrap())
}

/// rgunicorn.toml(5)
pub fn rgunicorn_toml_5() -> String {
    let mut page = Roff::new();
    page.control("TH", ["RGUNICORN.TOML", "5", "", "rgunicorn", "File Formats"]);
    let mut text = page.render();
    text.push_str(&sections(HEAD_5).render());
    let mut body = Roff::new();
    let mut section = None;
    for setting in table::all().filter(|setting| setting.in_toml_file()) {
        if section.replace(setting.section) != Some(setting.section) {
            body.control("SH", [setting.section.title().to_uppercase().as_str()]);
        }
        entry(&mut body, setting);
    }
    text.push_str(&body.render());
    text.push_str(&sections(TAIL_5).render());
    without_repeated_preamble(&text)
}

fn entry(page: &mut Roff, setting: &Setting) {
    page.control("TP", []);
    page.text(vec![bold(setting.name)]);
    page.text(marked(setting.summary));
    for paragraph in setting.doc.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        page.control("IP", []);
        page.text(marked(paragraph));
    }
    let mut facts = vec![roman(format!("Default: {}.", setting.default_text()))];
    if let Some(flag) = setting.long.first() {
        facts.push(roman(" Flag: "));
        facts.push(bold(format!("--{flag}")));
        facts.push(roman("."));
    }
    facts.extend(setting.missing().map(|missing| roman(format!(" {missing}"))));
    page.control("IP", []);
    page.text(facts);
}

/// `SECTION` lines in capitals start a section, a line `term:: text` an item, blank lines a paragraph.
fn sections(prose: &str) -> Roff {
    let mut page = Roff::new();
    for line in prose.lines().map(str::trim) {
        if line.is_empty() {
            continue;
        } else if line.chars().all(|letter| letter.is_ascii_uppercase() || letter == ' ') {
            page.control("SH", [line]);
        } else if let Some((term, text)) = line.split_once(":: ") {
            page.control("TP", []);
            page.text(marked(term));
            page.text(marked(text));
        } else {
            page.control("PP", []);
            page.text(marked(line));
        }
    }
    page
}

/// What stands in backticks is bold, in asterisks italic.
fn marked(text: &str) -> Vec<Inline> {
    let mut inlines = Vec::new();
    for (position, part) in text.split('`').enumerate() {
        if position % 2 == 1 {
            inlines.push(bold(part));
            continue;
        }
        for (position, part) in part.split("__").enumerate().filter(|(_, part)| !part.is_empty()) {
            inlines.push(if position % 2 == 1 { italic(part) } else { roman(part) });
        }
    }
    inlines
}

/// Every rendered piece starts with the same two lines; once is enough.
fn without_repeated_preamble(page: &str) -> String {
    let preamble = Roff::new().render();
    format!("{preamble}{}", page.replace(&preamble, ""))
}

const NAME_1: &str = r"
NAME
rgunicorn - Gunicorn with the server written in Rust
SYNOPSIS
`rgunicorn` [__OPTIONS__] [__APP_MODULE__]
DESCRIPTION
rgunicorn serves Python web apps. It takes Gunicorn's flags, config files, signals and hooks, and ends with its exit codes; processes, HTTP and logs are in Rust.
__APP_MODULE__ is `module:callable`. The callable may be a call of a factory with literal arguments, as in `shop:create_app('test')`; without a colon it is `application`. Other words beside it are left to the app.
Flags are read as Python's argparse reads them: long ones may be abbreviated, `-w4`, `-w 4`, `-w=4`, `--workers 4` and `--workers=4` mean the same, and of a repeated flag the last one counts, except for those that collect.
";

const REST_1: &str = r"
CONFIGURATION
A value is looked for in these places, and a later one wins: the default; the file of `--paste`; the config file; `$GUNICORN_CMD_ARGS`; the command line. `--explain-config` tells for each value where it came from.
The config file is the one that `-c` names, else the first that exists of `./rgunicorn.toml`, `./gunicorn.conf.py` and `/etc/rgunicorn.toml`. A name that ends in `.toml` is read as rgunicorn.toml(5), everything else is executed as Python.
ENVIRONMENT
`GUNICORN_CMD_ARGS`:: Flags, quoted as for a shell. An application among them is ignored.
`PORT`:: Makes 0.0.0.0:$PORT the default of `bind`.
`WEB_CONCURRENCY`:: Default of `workers`.
`FORWARDED_ALLOW_IPS`:: Default of `forwarded_allow_ips`.
`SENDFILE`:: Whether sendfile(2) is used when the setting is silent: y, yes, 1 and true mean yes.
`VIRTUAL_ENV`:: The environment whose Python runs the app when `--python` is not given and rgunicorn is not installed in one.
`XDG_RUNTIME_DIR`, `HOME`:: Where the control socket is by default.
SIGNALS
`TERM`:: Stop: requests in progress get `graceful_timeout` seconds.
`INT`, `QUIT`:: Stop at once.
`HUP`:: Reload: config, hooks and app are read anew; old workers leave when new ones are ready. If that fails, the old ones go on.
`TTIN`, `TTOU`:: One worker more, one less.
EXIT STATUS
`0`:: Stopped as asked, or the check found nothing.
`1`:: The configuration is wrong, an address cannot be listened on, or the preloaded app failed.
`2`:: The command line is wrong.
`3`:: A worker could not boot.
`4`:: The app could not be found in its module.
SEE ALSO
rgunicorn.toml(5)
";

const HEAD_5: &str = r#"
NAME
rgunicorn.toml - configuration of rgunicorn
DESCRIPTION
A TOML file with one key a setting, all at the top level:
`bind = ["127.0.0.1:8000", "unix:/run/app.sock"]`
`workers = 4`
It is read from the directory that rgunicorn is started in, else from /etc, or wherever `-c` says; see rgunicorn(1). A `gunicorn.conf.py` holds the same settings under the same names.
A key that is no setting, or a value of the wrong type, stops the start and is reported with its line. Hooks and classes are given as dotted names, which are imported from the app's Python path.
"#;

const TAIL_5: &str = r"
FILES
./rgunicorn.toml, /etc/rgunicorn.toml
SEE ALSO
rgunicorn(1)
";
