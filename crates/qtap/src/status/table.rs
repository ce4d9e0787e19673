//! The report for people: one line a process, and under those with problems why, and what to do.

use std::fmt::Write as _;

use super::report::{KeyLogReport, ProcessReport, ReasonReport, Report, State};
use super::words::{duration, percent, shorten, shorten_path, size};

/// Columns of text that stay readable, on a wide terminal too.
const WIDEST: usize = 132;
/// Least columns that a remedy is broken into.
const NARROWEST: usize = 48;

/// How it is to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) colour: bool,
    /// Width of the terminal; `None` when it is none, and lines are as long as they are.
    pub(super) columns: Option<usize>,
    /// Processes without a connection are listed too.
    pub(super) all: bool,
}

impl Look {
    fn paint(self, colour: u8, text: &str) -> String {
        if self.colour && colour != 0 && !text.is_empty() {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

const HEAD: [&str; 8] = [
    "STATE",
    "PID",
    "PROCESS",
    "TLS",
    "CONNS",
    "WIRE",
    "PLAINTEXT",
    "READ",
];
/// Which columns hold numbers.
const IS_NUMBER: [bool; 8] = [false, true, false, false, true, true, true, true];

/// The whole text.
pub(super) fn render(report: &Report, look: Look) -> String {
    let mut text = String::new();
    summary(&mut text, report, look);
    let is_listed = |process: &&ProcessReport| look.all || process.state != State::Ready;
    let listed: Vec<&ProcessReport> = report.processes.iter().filter(is_listed).collect();
    if !listed.is_empty() {
        text.push('\n');
        rows(&mut text, &listed, look);
    }
    let hidden = report.processes.len() - listed.len();
    notes(&mut text, report, hidden, look);
    text
}

fn summary(text: &mut String, report: &Report, look: Look) {
    let summary = &report.summary;
    let counts = [
        (summary.unreadable, "unreadable", 31),
        (summary.partial, "partial", 33),
        (summary.unready, "not readable yet", 33),
        (summary.capturing, "read", 32),
        (summary.waiting, "waiting", 0),
        (summary.unused, "unused", 0),
        (summary.ready, "ready", 0),
        (summary.excluded, "excluded", 90),
    ];
    let parts: Vec<String> = (counts.into_iter())
        .filter(|(count, ..)| *count > 0)
        .map(|(count, name, colour)| look.paint(colour, &format!("{count} {name}")))
        .collect();
    let what = if parts.is_empty() {
        "no process with a connection or with TLS code was seen".to_owned()
    } else {
        let plural = if summary.processes == 1 { "" } else { "es" };
        format!("{} process{plural}: {}", summary.processes, parts.join(", "))
    };
    let up = duration(report.uptime_seconds);
    let _ = writeln!(
        text,
        "qtap {} (pid {}, up {up}): {what}",
        report.version, report.pid
    );
    if let Some(key_log) = &report.key_log {
        keys(text, key_log, look);
    }
    if report.level != "full" {
        let told = format!(
            "the agent is over its share of CPU or memory and looks at less (level {})",
            visible(&report.level)
        );
        let _ = writeln!(text, "{}", look.paint(33, &told));
    }
}

fn keys(text: &mut String, key_log: &KeyLogReport, look: Look) {
    let told = format!(
        "session keys are written to {}: {} lines, {} connections",
        visible(&key_log.file),
        key_log.lines,
        key_log.connections
    );
    let _ = writeln!(text, "{}", look.paint(33, &told));
    let without: Vec<String> = (key_log.connections_without.iter())
        .map(|(reason, count)| format!("{count} {}", visible(reason)))
        .collect();
    if !without.is_empty() {
        let _ = writeln!(
            text,
            "  TLS connections without keys in it: {}",
            without.join(", ")
        );
    }
    if let Some(error) = &key_log.error {
        let lost: u64 = key_log.lost.values().sum();
        let told = format!("  {lost} secrets are not in it: {}", visible(error));
        let _ = writeln!(text, "{}", look.paint(31, &told));
    }
}

fn rows(text: &mut String, processes: &[&ProcessReport], look: Look) {
    let cells: Vec<[String; 8]> = processes.iter().map(|process| row(process)).collect();
    let mut widths = HEAD.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    fit(&mut widths, look);
    let head = HEAD.map(str::to_owned);
    let _ = writeln!(text, "{}", look.paint(1, &line(&head, widths, 0, look)));
    for (process, cells) in processes.iter().zip(&cells) {
        let _ = writeln!(text, "{}", line(cells, widths, colour(process.state), look));
        details(text, process, look);
    }
}

/// Where the terminal is too narrow, paths give way, and then the names of libraries.
fn fit(widths: &mut [usize; 8], look: Look) {
    let Some(columns) = look.columns else { return };
    let gaps = 2 * (widths.len() - 1);
    let excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
    let [_, _, path, libraries, ..] = widths;
    let cut = excess.min(path.saturating_sub(10));
    *path -= cut;
    *libraries -= (excess - cut).min(libraries.saturating_sub(6));
}

fn line(cells: &[String; 8], widths: [usize; 8], state_colour: u8, look: Look) -> String {
    let mut line = String::new();
    for (at, ((cell, width), is_number)) in cells.iter().zip(widths).zip(IS_NUMBER).enumerate() {
        let cell = if at == 2 {
            shorten_path(cell, width)
        } else {
            shorten(cell, width)
        };
        let padding = " ".repeat(width - cell.chars().count());
        let shown = if at == 0 {
            look.paint(state_colour, &cell)
        } else {
            cell
        };
        if at > 0 {
            line.push_str("  ");
        }
        if is_number {
            line.push_str(&padding);
            line.push_str(&shown);
        } else {
            line.push_str(&shown);
            line.push_str(&padding);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

fn row(process: &ProcessReport) -> [String; 8] {
    let connections = &process.connections;
    let bytes = &process.bytes;
    let wire = bytes.wire_sent.saturating_add(bytes.wire_received);
    let plaintext = bytes.plaintext_sent.saturating_add(bytes.plaintext_received);
    let nothing = || "-".to_owned();
    let mut exe = if process.exe.is_empty() {
        "?".to_owned()
    } else {
        visible(&process.exe)
    };
    if !process.running {
        exe.push_str(" (ended)");
    }
    [
        state(process),
        process.pid.to_string(),
        exe,
        libraries(process),
        match (connections.open, connections.ended) {
            (0, 0) if connections.excluded > 0 => format!("({})", connections.excluded),
            (0, 0) => nothing(),
            (open, ended) => format!("{open}+{ended}"),
        },
        if wire == 0 { nothing() } else { size(wire) },
        if wire == 0 { nothing() } else { size(plaintext) },
        process.coverage.map_or_else(nothing, percent),
    ]
}

fn state(process: &ProcessReport) -> String {
    match process.state {
        State::Capturing if !process.by.is_empty() => {
            let ways: Vec<String> = process.by.iter().map(|way| visible(way)).collect();
            ways.join("+")
        }
        State::Capturing => "read".to_owned(),
        State::Unreadable => "unreadable".to_owned(),
        State::Partial => "partial".to_owned(),
        State::Unready => "unready".to_owned(),
        State::Waiting => "waiting".to_owned(),
        State::Unused => "unused".to_owned(),
        State::Ready => "ready".to_owned(),
        State::Excluded => "excluded".to_owned(),
        State::Unknown => "?".to_owned(),
    }
}

const fn colour(state: State) -> u8 {
    match state {
        State::Unreadable => 31,
        State::Partial | State::Unready => 33,
        State::Capturing => 32,
        State::Excluded => 90,
        State::Waiting | State::Unused | State::Ready | State::Unknown => 0,
    }
}

fn libraries(process: &ProcessReport) -> String {
    let mut names: Vec<String> = (process.tls.iter())
        .flat_map(|library| {
            let unknown = library.implementations.is_empty().then(|| "?".to_owned());
            library
                .implementations
                .iter()
                .map(|name| visible(name))
                .chain(unknown)
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(",")
    }
}

/// Why it is not read, and what to do.
fn details(text: &mut String, process: &ProcessReport, look: Look) {
    let (told, only_problems) = match process.state {
        State::Unreadable | State::Partial => (true, true),
        State::Unready | State::Excluded => (true, false),
        _ => (false, false),
    };
    if !told {
        return;
    }
    let shown = process
        .reasons
        .iter()
        .filter(|reason| reason.is_problem || !only_problems);
    let mut shown: Vec<&ReasonReport> = shown.collect();
    if shown.is_empty() {
        // Bytes are missing for what is otherwise only worth knowing.
        shown = process.reasons.iter().collect();
    }
    for reason in shown {
        let count = match reason.connections {
            0 => String::new(),
            1 => " (1 connection)".to_owned(),
            several => format!(" ({several} connections)"),
        };
        let cause = format!("{}: {}{count}", visible(&reason.code), visible(&reason.detail));
        wrapped(text, "    ! ", "      ", &cause, look);
        wrapped(
            text,
            "      what to do: ",
            "                  ",
            &visible(&reason.remedy),
            look,
        );
    }
    for library in &process.tls {
        if let Some(reason) = &library.reason {
            let told = format!("{}: {}", visible(&library.path), visible(reason));
            wrapped(text, "      library: ", "               ", &told, look);
        }
    }
}

/// Breaks at spaces on a terminal; elsewhere a line stays a line.
fn wrapped(text: &mut String, first: &str, further: &str, words: &str, look: Look) {
    let Some(columns) = look.columns else {
        let _ = writeln!(text, "{first}{words}");
        return;
    };
    let room = columns.min(WIDEST).saturating_sub(further.len()).max(NARROWEST);
    let mut line = String::new();
    let mut indent = first;
    for word in words.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            let _ = writeln!(text, "{indent}{line}");
            line.clear();
            indent = further;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "{indent}{line}");
}

fn notes(text: &mut String, report: &Report, hidden: usize, look: Look) {
    let mut notes = Vec::new();
    if hidden > 0 {
        let plural = if hidden == 1 {
            "process has"
        } else {
            "processes have"
        };
        notes.push(format!(
            "{hidden} more {plural} TLS code that is probed, and no connection so far: --all lists them"
        ));
    }
    let left_out = &report.left_out;
    if left_out.processes > 0 {
        notes.push(format!("{} more processes are not listed", left_out.processes));
    }
    if left_out.ended_connections > 0 {
        notes.push(format!(
            "{} connections that ended are in no line: too many processes",
            left_out.ended_connections
        ));
    }
    if left_out.silent_workers > 0 {
        notes.push(format!(
            "{} workers are too busy to answer: their connections are missing here",
            left_out.silent_workers
        ));
    }
    if let Some(problem) = &left_out.kernel {
        notes.push(format!(
            "counts of the kernel side are missing: {}",
            visible(problem)
        ));
    }
    for (title, counts) in [
        (
            "connections left out by configuration since the start",
            &left_out.filtered,
        ),
        (
            "connections that could not be followed since the start",
            &left_out.lost,
        ),
    ] {
        if !counts.is_empty() {
            let parts: Vec<String> = (counts.iter())
                .map(|(reason, count)| format!("{count} {}", visible(reason).replace('_', " ")))
                .collect();
            notes.push(format!("{title}: {}", parts.join(", ")));
        }
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        wrapped(text, "", "  ", &note, look);
    }
}

/// Paths and names come from the programs: nothing in them may act on the terminal.
fn visible(text: &str) -> String {
    crate::console::visible(text)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
