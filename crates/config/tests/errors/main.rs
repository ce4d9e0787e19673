//! Every kind of error, with its exact place.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a helper of tests may fail as tests do

mod names;
mod not_yet;
mod values;

use qtap_config::{Config, Problem, Severity};

/// Text, kind, line, column, path, a part of the message, the name suggested.
type Case = (
    &'static str,
    Problem,
    usize,
    usize,
    &'static str,
    &'static str,
    Option<&'static str>,
);

const V: &str = "version: 2\n";

fn errors(text: &str) -> Vec<(Problem, usize, usize, String, String, Option<String>)> {
    match Config::parse("qtap.yaml", text) {
        Ok(_) => Vec::new(),
        Err(found) => found
            .iter()
            .filter(|item| item.severity == Severity::Error)
            .map(|item| {
                let item = item.clone();
                (
                    item.problem,
                    item.line,
                    item.column,
                    item.path,
                    item.message,
                    item.suggestion,
                )
            })
            .collect(),
    }
}

fn check(cases: &[Case]) {
    for (text, problem, line, column, path, message, suggestion) in cases {
        let text = format!("{V}{text}");
        let found = errors(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        let (found_problem, found_line, found_column, found_path, found_message, found_suggestion) =
            &found[0];
        assert_eq!(
            (*found_problem, *found_line, *found_column),
            (*problem, *line, *column),
            "{text}\n{found:#?}"
        );
        assert_eq!(found_path, path, "{text}");
        assert!(found_message.contains(message), "{text}\n{found_message}");
        assert_eq!(found_suggestion.as_deref(), *suggestion, "{text}");
    }
}

#[test]
fn all_problems_are_collected_in_the_order_of_the_file() {
    let text = "version: 3\nserivces: {}\nstacks:\n  a:\n    plugins:\n      - type: nope\n      - type: llm\ntap:\n  \
                direction: up\n  http: {stack: b}\n";
    let found = Config::parse("a", text).unwrap_err();
    let places: Vec<(usize, Problem)> = found.iter().map(|item| (item.line, item.problem)).collect();
    let expected = [
        (1, Problem::Version),
        (2, Problem::UnknownKey),
        (6, Problem::UnknownName),
        (7, Problem::NotAvailable),
        (9, Problem::UnknownName),
        (10, Problem::UnknownName),
    ];
    assert_eq!(places, expected, "{found}");
}

/// surface.md §2.14, word for word.
const SAMPLE: &str = include_str!("../sample.yaml");

#[test]
fn the_sample_of_the_specification_is_refused_only_for_what_is_not_there_yet() {
    let found = Config::parse("sample.yaml", SAMPLE).unwrap_err();
    let messages: Vec<(usize, Problem, &str)> = found
        .iter()
        .map(|item| (item.line, item.problem, item.message.as_str()))
        .collect();
    let expected = [
        (
            4,
            Problem::NotAvailable,
            "event store `otel` is not available yet",
        ),
        (6, Problem::NotAvailable, "object store `s3` is not available yet"),
        (17, Problem::NotAvailable, "rulekit macros are not available yet"),
        (
            21,
            Problem::NotAvailable,
            "plugin `http_metrics` is not available yet",
        ),
        (28, Problem::NotAvailable, "rules are not available yet"),
    ];
    assert_eq!(messages, expected, "{found}");
}
