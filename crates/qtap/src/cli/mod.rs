//! The command line: one definition per flag ([`args`]) yields the parser, `--help`, the man page and the
//! completions; [`settings`] resolves what was written, on the line and in the environment, into what the agent uses.

mod args;
mod generate;
mod probes;
mod settings;
mod trace;
mod validate;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};
use clap_complete::Shell;

use args::{Args, Command};
pub(crate) use probes::{TlsProbe, TlsProbes};
pub(crate) use settings::{ConfigSource, Settings};
pub(crate) use trace::{TraceModule, TraceQuery};

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) action: Action,
    pub(crate) settings: Settings,
}

/// The sub-command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// No sub-command, or `tap`: capture until a signal.
    Run,
    /// `validate`; the path `-` is standard input.
    Validate(PathBuf),
    /// `reload-config`.
    ReloadConfig {
        /// The agent; found if not given.
        pid: Option<u32>,
    },
    /// `status`.
    Status(Status),
    /// `check`.
    Check(Check),
    /// `doctor`.
    Doctor {
        /// As JSON.
        json: bool,
    },
    /// `hold-programs`.
    HoldPrograms {
        /// The agent's pid.
        agent: u32,
        /// Longest that a program waits.
        limit: Duration,
    },
    /// `man`, with the name of a sub-command.
    Man(Option<String>),
    /// `completions`.
    Completions(Shell),
}

/// `status`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Status {
    /// As JSON.
    pub(crate) json: bool,
    /// Processes without a connection too.
    pub(crate) all: bool,
    /// Only this process.
    pub(crate) pid: Option<u32>,
    /// The agent; found if not given.
    pub(crate) agent: Option<u32>,
}

/// `check`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    pub(crate) target: CheckTarget,
    /// As JSON.
    pub(crate) json: bool,
    /// How long to look at most.
    pub(crate) timeout: Option<Duration>,
}

/// Whose connections `check` looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CheckTarget {
    /// A command to run and its arguments.
    Command {
        program: OsString,
        arguments: Vec<OsString>,
    },
    /// A running process.
    Pid(u32),
}

/// Exit code of a usage error, but for `check`, `doctor` and `status`.
const USAGE: u8 = 1;
/// Exit code of `check`, `doctor` and `status` when they could not run (0 is healthy, 1 is not).
const COULD_NOT_RUN: u8 = 2;

/// Reads the command line and the environment. What is wrong, and the answers to `--help` and `--version`, is printed;
/// the caller returns the exit code.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, ExitCode> {
    let words: Vec<OsString> = words.into_iter().collect();
    try_parse(&words).map_err(|error| {
        let code = if error.use_stderr() { usage_code(&words) } else { 0 };
        match error.print() {
            Ok(()) => ExitCode::from(code),
            // Nobody reads: a closed pipe is not a failure of `--help`, but the answer was not given either.
            Err(_) => ExitCode::from(code.max(1)),
        }
    })
}

fn try_parse(words: &[OsString]) -> Result<Invocation, clap::Error> {
    let mut command = Args::command();
    let matches = command.try_get_matches_from_mut(words)?;
    let args = Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    let settings = Settings::resolve(&args, &matches)
        .map_err(|error| command.error(clap::error::ErrorKind::ValueValidation, error))?;
    Ok(Invocation {
        action: action(args.command),
        settings,
    })
}

fn action(command: Option<Command>) -> Action {
    match command {
        None | Some(Command::Tap) => Action::Run,
        Some(Command::HoldPrograms { agent, limit }) => Action::HoldPrograms { agent, limit },
        Some(Command::Validate { file }) => Action::Validate(file),
        Some(Command::ReloadConfig { pid }) => Action::ReloadConfig { pid },
        Some(Command::Status {
            json,
            all,
            pid,
            agent,
        }) => Action::Status(Status {
            json,
            all,
            pid,
            agent,
        }),
        Some(Command::Check {
            json,
            timeout,
            pid,
            command,
        }) => {
            let mut words = command.into_iter();
            // The parser asks for exactly one of the two.
            let target = match (pid, words.next()) {
                (None, Some(program)) => CheckTarget::Command {
                    program,
                    arguments: words.collect(),
                },
                (pid, _) => CheckTarget::Pid(pid.unwrap_or_default()),
            };
            Action::Check(Check {
                target,
                json,
                timeout,
            })
        }
        Some(Command::Doctor { json }) => Action::Doctor { json },
        Some(Command::Man { command }) => Action::Man(command),
        Some(Command::Completions { shell }) => Action::Completions(shell),
    }
}

/// The first word that is a sub-command's name decides; a value that happens to be one costs only another code.
fn usage_code(words: &[OsString]) -> u8 {
    let command = words.iter().skip(1).find(|word| {
        ["--", "check", "doctor", "status"]
            .iter()
            .any(|name| *word == name)
    });
    if command.is_some_and(|word| word != "--") {
        COULD_NOT_RUN
    } else {
        USAGE
    }
}

/// Runs the sub-commands that need nothing of the agent; `None` for the others.
pub(crate) fn run_offline(action: &Action) -> Option<ExitCode> {
    match action {
        Action::Validate(path) => Some(validate::run(path)),
        Action::Man(name) => Some(generate::man(name.as_deref())),
        Action::Completions(shell) => Some(generate::completions(*shell)),
        Action::Run
        | Action::ReloadConfig { .. }
        | Action::Status(_)
        | Action::Check(_)
        | Action::HoldPrograms { .. }
        | Action::Doctor { .. } => None,
    }
}

#[cfg(test)]
mod tests;
