//! Records of payload that are lost at random, between real clients and servers.
//!
//! "With 0.1 %, 1 % and 10 % of data events dropped at random: no wrong pairing, no crash, bounded memory, recovery within 5 s, sums
//! exact", for every protocol, plain and inside of TLS, at both ends.
//!
//! The kernel side loses the records as when its ring is full (`--drop-data-records`, for tests only), at a rate that a test sets
//! while the agent runs. Questions and answers are numbered (`programs/numbered.py`), so that an answer that is shown with the question
//! of another is found.

#[path = "loss/seen.rs"]
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qtap_e2e::databases::{Broker, SECRET, broker, mariadb, postgres, redis};
use qtap_e2e::{
    Account, Agent, Capture, Certificates, Config, Events, KernelMaps, Metrics, Nginx, Program, Rest, Side,
    Transport, WebServer, assert_nothing_in_flight, assert_sums, free_port, outline, programs, scratch,
    until, venv, web, wheels_python,
};
use seen::{Reader, Seen};
use serde_json::Value;

/// Lost of a million records.
const RATES: [u32; 3] = [1_000, 10_000, 100_000];
/// Questions that are asked when nothing is lost any more, and then again after [`Kind::recovery`], when all are to be whole.
const AFTER: u64 = 20;
/// Resident memory that the agent may take, with a budget of 64 MiB for payload.
const MEMORY: u64 = 160 << 20;
const ANSWER: Duration = Duration::from_secs(40);

/// A protocol, and who speaks it.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Questions at each of [`RATES`].
    questions: [u64; 3],
    /// Most questions of one `ask`.
    at_once: u64,
    read: Reader,
    /// Time without loss after which everything is whole again; the agent is to need 5 s at most. Databases take a second of quiet for
    /// a proof that nothing is outstanding.
    recovery: Duration,
}

/// A client of `numbered.py`.
struct Client {
    program: Program,
    port: u16,
    transport: Transport,
    next: u64,
    /// What was asked on each connection, in order.
    asked: Vec<Talk>,
}

/// What was asked on one connection.
#[derive(Clone, Debug, Default)]
struct Talk {
    all: Vec<Range<u64>>,
    /// Those among them that must be whole.
    whole: Vec<Range<u64>>,
}

impl Client {
    fn start(kind: Kind, port: u16, transport: Transport, authority: &Path) -> Self {
        let mut command = Command::new(interpreter(kind.name));
        command
            .arg("-u")
            .arg(programs().join("numbered.py"))
            .args([kind.name, &port.to_string(), "--password", SECRET])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        if transport == Transport::Tls {
            command.arg("--ca").arg(authority);
        }
        Self {
            program: Program::start(&mut command),
            port,
            transport,
            next: 0,
            asked: vec![Talk::default()],
        }
    }

    fn expect(&mut self, word: &str) {
        assert_eq!(self.program.line(ANSWER), word, "{}", self.program.errors());
    }

    /// Asks so many questions and waits for the answers, which are right.
    fn ask(&mut self, count: u64, at_once: u64, is_whole: bool) {
        let end = self.next + count;
        while self.next < end {
            let now = self.next..end.min(self.next + at_once);
            self.program
                .say(&format!("ask {} {}", now.start, now.end - now.start));
            self.expect("asked");
            self.next = now.end;
            let talk = self.asked.last_mut().expect("a connection");
            talk.all.push(now.clone());
            if is_whole {
                talk.whole.push(now);
            }
        }
    }

    fn close(&mut self) {
        self.program.say("close");
        self.expect("closed");
        self.asked.push(Talk::default());
    }
}

fn interpreter(name: &str) -> PathBuf {
    match name {
        "http1" | "events" => PathBuf::from("/usr/bin/python3"),
        "http2" | "grpc" => wheels_python(),
        "websocket" => PathBuf::from(web("ws_client.py").get_program()),
        _ => venv().join("bin/python"),
    }
}

/// An agent that shows all that it may and can lose records.
fn agent(tls_source: &'static str) -> Agent {
    let config = Config {
        tls_source,
        tap: ["redis", "postgres", "mysql", "kafka"]
            .map(|name| format!("  {name}: {{stack: e2e}}\n"))
            .concat()
            + &Config::without_this_test(),
        limits: "body: 1mb, data_ring: 64mb, memory: 64mb".to_owned(),
        ..Config::default()
    };
    let plugins =
        "      - type: report_usage\n      - type: access_logs\n        config: {mode: full, format: json}\n";
    let config = config
        .to_string()
        .replace("      - type: report_usage\n", plugins);
    Agent::start_with(&config, &["--drop-data-records", "0"])
}

