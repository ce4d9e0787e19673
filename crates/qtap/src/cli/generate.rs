//! Manual pages and completions, from the same definitions as the parser.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Args;

/// Prints the manual page of the agent or of a sub-command.
pub(super) fn man(name: Option<&str>) -> ExitCode {
    let mut command = Args::command();
    command.build();
    let command = match name {
        None => Some(command),
        Some(name) => command
            .get_subcommands()
            .find(|sub| sub.get_name() == name)
            .cloned(),
    };
    let Some(command) = command else {
        eprintln!("qtap: there is no sub-command `{}`", name.unwrap_or_default());
        return ExitCode::FAILURE;
    };
    let mut page = Vec::new();
    written(
        clap_mangen::Man::new(command)
            .render(&mut page)
            .and_then(|()| io::stdout().write_all(&page)),
    )
}

/// Prints the completions of a shell.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "qtap", &mut script);
    written(io::stdout().write_all(&script))
}

fn written(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough, as in `qtap man | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("qtap: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}
