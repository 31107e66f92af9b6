//! `conf/rgunicorn.toml`: every setting, commented out.

use super::text::{has_plain_default, toml_value, wrapped};
use crate::settings::table::{self, Setting};

/// The example file.
pub fn example_toml() -> String {
    let mut text = wrapped(HEAD, "# ", 79);
    let mut section = None;
    for setting in table::all().filter(|setting| setting.in_toml_file()) {
        if section.replace(setting.section) != Some(setting.section) {
            text.push_str(&format!(
                "\n\n# {0}\n# {1}\n",
                setting.section.title(),
                "-".repeat(setting.section.title().len())
            ));
        }
        text.push('\n');
        text.push_str(&entry(setting));
    }
    text
}

fn entry(setting: &Setting) -> String {
    let mut about = setting.summary.to_owned();
    if !has_plain_default(setting) {
        about.push_str(&format!(" Default: {}.", setting.default_text()));
    }
    if let Some(missing) = setting.missing() {
        about.push_str(&format!(" {missing}"));
    }
    format!("{}#{} = {}\n", wrapped(&about, "# ", 79), setting.name, toml_value(setting))
}

const HEAD: &str = "Configuration of rgunicorn, with every setting and its default. To change one, take the # away from \
in front of its name. The names are Gunicorn's.\n\nThe file is read from ./rgunicorn.toml, else from \
/etc/rgunicorn.toml, or wherever -c says. A name or a type that is wrong stops the start, with its line. What \
$GUNICORN_CMD_ARGS and the command line say wins over this file.\n\n`rgunicorn --check-config` tries it out; \
`rgunicorn --explain-config` tells where each value comes from. More about each setting: rgunicorn.toml(5).";