/// The three rates one after the other, each on a connection of its own for each of `ports` (plain, TLS).
fn lossy(kind: Kind, ports: &[(u16, Transport)], authority: &Path, tls_source: &'static str) {
    let start = |(port, transport): &(u16, Transport)| Client::start(kind, *port, *transport, authority);
    let mut clients: Vec<Client> = ports.iter().map(start).collect();
    clients.iter_mut().for_each(|client| client.expect("ready"));
    let mut agent = agent(tls_source);
    let _ = agent.wait_for_log(&["TEST ONLY"], Duration::from_secs(5));
    for client in clients
        .iter_mut()
        .filter(|client| client.transport == Transport::Tls)
    {
        wait_for_probes(&agent, client);
    }
    let maps = KernelMaps::of(&agent);
    let lost = |agent: &Agent| {
        Metrics::of(agent).kernel_lost("data_records_lost_ring_full")
            + Metrics::of(agent).kernel_lost("tls_call_bytes_lost_ring_full")
    };
    for (rate, questions) in RATES.into_iter().zip(kind.questions) {
        for client in &mut clients {
            client.ask(AFTER, kind.at_once, true);
        }
        let before = lost(&agent);
        maps.set(".data.drops", rate);
        for client in &mut clients {
            client.ask(questions, kind.at_once, false);
        }
        maps.set(".data.drops", 0);
        let during = lost(&agent);
        assert!(rate < 100_000 || during > before, "nothing was lost at {rate}");
        for client in &mut clients {
            client.ask(AFTER, kind.at_once, false);
        }
        std::thread::sleep(kind.recovery);
        for client in &mut clients {
            client.ask(AFTER, kind.at_once, true);
            client.close();
        }
        assert_eq!(lost(&agent), during, "something was lost at a rate of 0");
        let memory = agent.memory();
        assert!(memory < MEMORY, "{} MiB", memory >> 20);
    }
    for client in &mut clients {
        client.asked.pop();
        client.program.close_input();
        until(ANSWER, "end of a client", || !client.program.is_running());
    }
    wait_for_ends(&agent, &clients);
    assert_nothing_in_flight(&agent);
    let rest = Rest::of(&agent);
    assert!(agent.has_ended().is_none());
    let events = agent.stop();
    let mut account = Account::new(&events, &rest);
    account.losses();
    account.close();
    assert_eq!(rest.metrics().sum("qtap_engine_panics_total", ""), 0.0);
    for client in clients {
        for side in [Side::Client, Side::Server] {
            check(kind, &events, &client, side);
        }
    }
}

/// Until a connection of the client is read at both ends: a debug build takes seconds to look at the library that a wheel brings.
fn wait_for_probes(agent: &Agent, client: &mut Client) {
    let deadline = Instant::now() + ANSWER;
    loop {
        client.ask(1, 1, false);
        client.close();
        std::thread::sleep(Duration::from_millis(300));
        let events = agent.events();
        let is_read = |side| {
            let of_port = |event: &Value| {
                event["destination"]["address"]["port"] == client.port
                    && (event["direction"] == "ingress") == (side == Side::Server)
            };
            let mut ends = events.of_type("connection");
            ends.any(|event| of_port(event) && event["meta"]["tlsProbeIntrospected"] == true)
        };
        if is_read(Side::Client) && is_read(Side::Server) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "TLS is not read:\n{}",
            events.outline()
        );
    }
}

