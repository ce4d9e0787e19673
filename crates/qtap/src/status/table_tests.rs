//! How the report looks, word for word.

use std::collections::BTreeMap;

use super::super::report::{
    ByteCounts, Connections, KeyLogReport, LeftOut, ProcessReport, ReasonReport, Report, State, Summary,
    TlsReport,
};
use super::*;

const PIPED: Look = Look {
    colour: false,
    columns: None,
    all: false,
};

fn reason(code: &str, detail: &str, connections: u64, is_problem: bool) -> ReasonReport {
    ReasonReport {
        code: code.to_owned(),
        detail: detail.to_owned(),
        remedy: format!("cure {code}"),
        connections,
        is_problem,
    }
}

fn library(name: &str, path: &str, reason: Option<&str>) -> TlsReport {
    TlsReport {
        implementations: vec![name.to_owned()],
        path: path.to_owned(),
        secrets: reason.is_none(),
        calls: false,
        reason: reason.map(str::to_owned),
    }
}

fn process(pid: u32, exe: &str, state: State) -> ProcessReport {
    ProcessReport {
        pid,
        start_ns: 1,
        running: true,
        exe: exe.to_owned(),
        state,
        ..ProcessReport::default()
    }
}

/// One process of each state.
fn processes() -> Vec<ProcessReport> {
    vec![
        ProcessReport {
            connections: Connections {
                open: 1,
                ended: 2,
                ..Connections::default()
            },
            bytes: ByteCounts {
                wire_sent: 1000,
                wire_received: 4000,
                unread: 4200,
                ..ByteCounts::default()
            },
            coverage: Some(0.16),
            tls: vec![library("gotls", "/opt/app/server", Some("Go is not read yet"))],
            reasons: vec![
                reason("tls_library_unsupported", "Go is not read yet", 3, true),
                reason("joined_midstream", "older than the capture", 1, false),
            ],
            ..process(4242, "/opt/app/server", State::Unreadable)
        },
        ProcessReport {
            running: false,
            by: vec!["secrets".to_owned()],
            connections: Connections {
                ended: 40,
                ..Connections::default()
            },
            bytes: ByteCounts {
                wire_received: 300 << 20,
                plaintext_received: 290 << 20,
                unread: 1 << 20,
                ..ByteCounts::default()
            },
            coverage: Some(0.996),
            tls: vec![library("openssl", "/lib/libssl.so.3", None)],
            reasons: vec![reason("ring_full", "1048576 bytes", 1, true)],
            ..process(7, "/usr/sbin/nginx", State::Partial)
        },
        ProcessReport {
            tls: vec![library("rustls", "/usr/bin/tool", Some("stripped"))],
            reasons: vec![reason("tls_library_stripped", "stripped", 0, true)],
            ..process(8, "/usr/bin/tool", State::Unready)
        },
        ProcessReport {
            by: vec!["secrets".to_owned(), "plaintext".to_owned()],
            connections: Connections {
                open: 2,
                ended: 1,
                ..Connections::default()
            },
            bytes: ByteCounts {
                wire_sent: 600,
                wire_received: 500,
                plaintext_sent: 300,
                plaintext_received: 200,
                ..ByteCounts::default()
            },
            coverage: Some(1.0),
            tls: vec![
                library("openssl", "/lib/libssl.so.3", None),
                library("gnutls", "/lib/libgnutls.so.30", None),
            ],
            reasons: vec![reason("joined_midstream", "older than the capture", 1, false)],
            ..process(9, "/usr/bin/curl", State::Capturing)
        },
        ProcessReport {
            connections: Connections {
                open: 1,
                unused: 1,
                ..Connections::default()
            },
            ..process(10, "", State::Unused)
        },
        ProcessReport {
            tls: vec![library("openssl", "/lib/libssl.so.3", None)],
            ..process(11, "/usr/sbin/sshd", State::Ready)
        },
        ProcessReport {
            connections: Connections {
                excluded: 3,
                ..Connections::default()
            },
            reasons: vec![reason(
                "filtered_process",
                "a rule of tap.filters leaves it out",
                3,
                false,
            )],
            ..process(12, "/usr/bin/rsync", State::Excluded)
        },
    ]
}

fn report() -> Report {
    let processes = processes();
    let mut summary = Summary::default();
    processes.iter().for_each(|process| summary.count(process.state));
    Report {
        version: "1.2.3".to_owned(),
        pid: 99,
        uptime_seconds: 300,
        level: "full".to_owned(),
        summary,
        left_out: LeftOut {
            filtered: BTreeMap::from([("loopback".to_owned(), 12), ("self".to_owned(), 1)]),
            ..LeftOut::default()
        },
        processes,
        ..Report::default()
    }
}

