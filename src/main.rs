//! The `rgunicorn` command.

fn main() -> std::process::ExitCode {
    rgunicorn::run(std::env::args_os().collect()).into()
}
