use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use qtap_engine::Transaction;
use qtap_protocol::{Outcome, Upgrade};

use super::*;
use crate::testing::{
    Memory, agent, connection, event_stream, exchange, field, transaction, websocket, without_response,
};

const COLOUR: Terminal = Terminal {
    is_terminal: true,
    colour: true,
    columns: 120,
};
const PLAIN: Terminal = Terminal {
    is_terminal: true,
    colour: false,
    columns: 120,
};

fn printed(mode: Level, format: LogFormat, terminal: Terminal, transaction: &Transaction) -> String {
    let memory = Arc::new(Memory::default());
    let context = Context {
        agent: Arc::new(agent()),
        stores: memory.stores(),
        output: Arc::clone(&memory) as _,
        terminal,
    };
    let plugin = AccessLogs::new(&Settings { mode, format }, &context, 1 << 20);
    plugin.transaction(&exchange(&connection(), transaction));
    memory.printed().concat()
}

#[test]
fn console_summary() {
    assert_eq!(
        printed(Level::Summary, LogFormat::Console, PLAIN, &transaction()),
        " ■ curl → GET https://httpbin.org/get?a=1 200 OK\n"
    );
}

#[test]
fn console_summary_in_the_colour_of_the_status() {
    let mut failed = transaction();
    failed.response.as_mut().unwrap().status = 503;
    failed.response.as_mut().unwrap().reason = Bytes::new();
    assert_eq!(
        printed(Level::Summary, LogFormat::Console, COLOUR, &failed),
        " \x1b[31m■\x1b[0m curl \x1b[31m→\x1b[0m \x1b[1mGET\x1b[0m https://httpbin.org/get?a=1 \
         \x1b[31m503 Service Unavailable\x1b[0m\n"
    );
}

#[test]
fn console_summary_says_what_is_unusual() {
    let upgraded = Transaction {
        outcome: Outcome::Upgraded,
        upgraded_to: Some(Upgrade::WebSocket),
        ..transaction()
    };
    let reset = Transaction {
        outcome: Outcome::Reset(8),
        ..transaction()
    };
    let mut incomplete = Transaction {
        outcome: Outcome::Incomplete,
        ..transaction()
    };
    incomplete.response_half.counts.gap_bytes = 1234;
    for (transaction, end) in [
        (without_response(), "— no response [canceled]\n"),
        (upgraded, "200 OK [upgraded to websocket]\n"),
        (reset, "200 OK [reset: CANCEL]\n"),
        (incomplete, "200 OK [incomplete] [1.2 kB not captured]\n"),
    ] {
        let line = printed(Level::Summary, LogFormat::Console, PLAIN, &transaction);
        assert!(line.ends_with(end), "{line}");
    }
}

#[test]
fn console_summary_counts_messages_and_events() {
    for (transaction, end) in [
        (
            websocket(),
            "101 Switching Protocols [upgraded to websocket] [↑ 1 ↓ 1 messages, closed by the client: 1000 done]\n",
        ),
        (event_stream(), "200 OK [open] [1 event]\n"),
    ] {
        let line = printed(Level::Summary, LogFormat::Console, PLAIN, &transaction);
        assert!(line.ends_with(end), "{line}");
    }
}

