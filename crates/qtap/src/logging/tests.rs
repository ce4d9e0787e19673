use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged while `body` runs.
fn logged(encoding: Encoding, colour: bool, caller: bool, body: impl FnOnce()) -> String {
    let sink = Sink::default();
    let writer = {
        let sink = sink.clone();
        move || sink.clone()
    };
    let layer = LogLayer {
        encoding,
        colour,
        caller,
        writer,
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(targets(LogLevel::Debug)));
    tracing::subscriber::with_default(subscriber, body);
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn json_has_level_time_message_and_fields() {
    let line = logged(Encoding::Json, false, false, || {
        tracing::info!(target: "qtap_engine", pid = 42, exe = "/usr/bin/curl", ok = true, "socket open event");
    });
    let start = r#"{"level":"info","ts":""#;
    assert!(line.starts_with(start) && line.ends_with("}\n"), "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["message"], "socket open event");
    assert_eq!(value["pid"], 42);
    assert_eq!(value["exe"], "/usr/bin/curl");
    assert_eq!(value["ok"], true);
    assert!(value.get("caller").is_none());
    let time = value["ts"].as_str().unwrap();
    assert!(time.parse::<Timestamp>().is_ok() && time.len() == 27, "{time}");
}

#[test]
fn dots_nest_and_lists_are_lists() {
    let line = logged(Encoding::Json, false, false, || {
        let protocols = vec!["h2".to_owned(), "http/1.1".to_owned()];
        tracing::debug!(
            target: "qtap",
            cookie = 7u64,
            msg.SNI = "example.com",
            msg.Version = 772,
            msg.ALPNs = ?protocols,
            "processing tls handshake event"
        );
    });
    let value: Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({"SNI": "example.com", "Version": 772, "ALPNs": ["h2", "http/1.1"]});
    assert_eq!(value["msg"], expected);
}

#[test]
fn fields_do_not_replace_the_fixed_keys() {
    let line = logged(Encoding::Json, false, true, || {
        tracing::warn!(target: "qtap", level = 5, ts = "x", caller = "me", "shadowed");
    });
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (value["level"].as_str(), &value["level_"]),
        (Some("warn"), &Value::from(5))
    );
    assert_eq!(
        (value["message"].as_str(), &value["ts_"]),
        (Some("shadowed"), &Value::from("x"))
    );
    assert!(value["caller"].as_str().unwrap().contains("tests.rs:"), "{line}");
    assert_eq!(value["caller_"], "me");
}

#[test]
fn spans_lend_their_fields_to_events() {
    let line = logged(Encoding::Json, false, false, || {
        let span =
            tracing::info_span!(target: "qtap", "connection", conn_id = 9, domain = tracing::field::Empty);
        span.record("domain", "example.com");
        span.in_scope(|| tracing::info!(target: "qtap", bytes = 3, "read"));
    });
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&value["conn_id"], &value["domain"]),
        (&Value::from(9), &Value::from("example.com"))
    );
    assert_eq!(value["bytes"], 3);
}

#[test]
fn console_lines_are_columns_separated_by_tabs() {
    let line = logged(Encoding::Console, false, false, || {
        tracing::error!(target: "qtap", path = "/x", "cannot attach");
    });
    let columns: Vec<&str> = line.trim_end_matches('\n').split('\t').collect();
    assert_eq!(columns[1..], ["ERROR", "cannot attach", r#"{"path":"/x"}"#]);
    let time = columns[0];
    let shape: String = time
        .chars()
        .map(|char| if char.is_ascii_digit() { '0' } else { char })
        .collect();
    assert_eq!(shape, "0000-00-00 00:00:00.000");
}

#[test]
fn console_without_fields_ends_with_the_message_and_shows_the_caller_if_asked() {
    let line = logged(
        Encoding::Console,
        false,
        true,
        || tracing::info!(target: "qtap", "ready"),
    );
    let columns: Vec<&str> = line.trim_end_matches('\n').split('\t').collect();
    assert_eq!((columns.len(), columns[1], columns[3]), (4, "INFO", "ready"));
    assert!(columns[2].contains("tests.rs:"), "{line}");
}

#[test]
fn colour_is_in_time_and_level_only() {
    let line = logged(
        Encoding::Console,
        true,
        false,
        || tracing::warn!(target: "qtap", a = 1, "careful"),
    );
    let columns: Vec<&str> = line.split('\t').collect();
    assert!(columns[0].starts_with("\u{1b}[2m") && columns[0].ends_with("\u{1b}[0m"));
    assert_eq!(
        columns[1..],
        ["\u{1b}[33mWARN\u{1b}[0m", "careful", "{\"a\":1}\n"]
    );
}

#[test]
fn control_characters_of_traffic_do_not_reach_the_terminal() {
    let line = logged(Encoding::Console, false, false, || {
        tracing::info!(target: "qtap", host = "a\u{1b}[2Jb\u{9b}c", "seen {}", "x\u{1b}[31m\ny");
    });
    assert_eq!(line.matches('\n').count(), 1);
    assert!(!line.contains(['\u{1b}', '\u{9b}']), "{line:?}");
}

#[test]
fn libraries_are_quiet_below_info() {
    let line = logged(Encoding::Json, false, false, || {
        tracing::debug!(target: "hyper::proto", "library detail");
        tracing::trace!(target: "qtap_engine", "too fine");
        tracing::debug!(target: "qtap_engine::connection", "ours");
        tracing::info!(target: "hyper::server", "library news");
    });
    let messages: Vec<String> = line
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["message"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(messages, ["ours", "library news"]);
}

#[test]
fn errors_show_their_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot load the object")]
    struct Outer(#[source] io::Error);
    let line = logged(Encoding::Json, false, false, || {
        let error = Outer(io::Error::other("permission denied"));
        tracing::error!(target: "qtap", error = &error as &(dyn std::error::Error + 'static), "start failed");
    });
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["error"], "cannot load the object: permission denied");
}

#[test]
fn a_line_that_cannot_be_written_is_counted() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let before = lost_lines();
    let layer = LogLayer {
        encoding: Encoding::Json,
        colour: false,
        caller: false,
        writer: || Closed,
    };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!("gone")
    });
    assert_eq!(lost_lines(), before + 1);
}
