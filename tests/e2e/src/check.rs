//! `qtap check`.

use std::process::Command;

use serde_json::Value;

use crate::{Finished, qtap_command, run};

/// What `qtap check` said.
#[derive(Debug)]
pub struct Verdict {
    /// 0 healthy, 1 degraded or blind, 2 could not run.
    pub code: Option<i32>,
    /// Standard output.
    pub text: String,
    /// Its raw end.
    pub finished: Finished,
}

impl Verdict {
    /// Standard output of `--json`: a document, or lines of them.
    #[must_use]
    pub fn json(&self) -> Vec<Value> {
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&self.text)
            .into_iter()
            .collect();
        values.unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }
}

/// Runs `qtap check` with these options on a command.
#[must_use]
pub fn check(options: &[&str], target: &Command) -> Verdict {
    let mut command = qtap_command();
    command
        .arg("check")
        .args(options)
        .arg("--")
        .arg(target.get_program())
        .args(target.get_args());
    for (name, value) in target.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let finished = run(&mut command);
    Verdict {
        code: finished.status.code(),
        text: finished.text(),
        finished,
    }
}
