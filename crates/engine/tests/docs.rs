//! `docs/health.md` says what the agent says.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use qtap_engine::{CheckName, CheckState, HealthStatus, ReasonCode};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/health.md");
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Lines of the section `## heading`, up to the next one.
fn section<'p>(page: &'p str, heading: &str) -> Vec<&'p str> {
    let lines: Vec<&str> = page
        .lines()
        .skip_while(|line| *line != format!("## {heading}"))
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .collect();
    assert!(!lines.is_empty(), "docs/health.md has no section {heading}");
    lines
}

/// Rows of the tables of a section whose first cell is code, as cells.
fn rows<'p>(page: &'p str, heading: &str) -> Vec<Vec<&'p str>> {
    section(page, heading)
        .into_iter()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

fn codes<'p>(rows: &[Vec<&'p str>]) -> Vec<&'p str> {
    rows.iter().map(|row| row[0].trim_matches('`')).collect()
}

#[test]
fn every_reason_stands_there_with_its_remedy_word_for_word() {
    let page = page();
    let rows = rows(&page, "Reasons");
    let known: Vec<&str> = ReasonCode::ALL.iter().map(|code| code.code()).collect();
    assert_eq!(codes(&rows), known, "every code once, in order, and no other");
    for (code, row) in ReasonCode::ALL.iter().zip(&rows) {
        let [_, check, cause, remedy] = row[..] else {
            panic!("{}: four cells are expected: {row:?}", code.code());
        };
        assert_eq!(remedy, code.remedy(), "remedy of {}", code.code());
        assert!(!cause.is_empty(), "cause of {}", code.code());
        let is_check = CheckName::ALL.iter().any(|name| name.name() == check);
        assert!(
            is_check || check == "—",
            "{}: `{check}` is not a check",
            code.code()
        );
    }
}

#[test]
fn every_check_stands_there_in_order() {
    let page = page();
    let known: Vec<&str> = CheckName::ALL.iter().map(|name| name.name()).collect();
    assert_eq!(codes(&rows(&page, "The eight checks")), known);
    let text = section(&page, "The eight checks").join("\n");
    for state in [
        CheckState::Ok,
        CheckState::Missing,
        CheckState::Partial,
        CheckState::NotApplicable,
    ] {
        assert!(text.contains(&format!("`{}`", state.name())), "{}", state.name());
    }
}

#[test]
fn every_status_stands_there() {
    let statuses = [
        HealthStatus::Healthy,
        HealthStatus::Degraded,
        HealthStatus::Blind,
        HealthStatus::Ignored,
    ];
    assert_eq!(codes(&rows(&page(), "Status")), statuses.map(HealthStatus::name));
}
