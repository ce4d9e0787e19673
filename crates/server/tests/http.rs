//! The server over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use qtap_server::{Error, Readiness, Samples, Server, State};

#[derive(Default)]
struct Agent {
    attached: AtomicBool,
    broken: AtomicBool,
    stuck: AtomicBool,
}

impl State for Agent {
    fn readiness(&self) -> Readiness {
        Readiness::default()
            .require(self.attached.load(Ordering::Relaxed), "probes are not\nattached")
            .require(true, "never shown")
    }

    fn status(&self) -> Option<Arc<str>> {
        while self.stuck.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let is_known = self.attached.load(Ordering::Relaxed);
        is_known.then(|| Arc::from("{\"processes\":[]}\n"))
    }

    fn samples(&self, out: &mut Samples) {
        while self.stuck.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!self.broken.load(Ordering::Relaxed), "broken on purpose");
        out.counter(
            "qtap_capture_lost_total",
            "Records lost",
            &[("reason", "say \"no\"\\\n")],
            7,
        );
        out.gauge("qtap_queue_depth", "Queued", &[("queue", "data")], 2.0);
    }
}

fn start() -> (Server, Arc<Agent>) {
    let agent = Arc::new(Agent::default());
    (
        Server::start(([127, 0, 0, 1], 0).into(), agent.clone()).unwrap(),
        agent,
    )
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    stream
}

/// Status line and headers, and body; the connection must end by itself.
fn exchange(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    )
}

#[test]
fn readiness_follows_the_agent_and_says_what_is_missing() {
    let (server, agent) = start();
    let (head, body) = get(server.address(), "/readyz");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(body, "not ready\nprobes are not attached\n");
    assert_eq!(get(server.address(), "/healthz").1, "healthy\n");

    agent.attached.store(true, Ordering::Relaxed);
    let (head, body) = get(server.address(), "/readyz");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "ready\n");
    server.stop().unwrap();
}

#[test]
fn the_status_is_json_and_holds_up_nobody() {
    let (server, agent) = start();
    let (head, body) = get(server.address(), "/status");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert!(body.contains("/status"), "{body}");
    agent.attached.store(true, Ordering::Relaxed);
    agent.stuck.store(true, Ordering::Relaxed);
    let address = server.address();
    let asked = std::thread::spawn(move || get(address, "/status"));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(get(address, "/readyz").1, "ready\n");
    agent.stuck.store(false, Ordering::Relaxed);
    let (head, body) = asked.join().unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(body, "{\"processes\":[]}\n");
    server.stop().unwrap();
}

#[test]
fn metrics_are_a_valid_exposition() {
    let (server, _agent) = start();
    let (head, body) = get(server.address(), "/system/metrics");
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(
        body.contains("\nqtap_capture_lost_total{reason=\"say \\\"no\\\"\\\\\\n\"} 7\n"),
        "{body}"
    );
    assert!(
        body.contains("\nqtap_queue_depth{queue=\"data\"} 2.0\n"),
        "{body}"
    );
    assert!(body.contains("\nqtap_server_requests_total 1\n"), "{body}");
    let product = get(server.address(), "/metrics").1;
    assert!(product.contains("qtap_build_info{arch="), "{product}");
    assert!(!product.contains("qtap_capture"), "{product}");
    for text in [body, product] {
        assert!(text.ends_with("# EOF\n"));
        text.lines().for_each(assert_line_is_valid);
    }
}

/// `name{label="value",…} number`, or a comment.
fn assert_line_is_valid(line: &str) {
    if line.starts_with("# ") {
        return;
    }
    let (series, number) = line.rsplit_once(' ').unwrap();
    assert!(number.parse::<f64>().is_ok(), "{line}");
    let name = series.split('{').next().unwrap();
    assert!(
        name.chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_'),
        "{line}"
    );
    if let Some(labels) = series.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) {
        let quotes = labels
            .replace("\\\\", "")
            .replace("\\\"", "")
            .matches('"')
            .count();
        assert!(labels.ends_with("\"}") && quotes % 2 == 0, "{line}");
    }
}