/// Until both ends of all connections are over.
fn wait_for_ends(agent: &Agent, clients: &[Client]) {
    let mut wanted: BTreeMap<u16, usize> = BTreeMap::new();
    for client in clients {
        *wanted.entry(client.port).or_default() += client.asked.len();
    }
    let ends = |events: &Events, port, side| {
        let is_end = |event: &&Value| {
            event["finalized"] == true
                && event["destination"]["address"]["port"] == port
                && (event["direction"] == "ingress") == (side == Side::Server)
        };
        events.of_type("connection").filter(is_end).count()
    };
    // How many a client of Kafka opens is its own affair: until no more end.
    let deadline = Instant::now() + Duration::from_secs(30);
    let (mut former, mut same) = (Vec::new(), 0);
    while same < 3 {
        let events = agent.events();
        let both = |port: &u16| [Side::Client, Side::Server].map(|side| ends(&events, *port, side));
        let now: Vec<[usize; 2]> = wanted.keys().map(both).collect();
        let is_all = now
            .iter()
            .zip(wanted.values())
            .all(|(both, wanted)| both.iter().all(|ends| ends >= wanted));
        same = if is_all && now == former { same + 1 } else { 0 };
        assert!(
            Instant::now() < deadline,
            "{now:?} ends were told of {wanted:?}:\n{}",
            events.outline()
        );
        former = now;
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Everything that one end of the client's connections shows.
fn check(kind: Kind, events: &Events, client: &Client, side: Side) {
    let what = format!("{} {:?} at the {side:?}", kind.name, client.transport);
    // A port may be for both; handshakes pass without losses.
    let is_tls = client.transport == Transport::Tls;
    let captures: Vec<Capture> = events
        .of_port(client.port, side)
        .into_iter()
        .filter(|capture| capture.connection["health"]["gotTLSClientHelloEvent"] == is_tls)
        .collect();
    let mut whole = BTreeSet::new();
    let mut told = BTreeSet::new();
    let mut nameless = 0;
    let mut gaps = 0;
    for capture in &captures {
        assert_sums(capture);
        let gap = capture.connection["health"]["gapBytes"].as_u64().unwrap() + lost_of_calls(capture);
        gaps += gap;
        if gap > 0 {
            assert_ne!(capture.status(), "healthy", "{what}: {:#}", capture.connection);
            assert!(
                capture.reasons().contains(&"ring_full"),
                "{what}: {:#}",
                capture.connection
            );
        }
        for Seen {
            asked,
            answered,
            is_whole,
            record,
        } in (kind.read)(events, capture)
        {
            // Also of what says itself that it is not whole.
            if let (Some(asked), Some(answered)) = (asked, answered) {
                assert_eq!(asked, answered, "{what}: wrong pair: {}", outline(record));
            }
            if is_whole {
                assert!(
                    asked.is_some() && answered.is_some(),
                    "{what}: not whole: {}",
                    outline(record)
                );
                assert!(whole.insert(asked), "{what}: told twice: {}", outline(record));
            } else {
                assert!(gap > 0, "{what}: hurt without a loss: {}", outline(record));
            }
            match asked.or(answered) {
                Some(number) => drop(told.insert(number)),
                None => nameless += 1,
            }
        }
    }
    let of = |pick: fn(&Talk) -> &Vec<Range<u64>>| client.asked.iter().flat_map(pick).cloned().flatten();
    let lost: Vec<u64> = of(|talk| &talk.all)
        .filter(|number| !told.contains(number))
        .collect();
    let all = of(|talk| &talk.all).count();
    println!(
        "{what}: {all} asked, {} whole, {} told, {nameless} nameless, {} not told, {gaps} bytes lost on {} connections",
        whole.len(),
        told.len(),
        lost.len(),
        captures.len()
    );
    let unrecovered: Vec<u64> = of(|talk| &talk.whole)
        .filter(|number| !whole.contains(&Some(*number)))
        .collect();
    assert!(unrecovered.is_empty(), "{what}: not whole again: {unrecovered:?}");
    assert!(
        lost.is_empty() || gaps > 0,
        "{what}: neither told nor lost: {lost:?}"
    );
}

/// Plaintext of calls that was lost, which is no gap at the socket: "12 bytes of calls", "7 bytes, 12 of calls".
fn lost_of_calls(capture: &Capture) -> u64 {
    let reasons = capture.connection["health"]["reasons"].as_array().unwrap();
    let detail = reasons.iter().find(|reason| reason["code"] == "ring_full");
    let detail = detail.map_or("", |reason| reason["detail"].as_str().unwrap());
    let of_calls = detail.strip_suffix(" of calls").unwrap_or("0");
    let count = of_calls.strip_suffix(" bytes").unwrap_or(of_calls);
    count.rsplit(' ').next().unwrap().parse().unwrap()
}

/// What a test stands on: a folder and certificates in it.
struct Ground {
    folder: tempfile::TempDir,
    certificates: Certificates,
}

impl Ground {
    fn new() -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        Self { folder, certificates }
    }

    fn lossy(&self, kind: Kind, ports: [u16; 2], tls_source: &'static str) {
        let ports = [(ports[0], Transport::Plain), (ports[1], Transport::Tls)];
        lossy(kind, &ports, &self.certificates.authority, tls_source);
    }

    /// nginx, which sends back what the question asks for.
    fn nginx(&self, http2: &str) -> (Nginx, [u16; 2]) {
        let ports = [free_port(), free_port()];
        let [plain, tls] = ports;
        let servers = format!(
            "server {{ listen 127.0.0.1:{plain} {http2}; listen 127.0.0.1:{tls} ssl {http2};\n\
             ssl_certificate {}; ssl_certificate_key {};\n\
             location /ask {{ add_header X-Number $arg_n; return 200 \"answer-$arg_n-$arg_p\"; }} }}",
            self.certificates.certificate.display(),
            self.certificates.key.display()
        );
        (Nginx::start(self.folder.path(), &servers, &ports), ports)
    }
}

const HTTP1: Kind = Kind {
    name: "http1",
    questions: [800, 300, 150],
    at_once: 1500,
    read: seen::http,
    recovery: Duration::from_millis(200),
};

#[test]
fn http1() {
    let ground = Ground::new();
    let (_nginx, ports) = ground.nginx("");
    ground.lossy(HTTP1, ports, "auto");
}

/// Records of what calls of the TLS library hand over are lost instead of records of the socket.
#[test]
fn http1_read_by_calls() {
    let ground = Ground::new();
    let (_nginx, [_, tls]) = ground.nginx("");
    lossy(
        HTTP1,
        &[(tls, Transport::Tls)],
        &ground.certificates.authority,
        "calls",
    );
}

#[test]
fn http2() {
    let ground = Ground::new();
    let (_nginx, ports) = ground.nginx("http2");
    let kind = Kind {
        name: "http2",
        ..HTTP1
    };
    ground.lossy(kind, ports, "auto");
}

#[test]
fn grpc() {
    let ground = Ground::new();
    let mut command = Command::new(wheels_python());
    command
        .arg(programs().join("grpc/calls.py"))
        .arg("server")
        .args([&ground.certificates.certificate, &ground.certificates.key])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped());
    let mut server = Program::start(&mut command);
    let line = server.line(ANSWER);
    let facts: Value = serde_json::from_str(line.trim_start_matches("ready ")).unwrap();
    let port = |key: &str| u16::try_from(facts[key].as_u64().unwrap()).unwrap();
    let kind = Kind {
        name: "grpc",
        questions: [500, 300, 150],
        read: seen::grpc,
        ..HTTP1
    };
    ground.lossy(kind, [port("plain"), port("tls")], "auto");
}

