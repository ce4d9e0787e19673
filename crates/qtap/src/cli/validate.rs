//! `qtap validate FILE|-`.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use qtap_config::{LoadError, load_file, load_reader};

/// Prints `Config is valid.` on standard output, or the problems on standard error. Warnings do not fail.
pub(super) fn run(path: &Path) -> ExitCode {
    let loaded = if path == Path::new("-") {
        load_reader("<stdin>", io::stdin().lock())
    } else {
        load_file(path)
    };
    let colour = colour_on(&io::stderr());
    match loaded {
        Ok((_, warnings)) => {
            if !warnings.is_empty() {
                eprintln!("{}", warnings.render(colour));
            }
            println!("Config is valid.");
            ExitCode::SUCCESS
        }
        Err(LoadError::Invalid(problems)) => {
            eprintln!("{}", problems.render(colour));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("qtap: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether colours may be written: on a terminal, unless `NO_COLOR` is set and not empty (no-color.org).
fn colour_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
