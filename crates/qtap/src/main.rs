//! qtap: shows what every process on this host sends and receives, in plaintext, TLS included.
//!
//! This crate is the command line and the wiring between the rooms; the logic is in the other crates.
#![forbid(unsafe_code)]

mod agent;
mod check;
mod cli;
mod console;
mod control;
mod doctor;
mod keylog;
mod logging;
mod privileges;
mod run;
mod signals;
mod status;

use std::process::ExitCode;

use cli::Action;

/// Records live from one thread to another and are small: a fifth of the engine's time went to the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(code) => return code,
    };
    if let Some(code) = cli::run_offline(&invocation.action) {
        return code;
    }
    let settings = invocation.settings;
    if let Err(error) = logging::init(settings.log) {
        eprintln!("qtap: cannot set up the log: {error}");
        return ExitCode::FAILURE;
    }
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let (outcome, could_not_run) = match invocation.action {
        Action::Run => (run::run(&settings), ExitCode::FAILURE),
        Action::ReloadConfig { pid } => (control::reload(&settings.data_dir, pid), ExitCode::FAILURE),
        Action::Status(request) => (status::run(&settings.data_dir, &request), ExitCode::from(2)),
        Action::Check(request) => (check::run(&settings, &request), ExitCode::from(2)),
        Action::Doctor { json } => (doctor::run(json, settings.keep_privileges), ExitCode::from(2)),
        Action::HoldPrograms { agent, limit } => (agent::hold_programs(agent, limit), ExitCode::FAILURE),
        Action::Validate(_) | Action::Man(_) | Action::Completions(_) => {
            (Ok(ExitCode::SUCCESS), ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("qtap: {error:#}");
        could_not_run
    })
}