#[test]
fn websocket() {
    let ground = Ground::new();
    let plain = WebServer::start(web("ws_server.py").arg("--plain-messages"));
    let tls = WebServer::start(
        web("ws_server.py")
            .arg("--plain-messages")
            .arg("--cert")
            .arg(&ground.certificates.certificate)
            .arg("--key")
            .arg(&ground.certificates.key),
    );
    let kind = Kind {
        name: "websocket",
        // Records of a WebSocket have 1,000 messages at most.
        questions: [400, 400, 200],
        read: seen::websocket,
        ..HTTP1
    };
    ground.lossy(kind, [plain.port, tls.port], "auto");
}

#[test]
fn event_stream() {
    let ground = Ground::new();
    let plain = WebServer::start(&mut web("sse_server.py"));
    let tls = WebServer::start(
        web("sse_server.py")
            .arg("--cert")
            .arg(&ground.certificates.certificate)
            .arg("--key")
            .arg(&ground.certificates.key),
    );
    let kind = Kind {
        name: "events",
        questions: [1000, 600, 300],
        at_once: 10,
        read: seen::events,
        ..HTTP1
    };
    ground.lossy(kind, [plain.port, tls.port], "auto");
}

const DATABASE: Kind = Kind {
    name: "redis",
    questions: [800, 300, 150],
    at_once: 1500,
    read: seen::database,
    recovery: Duration::from_millis(1200),
};

#[test]
fn redis_commands() {
    let ground = Ground::new();
    let server = redis(ground.folder.path(), &ground.certificates);
    ground.lossy(DATABASE, [server.plain, server.tls], "auto");
}

#[test]
fn mysql() {
    let ground = Ground::new();
    let server = mariadb(ground.folder.path(), &ground.certificates);
    let kind = Kind {
        name: "mysql",
        ..DATABASE
    };
    ground.lossy(kind, [server.port; 2], "auto");
}

#[test]
fn postgresql() {
    lossy_postgresql(Transport::Plain);
}

#[test]
fn postgresql_inside_of_tls() {
    lossy_postgresql(Transport::Tls);
}

fn lossy_postgresql(transport: Transport) {
    let ground = Ground::new();
    let server = postgres(ground.folder.path(), &ground.certificates);
    let kind = Kind {
        name: "postgres",
        ..DATABASE
    };
    let ports = [(server.port, transport)];
    lossy(kind, &ports, &ground.certificates.authority, "auto");
}

#[test]
fn kafka() {
    let ground = Ground::new();
    let start = |transport| -> Broker { broker(ground.folder.path(), transport, &[]) };
    let (plain, tls) = (start(Transport::Plain), start(Transport::Tls));
    let kind = Kind {
        name: "kafka",
        questions: [400, 300, 150],
        read: seen::kafka,
        ..DATABASE
    };
    ground.lossy(kind, [plain.port, tls.port], "auto");
}