#[test]
fn only_get_and_head_of_known_paths_are_answered() {
    let (server, agent) = start();
    agent.attached.store(true, Ordering::Relaxed);
    let ask = |start: &str| {
        exchange(
            server.address(),
            &format!("{start} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        )
    };
    let (head, body) = ask("HEAD /readyz");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let (head, _) = ask(&format!("{method} /readyz"));
        assert!(head.starts_with("HTTP/1.1 405 "), "{method}: {head}");
    }
    assert!(ask("GET /nothing").0.starts_with("HTTP/1.1 404 "));
    assert!(ask("GET /../../etc/passwd").0.starts_with("HTTP/1.1 404 "));
    let (head, _) = exchange(server.address(), "nonsense\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[test]
fn a_body_is_ignored_and_the_connection_ends_after_one_answer() {
    let (server, _agent) = start();
    let body = "x".repeat(1000);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{body}");
    let (head, answer) = exchange(server.address(), &request);
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(answer, "healthy\n");
}

#[test]
fn an_endless_head_is_refused() {
    let (server, _agent) = start();
    let mut stream = connect(server.address());
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let line = format!("X-Filler: {}\r\n", "y".repeat(1000));
    let refused = (0..10_000).any(|_| stream.write_all(line.as_bytes()).is_err());
    assert!(refused, "ten megabytes of head were taken");
}

#[test]
fn a_slow_client_is_cut_off_and_holds_nobody() {
    let (server, _agent) = start();
    let began = Instant::now();
    let mut slow = connect(server.address());
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    assert_eq!(get(server.address(), "/healthz").1, "healthy\n");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "others wait for the slow one"
    );

    let mut writer = slow.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() && began.elapsed() < Duration::from_secs(12) {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let mut answer = Vec::new();
    match slow.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    let elapsed = began.elapsed();
    assert!((4..9).contains(&elapsed.as_secs()), "{elapsed:?}");
    trickle.join().unwrap();
    let body = get(server.address(), "/system/metrics").1;
    assert!(body.contains("\nqtap_server_timeouts_total 1\n"), "{body}");
}

#[test]
fn connections_over_the_limit_are_refused_and_counted() {
    let (server, _agent) = start();
    let held: Vec<TcpStream> = (0..64).map(|_| connect(server.address())).collect();
    let mut extra = connect(server.address());
    // A refused connection ends at once; writing to it may fail already.
    let _ = extra.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut answer = Vec::new();
    let _ = extra.read_to_end(&mut answer);
    assert!(answer.is_empty());
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(3);
    let body = loop {
        let mut stream = connect(server.address());
        let mut text = String::new();
        let _ = stream.write_all(b"GET /system/metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        if stream.read_to_string(&mut text).is_ok() && text.contains("# EOF") {
            break text;
        }
        assert!(Instant::now() < deadline, "the server did not recover");
    };
    let line = body
        .lines()
        .find(|line| line.starts_with("qtap_server_connections_refused_total"))
        .unwrap();
    assert!(
        line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap() >= 1,
        "{line}"
    );
}

#[test]
fn a_panic_of_the_agent_costs_one_answer() {
    let (server, agent) = start();
    agent.broken.store(true, Ordering::Relaxed);
    let mut stream = connect(server.address());
    stream
        .write_all(b"GET /system/metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    agent.broken.store(false, Ordering::Relaxed);
    assert!(
        get(server.address(), "/system/metrics")
            .1
            .contains("\nqtap_server_failures_total 1\n")
    );
}

#[test]
fn stopping_does_not_wait_for_connected_clients() {
    let (server, _agent) = start();
    let address = server.address();
    let idle = connect(address);
    let mut halfway = connect(address);
    halfway.write_all(b"GET /healthz HT").unwrap();
    assert_eq!(get(address, "/healthz").1, "healthy\n");
    let began = Instant::now();
    server.stop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(TcpStream::connect(address).is_err(), "still listening");
    drop((idle, halfway));
}

#[test]
fn an_agent_that_blocks_the_server_does_not_block_its_stop() {
    let (server, agent) = start();
    agent.stuck.store(true, Ordering::Relaxed);
    let mut stream = connect(server.address());
    stream
        .write_all(b"GET /system/metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    let result = server.stop();
    agent.stuck.store(false, Ordering::Relaxed);
    assert!(matches!(result, Err(Error::Stop(_))));
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
}

#[test]
fn an_address_in_use_is_named_with_a_remedy() {
    let (server, _agent) = start();
    let error = Server::start(server.address(), Arc::new(Agent::default())).unwrap_err();
    assert!(matches!(error, Error::Bind { .. }));
    let text = error.to_string();
    assert!(text.contains(&server.address().to_string()), "{text}");
    assert!(text.contains("choose another port"), "{text}");
}