#[test]
fn problems_have_their_cause_and_cure_under_them() {
    let expected = "\
qtap 1.2.3 (pid 99, up 5 min): 7 processes: 1 unreadable, 1 partial, 1 not readable yet, 1 read, 1 unused, 1 ready, 1 excluded

STATE               PID  PROCESS                  TLS             CONNS    WIRE  PLAINTEXT    READ
unreadable         4242  /opt/app/server          gotls             1+2  4.9 kB        0 B  16.0 %
    ! tls_library_unsupported: Go is not read yet (3 connections)
      what to do: cure tls_library_unsupported
      library: /opt/app/server: Go is not read yet
partial               7  /usr/sbin/nginx (ended)  openssl          0+40  300 MB     290 MB  99.6 %
    ! ring_full: 1048576 bytes (1 connection)
      what to do: cure ring_full
unready               8  /usr/bin/tool            rustls              -       -          -       -
    ! tls_library_stripped: stripped
      what to do: cure tls_library_stripped
      library: /usr/bin/tool: stripped
secrets+plaintext     9  /usr/bin/curl            gnutls,openssl    2+1  1.1 kB      500 B   100 %
unused               10  ?                        -                 1+0       -          -       -
excluded             12  /usr/bin/rsync           -                 (3)       -          -       -
    ! filtered_process: a rule of tap.filters leaves it out (3 connections)
      what to do: cure filtered_process

1 more process has TLS code that is probed, and no connection so far: --all lists them
connections left out by configuration since the start: 12 loopback, 1 self
";
    let text = render(&report(), PIPED);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn all_lists_what_is_ready_too() {
    let text = render(&report(), Look { all: true, ..PIPED });
    assert!(
        text.contains("\nready                11  /usr/sbin/sshd"),
        "{text}"
    );
    assert!(!text.contains("--all"), "{text}");
}

#[test]
fn without_a_process_it_says_so() {
    let report = Report {
        version: "1".to_owned(),
        level: "full".to_owned(),
        ..Report::default()
    };
    let expected = "qtap 1 (pid 0, up 0 s): no process with a connection or with TLS code was seen\n";
    assert_eq!(render(&report, PIPED), expected);
}

#[test]
fn colour_comes_only_where_it_is_asked_for_and_changes_no_width() {
    let plain = render(&report(), PIPED);
    assert!(!plain.contains('\x1b'));
    let coloured = render(
        &report(),
        Look {
            colour: true,
            ..PIPED
        },
    );
    assert!(coloured.contains("\x1b[31munreadable\x1b[0m   "), "{coloured}");
    let escape = regex::Regex::new("\x1b\\[[0-9]+m").unwrap();
    assert_eq!(escape.replace_all(&coloured, ""), plain);
}

#[test]
fn a_narrow_terminal_keeps_lines_within_its_width() {
    let mut report = report();
    report.processes[0].exe = "/a/very/long/path/to/some/program/that/does/not/fit/in/a/column".to_owned();
    report.processes[0].reasons[0].remedy = "do this and that, and then ".repeat(8);
    for columns in [100, 80] {
        let look = Look {
            columns: Some(columns),
            ..PIPED
        };
        let text = render(&report, look);
        let rows = text.lines().skip(2);
        for line in rows {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
        assert!(
            text.contains("…") && text.contains("not/fit/in/a/column") == (columns > 80),
            "{text}"
        );
    }
}

#[test]
fn names_from_programs_do_not_act_on_the_terminal() {
    let mut report = report();
    report.processes[0].exe = "/tmp/\x1b[2Jx".to_owned();
    report.processes[0].reasons[0].detail = "a\rb\x07".to_owned();
    let text = render(&report, PIPED);
    assert!(!text.contains(['\x1b', '\r', '\x07']), "{text}");
    assert!(text.contains("/tmp/\\u{1b}[2Jx"), "{text}");
}

#[test]
fn a_key_log_and_its_losses_are_said_at_the_top() {
    let mut report = report();
    report.key_log = Some(KeyLogReport {
        file: "/root/keys".to_owned(),
        lines: 8,
        connections: 2,
        connections_without: BTreeMap::from([("joined_midstream".to_owned(), 3)]),
        lost: BTreeMap::from([("disk_full".to_owned(), 4)]),
        error: Some("No space left on device".to_owned()),
    });
    report.level = "headers".to_owned();
    let text = render(&report, PIPED);
    let head: Vec<&str> = text.lines().skip(1).take(4).collect();
    assert_eq!(
        head,
        [
            "session keys are written to /root/keys: 8 lines, 2 connections",
            "  TLS connections without keys in it: 3 joined_midstream",
            "  4 secrets are not in it: No space left on device",
            "the agent is over its share of CPU or memory and looks at less (level headers)",
        ]
    );
}

#[test]
fn what_is_missing_from_the_report_is_said() {
    let mut report = report();
    report.left_out = LeftOut {
        processes: 5,
        ended_connections: 6,
        silent_workers: 1,
        kernel: Some("cannot read".to_owned()),
        filtered: BTreeMap::new(),
        lost: BTreeMap::from([("connections_table_full".to_owned(), 2)]),
    };
    let text = render(&report, PIPED);
    for said in [
        "5 more processes are not listed",
        "6 connections that ended are in no line",
        "1 workers are too busy",
        "missing: cannot read",
        "since the start: 2 connections table full",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}
