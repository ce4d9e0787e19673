//! `qtap status`: asks the running agent and prints what it says.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use qtap_plugin::Terminal;

use super::report::{Report, State, Summary};
use super::table::{Look, render};
use crate::cli::Status;
use crate::control;

/// Asks and prints. Exit code 0: everything that passes is read; 1: of some process it is not; 2 is the caller's, for errors.
///
/// # Errors
/// When there is no agent, or several and none was named, or it has not seen the process asked for.
pub(crate) fn run(data_dir: &Path, request: &Status) -> anyhow::Result<ExitCode> {
    let answer = control::ask(data_dir, request.agent, control::STATUS)?;
    if let Some(error) = answer.strip_prefix("error: ") {
        bail!("the agent says: {}", error.trim_end());
    }
    let mut report: Report =
        serde_json::from_str(&answer).context("the agent's answer is not a status report")?;
    if let Some(pid) = request.pid {
        keep_only(&mut report, pid)?;
    }
    let text = if request.json {
        // As it came, unless a part was asked for: a field that this version does not know is kept.
        match request.pid {
            None => answer,
            Some(_) => serde_json::to_string(&report)? + "\n",
        }
    } else {
        let terminal = Terminal::detect();
        let look = Look {
            colour: terminal.colour,
            columns: terminal.is_terminal.then_some(usize::from(terminal.columns)),
            all: request.all || request.pid.is_some(),
        };
        render(&report, look)
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever read has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot print the report")?,
    }
    Ok(ExitCode::from(u8::from(!report.is_all_read())))
}

fn keep_only(report: &mut Report, pid: u32) -> anyhow::Result<()> {
    report.processes.retain(|process| process.pid == pid);
    if report.processes.is_empty() {
        bail!("the agent has seen no connection and no TLS code of process {pid}");
    }
    report.summary = Summary::default();
    let states: Vec<State> = report.processes.iter().map(|process| process.state).collect();
    states.into_iter().for_each(|state| report.summary.count(state));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::report::ProcessReport;
    use super::*;

    fn report() -> Report {
        let process = |pid, state| ProcessReport {
            pid,
            state,
            ..ProcessReport::default()
        };
        let mut report = Report {
            processes: vec![process(1, State::Unreadable), process(2, State::Capturing)],
            ..Report::default()
        };
        report.summary.count(State::Unreadable);
        report.summary.count(State::Capturing);
        report
    }

    #[test]
    fn one_process_decides_alone_when_it_is_asked_for() {
        let mut all = report();
        assert!(!all.is_all_read());
        keep_only(&mut all, 2).unwrap();
        assert!(all.is_all_read());
        assert_eq!((all.processes.len(), all.summary.processes), (1, 1));
        let error = keep_only(&mut report(), 3).unwrap_err().to_string();
        assert!(error.contains("process 3"), "{error}");
    }

    #[test]
    fn a_report_of_another_version_is_read_as_far_as_it_goes() {
        let text = r#"{"version":"9","processes":[{"pid":7,"state":"floating","new":[1]}],"more":{}}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!(report.processes[0].pid, 7);
        assert_eq!(report.processes[0].state, State::Unknown);
        let written = serde_json::to_string(&super::tests::report()).unwrap();
        assert_eq!(
            serde_json::from_str::<Report>(&written).unwrap(),
            super::tests::report()
        );
    }
}