#[test]
fn console_full_shows_messages() {
    let box_of_socket = printed(Level::Full, LogFormat::Console, PLAIN, &websocket());
    assert!(
        box_of_socket.contains(
            "\
├───╼ MESSAGES ╾───────────────────────────────────┄
│
│  ↑ text 5 B hello
│  ↓ binary 2 B
│  ↑ close 6 B 1000 done
│  ↓ close 2 B 1000
│
"
        ),
        "{box_of_socket}"
    );
    let headers = printed(Level::Headers, LogFormat::Console, PLAIN, &websocket());
    assert!(
        !headers.contains("hello") && !headers.contains("MESSAGES"),
        "{headers}"
    );
    let json = printed(Level::Full, LogFormat::Json, PLAIN, &event_stream());
    assert!(
        json.contains(r#""captured_events":[{"time""#) && json.contains(r#""partial":true"#),
        "{json}"
    );
    let hostile = printed(Level::Full, LogFormat::Console, PLAIN, &event_stream());
    assert!(
        hostile.contains("│  ↓ tick 7 B {\"n\":1}\n│  3 not captured"),
        "{hostile}"
    );
}

#[test]
fn console_full() {
    assert_eq!(
        printed(Level::Full, LogFormat::Console, PLAIN, &transaction()),
        "\
╭──────────────────────────────────────────────────┄
│  ■ curl → GET https://httpbin.org/get?a=1 200 OK
├──────────────────────────────────────────────────┄
│
│  Process
│    • PID 4242 @ /usr/bin/curl
│
│  Network
│    → Egress (external) 10.0.0.5:50312 → 198.51.100.7:443
│    ↑ 80 B sent   ↓ 132 B received
│    • TLS 1.3, read with its secrets
│    • 87 ms to the response, 90 ms in all
│
├───╼ REQUEST http1 ╾──────────────────────────────┄
│
│  GET /get?a=1
│
│  Headers
│    • Host: httpbin.org
│    • User-Agent: curl/7.88.1
│    • Accept: */*
│
│  Body
│    (empty)
├───╼ RESPONSE 200 OK ╾────────────────────────────┄
│
│  Headers
│    • Content-Type: application/json
│    • Set-Cookie: a=1
│    • Set-Cookie: b=2
│
│  Body
{\"ok\": true}
╰──────────────────────────────────────────────────┄
"
    );
}

#[test]
fn console_details_have_no_bodies() {
    let text = printed(Level::Headers, LogFormat::Console, PLAIN, &transaction());
    assert!(!text.contains("Body"), "{text}");
    assert!(text.contains("Set-Cookie: b=2"), "{text}");
}

#[test]
fn binary_and_cut_bodies_are_described() {
    let mut image = transaction();
    image.response.as_mut().unwrap().fields = vec![field("Content-Type", "image/png")];
    image.response_half.body.data = Bytes::from_static(b"\x89PNG\x1b[31m");
    image.response_half.body.truncated = true;
    image.response_half.body.total = 4096;
    let text = printed(Level::Full, LogFormat::Console, PLAIN, &image);
    assert!(
        text.contains("│    Body is in binary format (image/png, 9 B)\n"),
        "{text}"
    );
    assert!(text.contains("│    (cut at 9 B, 4.1 kB as sent)\n"), "{text}");
}

#[test]
fn narrow_terminals_get_narrow_borders() {
    let narrow = Terminal { columns: 30, ..PLAIN };
    let text = printed(Level::Headers, LogFormat::Console, narrow, &transaction());
    assert!(text.starts_with("╭────────────────────────────┄\n"), "{text}");
}

#[test]
fn json_summary() {
    assert_eq!(
        printed(Level::Summary, LogFormat::Json, PLAIN, &transaction()),
        concat!(
            r#"{"msg":"HTTP transaction","bin":"/usr/bin/curl","direction":"egress-external","method":"GET","#,
            r#""url":"https://httpbin.org/get?a=1","status":200,"qpoint_request_id":"d3tsmvg7p3qggmf8pdj0","#,
            r#""ts":"2026-01-01T10:00:00.200000000Z","duration_ms":87,"request_id":"d3tsmvg7p3qggmf8pdj0","#,
            r#""connection_id":"d3tsmvg7p3qggmf8pdi0","peer":"198.51.100.7:443","outcome":"complete","ttfb_ms":85.0,"total_ms":90.0}"#,
            "\n",
        )
    );
}

#[test]
fn json_full() {
    assert_eq!(
        printed(Level::Full, LogFormat::Json, PLAIN, &transaction()),
        concat!(
            r#"{"msg":"HTTP transaction","meta":{"bytes_sent":"80","bytes_received":"132","pid":4242,"exe":"/usr/bin/curl"},"#,
            r#""direction":"egress-external","request":{"url":"https://httpbin.org/get?a=1","method":"GET","proto":"http1","#,
            r#""qpoint_request_id":"d3tsmvg7p3qggmf8pdj0","headers":{":method":"GET",":scheme":"https",":authority":"httpbin.org","#,
            r#"":path":"/get?a=1","Host":"httpbin.org","User-Agent":"curl/7.88.1","Accept":"*/*"},"body":""},"#,
            r#""response":{"status":200,"headers":{":status":"200","Content-Type":"application/json","Set-Cookie":["a=1","b=2"]},"#,
            r#""body":"{\"ok\": true}","body_size_total":12},"ts":"2026-01-01T10:00:00.200000000Z","duration_ms":87,"#,
            r#""request_id":"d3tsmvg7p3qggmf8pdj0","connection_id":"d3tsmvg7p3qggmf8pdi0","peer":"198.51.100.7:443","#,
            r#""outcome":"complete","ttfb_ms":85.0,"total_ms":90.0}"#,
            "\n",
        )
    );
}

#[test]
fn auto_is_console_on_a_terminal_and_json_when_piped() {
    assert!(printed(Level::Summary, LogFormat::Auto, PLAIN, &transaction()).starts_with(" ■"));
    assert!(
        printed(Level::Summary, LogFormat::Auto, Terminal::piped(), &transaction()).starts_with("{\"msg\"")
    );
}

#[test]
fn none_prints_nothing_and_wants_nothing() {
    assert_eq!(
        printed(Level::None, LogFormat::Console, PLAIN, &transaction()),
        ""
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a peer sends, the only control characters that reach the terminal are line feeds and our own colours.
    #[test]
    fn nothing_of_the_peer_controls_the_terminal(
        value in proptest::collection::vec(any::<u8>(), 0..40),
        body in proptest::collection::vec(any::<u8>(), 0..80),
        reason in "\\PC*|[\\x00-\\x1f]{0,9}",
    ) {
        let mut hostile = transaction();
        let head = hostile.response.as_mut().unwrap();
        head.fields = vec![field("X", &value), field("\x1b]0;t\x07", b"\xc2\x9b31m")];
        head.reason = Bytes::from(reason.into_bytes());
        hostile.request.target = Bytes::from(value.clone());
        hostile.request.method = Bytes::from_static(b"\x1bc");
        hostile.request_half.trailers = vec![field("T", &value)];
        hostile.response_half.body.data = Bytes::from(body);
        hostile.response_half.body.encoding = Some("\x1b[2J".into());
        hostile.response_half.body.decode_error = None;
        for mode in [Level::Summary, Level::Full] {
            let text = printed(mode, LogFormat::Console, PLAIN, &hostile);
            let raw = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
            prop_assert_eq!(raw, None, "{:?}", text);
        }
    }
}
