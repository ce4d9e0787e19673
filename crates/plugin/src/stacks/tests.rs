use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use qtap_config::{
    AccessLogs, Config, Endpoint, Level, LogFormat, Plugin as PluginSettings, ReportUsage, Services, Stack,
    Tap,
};

use super::*;
use crate::access_logs::Terminal;
use crate::plugin::{Context, Plugin};
use crate::testing::{Memory, agent, command, connection, lookup, report, transaction};

/// Notes what it is told; panics where asked.
#[derive(Default)]
struct Probe {
    wants: Option<Interest>,
    panics_in_interest: bool,
    panics_in_transaction: bool,
    sleeps_ms: u64,
    seen: Arc<Mutex<Vec<String>>>,
    dropped: Dropped,
}

/// Counts its own end.
#[derive(Default)]
struct Dropped(Arc<AtomicU64>);

impl Plugin for Probe {
    fn interest(&self, _connection: &ConnectionFacts, _request: &RequestHead) -> Interest {
        assert!(!self.panics_in_interest, "asked to panic in interest");
        self.wants.unwrap_or(Interest::Head)
    }

    fn transaction(&self, exchange: &Exchange<'_>) {
        assert!(!self.panics_in_transaction, "asked to panic in transaction");
        std::thread::sleep(std::time::Duration::from_millis(self.sleeps_ms));
        self.seen
            .lock()
            .unwrap()
            .push(exchange.transaction.id.to_string());
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn context(memory: &Arc<Memory>) -> Context {
    Context {
        agent: Arc::new(agent()),
        stores: memory.stores(),
        output: Arc::clone(memory) as _,
        terminal: Terminal::piped(),
    }
}

fn deployment(probes: Vec<Probe>) -> Arc<Deployment> {
    let memory = Arc::new(Memory::default());
    Deployment::new(generation(probes, &memory, &Arc::default()))
}

fn generation(probes: Vec<Probe>, memory: &Arc<Memory>, metrics: &Arc<Metrics>) -> Generation {
    let plugins = probes
        .into_iter()
        .map(|probe| ("access_logs", Box::new(probe) as Box<dyn Plugin>))
        .collect();
    Generation::of_plugins(plugins, &context(memory), metrics)
}

fn run_one(stacks: &mut Stacks) -> Interest {
    let (connection, transaction) = (connection(), transaction());
    let interest = stacks.interest(&connection, StreamKey(transaction.stream), &transaction.request);
    if interest != Interest::None {
        stacks.transaction(&connection, &transaction);
    }
    interest
}

fn config(http: Option<&str>, endpoints: &[(&str, Option<&str>)]) -> Config {
    let console = PluginSettings::AccessLogs(AccessLogs {
        mode: Level::Summary,
        format: LogFormat::Json,
    });
    let full = PluginSettings::AccessLogs(AccessLogs {
        mode: Level::Full,
        format: LogFormat::Json,
    });
    let usage = PluginSettings::ReportUsage(ReportUsage::default());
    let stack = |plugins| Stack { plugins };
    Config {
        services: Services::default(),
        stacks: [
            ("brief".to_owned(), stack(vec![console, usage])),
            ("detailed".to_owned(), stack(vec![full])),
            ("empty".to_owned(), stack(vec![])),
        ]
        .into(),
        tap: Tap {
            http: http.map(str::to_owned),
            databases: http
                .map(|stack| ("redis", stack.to_owned()))
                .into_iter()
                .collect(),
            endpoints: endpoints
                .iter()
                .map(|(domain, stack)| Endpoint {
                    domain: (*domain).to_owned(),
                    http: Some(stack.map(str::to_owned)),
                    grpc: None,
                    databases: [("redis", stack.map(str::to_owned))].into(),
                })
                .collect(),
            ..Tap::default()
        },
        tags: Vec::new(),
    }
}

fn built(config: &Config) -> Stacks {
    let memory = Arc::new(Memory::default());
    Stacks::new(Deployment::new(
        Generation::new(config, &context(&memory), &Arc::default()).unwrap(),
    ))
}

/// P-X2
#[test]
fn interest_is_the_greatest_of_the_stack() {
    let probe = |wants| Probe {
        wants: Some(wants),
        ..Probe::default()
    };
    for (wants, expected) in [
        (vec![Interest::None, Interest::None], Interest::None),
        (vec![Interest::Head, Interest::None], Interest::Head),
        (
            vec![Interest::Body(10), Interest::Head, Interest::Body(20)],
            Interest::Body(20),
        ),
        (vec![], Interest::None),
    ] {
        let mut stacks = Stacks::new(deployment(wants.into_iter().map(probe).collect()));
        assert_eq!(run_one(&mut stacks), expected);
    }
}

/// P-X4
#[test]
fn only_those_who_wanted_a_transaction_hear_of_its_end_and_once() {
    let (wanting, refusing) = (
        Probe::default(),
        Probe {
            wants: Some(Interest::None),
            ..Probe::default()
        },
    );
    let (heard, unheard) = (Arc::clone(&wanting.seen), Arc::clone(&refusing.seen));
    let mut stacks = Stacks::new(deployment(vec![wanting, refusing]));
    run_one(&mut stacks);
    stacks.transaction(&connection(), &transaction());
    assert_eq!(*heard.lock().unwrap(), ["d3tsmvg7p3qggmf8pdj0"]);
    assert!(unheard.lock().unwrap().is_empty());
    assert_eq!(stacks.deployment.metrics().unmatched(), 1);
}

#[test]
fn a_panic_ends_the_transaction_for_that_plugin_alone() {
    let early = Probe {
        panics_in_interest: true,
        ..Probe::default()
    };
    let late = Probe {
        panics_in_transaction: true,
        ..Probe::default()
    };
    let healthy = Probe::default();
    let heard = Arc::clone(&healthy.seen);
    let mut stacks = Stacks::new(deployment(vec![early, late, healthy]));
    run_one(&mut stacks);
    run_one(&mut stacks);
    assert_eq!(heard.lock().unwrap().len(), 2);
    let counters = stacks.deployment.metrics().plugins();
    // Twice in interest, twice in transaction: the first is not told of ends it never asked for.
    assert_eq!(
        (counters[0].plugin, counters[0].panics, counters[0].calls),
        ("access_logs", 4, 10)
    );
}

/// P-X5
#[test]
fn calls_over_budget_are_counted() {
    let slow = Probe {
        sleeps_ms: 15,
        ..Probe::default()
    };
    let mut stacks = Stacks::new(deployment(vec![slow]));
    run_one(&mut stacks);
    let counters = stacks.deployment.metrics().plugins();
    assert_eq!(counters[0].over_budget, 1);
    assert!(counters[0].busy_ns >= 15_000_000);
}

/// P-X6
#[test]
fn a_transaction_ends_under_the_configuration_it_began_with() {
    let (old, new) = (Probe::default(), Probe::default());
    let (old_seen, new_seen, old_dropped) = (
        Arc::clone(&old.seen),
        Arc::clone(&new.seen),
        Arc::clone(&old.dropped.0),
    );
    let memory = Arc::new(Memory::default());
    let metrics = Arc::default();
    let deployment = Deployment::new(generation(vec![old], &memory, &metrics));
    let mut stacks = Stacks::new(Arc::clone(&deployment));
    let (connection, first) = (connection(), transaction());
    stacks.interest(&connection, StreamKey(first.stream), &first.request);

    deployment.replace(generation(vec![new], &memory, &metrics));
    let second = Transaction {
        stream: 2,
        ..transaction()
    };
    stacks.interest(&connection, StreamKey(second.stream), &second.request);
    stacks.transaction(&connection, &second);
    assert_eq!(
        (old_seen.lock().unwrap().len(), new_seen.lock().unwrap().len()),
        (0, 1)
    );
    assert_eq!(old_dropped.load(Ordering::Relaxed), 0);

    stacks.transaction(&connection, &first);
    assert_eq!(
        (old_seen.lock().unwrap().len(), new_seen.lock().unwrap().len()),
        (1, 1)
    );
    assert_eq!(
        old_dropped.load(Ordering::Relaxed),
        1,
        "torn down after its last transaction"
    );
}

/// P-X1
#[test]
fn the_stack_is_that_of_the_transactions_own_authority() {
    let config = config(
        Some("brief"),
        &[
            ("*.example.com", Some("detailed")),
            ("quiet.example.com", None),
            ("httpbin.org", None),
        ],
    );
    let mut stacks = built(&config);
    let limit = usize::try_from(config.tap.limits.body).unwrap();
    for (authority, expected) in [
        ("elsewhere.test", Interest::Head),
        ("a.example.com:8443", Interest::Body(limit)),
        ("quiet.example.com", Interest::None),
        ("httpbin.org", Interest::None),
    ] {
        let mut request = transaction().request;
        request.authority = Some(Bytes::from(authority));
        assert_eq!(
            stacks.interest(&connection(), StreamKey(1), &request),
            expected,
            "{authority}"
        );
    }
    // Without authority the name of the server decides: httpbin.org.
    let nameless = RequestHead {
        authority: None,
        ..transaction().request
    };
    assert_eq!(
        stacks.interest(&connection(), StreamKey(2), &nameless),
        Interest::None
    );
}

/// P-X1: a call has choices of its own, and those of HTTP where it has none.
#[test]
fn calls_of_grpc_have_a_stack_of_their_own_or_that_of_http() {
    let mut call = transaction().request;
    call.fields
        .push(crate::testing::field("content-type", "application/grpc"));
    let stack = |name: &str| Some(Some(name.to_owned()));
    // What `tap` says of HTTP and gRPC, what the endpoint does, and whether the call, and another request, are heard of.
    for (http, grpc, of_http, of_grpc, call_heard, other_heard) in [
        (Some("brief"), None, None, None, true, true),
        (None, None, None, None, false, false),
        (None, stack("brief"), None, None, true, false),
        (Some("empty"), stack("brief"), None, None, true, false),
        (Some("brief"), stack("empty"), None, None, false, true),
        (Some("brief"), Some(None), None, None, false, true),
        (Some("brief"), None, Some(None), None, false, false),
        (Some("empty"), None, stack("brief"), None, true, true),
        (Some("empty"), stack("empty"), stack("brief"), None, false, true),
        (Some("brief"), Some(None), None, stack("brief"), true, true),
        (Some("brief"), stack("brief"), None, Some(None), false, true),
    ] {
        let told = format!("{http:?} {grpc:?} {of_http:?} {of_grpc:?}");
        let mut config = config(http, &[]);
        config.tap.grpc = grpc;
        config.tap.endpoints = vec![Endpoint {
            domain: "httpbin.org".to_owned(),
            http: of_http,
            grpc: of_grpc,
            databases: [].into(),
        }];
        let mut stacks = built(&config);
        let mut heard =
            |stream, request| stacks.interest(&connection(), StreamKey(stream), request) != Interest::None;
        assert_eq!(heard(1, &call), call_heard, "{told}");
        assert_eq!(heard(3, &transaction().request), other_heard, "{told}");
        let is_wanted = built(&config).wants(&connection(), Protocol::Http2);
        assert!(is_wanted || !(call_heard || other_heard), "{told}");
    }
}

#[test]
fn payload_is_wanted_when_any_stack_can_apply() {
    for (http, endpoints, expected) in [
        (None, &[][..], false),
        (Some("empty"), &[][..], false),
        (None, &[("a.test", None)][..], false),
        (None, &[("a.test", Some("brief"))][..], true),
        (Some("brief"), &[("a.test", None)][..], true),
    ] {
        let mut stacks = built(&config(http, endpoints));
        assert_eq!(
            stacks.wants(&connection(), Protocol::Http1),
            expected,
            "{http:?} {endpoints:?}"
        );
    }
}

#[test]
fn an_unknown_stack_is_refused_by_name() {
    let memory = Arc::new(Memory::default());
    let result = Generation::new(&config(Some("typo"), &[]), &context(&memory), &Arc::default());
    assert_eq!(result.err(), Some(BuildError::UnknownStack("typo".to_owned())));
}

#[test]
fn reports_go_to_the_default_store_also_without_stacks() {
    let memory = Arc::new(Memory::default());
    let generation = Generation::new(&config(None, &[]), &context(&memory), &Arc::default()).unwrap();
    let mut stacks = Stacks::new(Deployment::new(generation));
    stacks.connection(&report(true));
    assert!(matches!(
        memory.events.lock().unwrap()[..],
        [Event::Connection(_)]
    ));
}

#[test]
fn what_a_closed_connection_leaves_behind_is_counted_and_forgotten() {
    let mut stacks = Stacks::new(deployment(vec![Probe::default()]));
    stacks.interest(&connection(), StreamKey(3), &transaction().request);
    let mut other = connection();
    other.id = ConnectionId(8);
    stacks.interest(&other, StreamKey(3), &transaction().request);
    stacks.connection(&report(true));
    assert_eq!(
        (stacks.in_flight(), stacks.deployment.metrics().abandoned()),
        (1, 1)
    );
}

#[test]
fn a_whole_stack_writes_a_line_and_an_event() {
    let memory = Arc::new(Memory::default());
    let generation =
        Generation::new(&config(Some("brief"), &[]), &context(&memory), &Arc::default()).unwrap();
    let mut stacks = Stacks::new(Deployment::new(generation));
    assert_eq!(run_one(&mut stacks), Interest::Head);
    assert_eq!(memory.printed().len(), 1);
    assert!(matches!(memory.events.lock().unwrap()[..], [Event::Request(_)]));
}

fn redis_connection() -> ConnectionFacts {
    ConnectionFacts {
        protocol: Some(Protocol::Redis),
        ..connection()
    }
}

#[test]
fn every_database_has_a_key_in_the_configuration() {
    let mut keys: Vec<_> = qtap_config::DATABASES.to_vec();
    let mut names: Vec<_> = qtap_protocol::DATABASES
        .iter()
        .map(|entry| entry.protocol.name())
        .collect();
    keys.sort_unstable();
    names.sort_unstable();
    assert_eq!(keys, names);
}

#[test]
fn what_is_shown_of_a_database_is_that_of_its_configuration() {
    let mut config = config(Some("brief"), &[]);
    let settings = qtap_config::DatabaseDetail {
        values: qtap_config::Values::Keys,
        parameters: true,
        split_statements: false,
    };
    config.tap.database_detail = [("redis", settings)].into();
    let mut stacks = built(&config);
    let shown = Detail {
        values: qtap_protocol::Values::Keys,
        parameters: true,
        split_statements: false,
    };
    assert_eq!(stacks.detail(Protocol::Redis), shown);
    assert_eq!(stacks.detail(Protocol::MySql), Detail::default());
}

#[test]
fn a_command_writes_a_line_and_an_event() {
    let memory = Arc::new(Memory::default());
    let generation =
        Generation::new(&config(Some("brief"), &[]), &context(&memory), &Arc::default()).unwrap();
    let mut stacks = Stacks::new(Deployment::new(generation));
    let (facts, done) = (redis_connection(), command());
    assert!(stacks.wants(&facts, Protocol::Redis) && !stacks.wants(&facts, Protocol::Postgres));
    assert!(stacks.wants_command(&facts, StreamKey(done.stream), &done.command));
    assert_eq!(stacks.in_flight(), 1);
    stacks.command(&facts, &done);
    assert_eq!(stacks.in_flight(), 0);
    let printed: serde_json::Value = serde_json::from_str(&memory.printed()[0]).unwrap();
    assert_eq!(
        (&printed["command"], &printed["args"][1]),
        (&"SET".into(), &"v".into())
    );
    let event = serde_json::to_value(&memory.events.lock().unwrap()[0]).unwrap();
    for (key, value) in [
        ("type", serde_json::json!("database_request")),
        ("databaseType", "redis".into()),
        ("statement", "SET k v".into()),
        ("resultType", "error".into()),
        ("isError", true.into()),
        ("errorCode", "OOM".into()),
        ("duration", 3.into()),
        ("bytesSent", 27.into()),
        ("bytesReceived", 40.into()),
        ("outcome", "complete".into()),
        ("ttfb_ms", 1.5.into()),
        ("total_ms", 2.5.into()),
    ] {
        assert_eq!(event[key], value, "{key}: {event:#}");
    }
}

/// P-K7, P-K8: what a server waited for data is told, and is no part of the duration.
#[test]
fn waiting_and_throttling_are_told_apart() {
    let memory = Arc::new(Memory::default());
    let generation =
        Generation::new(&config(Some("brief"), &[]), &context(&memory), &Arc::default()).unwrap();
    let mut stacks = Stacks::new(Deployment::new(generation));
    let (facts, mut done) = (redis_connection(), command());
    let result = done.result.as_mut().unwrap();
    (result.waited_ns, result.throttle_ms) = (Some(1_400_000), Some(20));
    stacks.wants_command(&facts, StreamKey(done.stream), &done.command);
    stacks.command(&facts, &done);
    let event = serde_json::to_value(&memory.events.lock().unwrap()[0]).unwrap();
    for (key, value) in [
        ("duration", serde_json::json!(2)),
        ("total_ms", 2.5.into()),
        ("wait_ms", 1.4.into()),
        ("throttle_ms", 20.into()),
    ] {
        assert_eq!(event[key], value, "{key}: {event:#}");
    }
}

#[test]
fn an_override_for_the_server_holds_for_its_database() {
    let mut stacks = built(&config(Some("brief"), &[("httpbin.org", None)]));
    assert!(!stacks.wants(&redis_connection(), Protocol::Redis));
    let mut only_there = built(&config(None, &[("httpbin.org", Some("brief"))]));
    assert!(only_there.wants(&redis_connection(), Protocol::Redis));
}

fn audited(tap: Tap) -> (Arc<Memory>, Stacks) {
    let memory = Arc::new(Memory::default());
    let config = Config {
        tap: Tap {
            audit_include_dns: true,
            ..tap
        },
        ..config(None, &[])
    };
    let generation = Generation::new(&config, &context(&memory), &Arc::default()).unwrap();
    (memory, Stacks::new(Deployment::new(generation)))
}

/// P-N2: name, type, response code, answers, latency, server.
#[test]
fn a_query_of_dns_writes_an_event() {
    let (memory, mut stacks) = audited(Tap::default());
    let (facts, lookup) = lookup();
    assert!(stacks.wants(&facts, Protocol::Dns) && stacks.wants_dns(&facts));
    stacks.dns(&facts, &lookup);
    let event = serde_json::to_string(&memory.events.lock().unwrap()[0]).unwrap();
    assert_eq!(
        event,
        concat!(
            r#"{"type":"dns","connectionId":"d3tsmvg7p3qggmf8pdi0","endpointId":"10.0.0.53","requestId":"d3tsmvg7p3qggmf8pdl0","#,
            r#""tags":["bin:curl","host:box","ip:10.0.0.5","protocol:dns","strategy:observe","env:test"],"#,
            r#""timestamp":"2026-01-01T10:00:00.103000000Z","direction":"egress-internal","socketProtocol":"udp","l7Protocol":"dns","#,
            r#""queryId":4660,"name":"api.test","recordType":"A","rcode":"NOERROR","isError":false,"#,
            r#""answers":[{"name":"api.test","type":"A","ttl":300,"data":"10.0.0.1"},{"name":"api.test","type":"TXT","ttl":60,"data":"\"x\""}],"#,
            r#""answerCount":2,"authoritative":true,"duration":3,"bytesSent":26,"bytesReceived":56,"#,
            r#""source":{"address":{"family":"ipv4","ip":"10.0.0.5","port":40000},"hostname":"box","exe":"/usr/bin/curl","pid":4242,"user":"alice","userId":1000},"#,
            r#""destination":{"address":{"family":"ipv4","ip":"10.0.0.53","port":53}},"outcome":"complete","total_ms":2.5}"#,
        )
    );
}

#[test]
fn a_query_without_an_answer_has_none_of_its_keys() {
    let (memory, mut stacks) = audited(Tap::default());
    let (facts, mut lookup) = lookup();
    lookup.exchange.response = None;
    lookup.exchange.outcome = qtap_protocol::Outcome::Timeout;
    lookup.exchange.retransmits = 2;
    stacks.dns(&facts, &lookup);
    let event = serde_json::to_value(&memory.events.lock().unwrap()[0]).unwrap();
    for key in ["rcode", "isError", "answers", "answerCount", "duration"] {
        assert_eq!(event.get(key), None, "{key}: {event:#}");
    }
    assert_eq!(
        (&event["outcome"], &event["retransmits"]),
        (&"timeout".into(), &2.into())
    );
}

#[test]
fn directions_and_loopback_hold_for_dns() {
    use qtap_config::Direction;
    use qtap_engine::DirectionLabel;
    let (client, _) = lookup();
    let server = ConnectionFacts {
        role: qtap_capture::Role::Server,
        direction: DirectionLabel::Ingress,
        ..client.clone()
    };
    let external = ConnectionFacts {
        direction: DirectionLabel::EgressExternal,
        ..client.clone()
    };
    let stub = ConnectionFacts {
        remote: "127.0.0.53:53".parse().unwrap(),
        ..client.clone()
    };
    let own = ConnectionFacts {
        remote: "10.0.0.5:53".parse().unwrap(),
        ..client.clone()
    };
    let unknown = ConnectionFacts {
        local: "0.0.0.0:53".parse().unwrap(),
        remote: "0.0.0.0:0".parse().unwrap(),
        ..server.clone()
    };
    let all = [&client, &server, &external, &stub, &own, &unknown];
    for (direction, ignore_loopback, expected) in [
        (Direction::All, false, [true; 6]),
        (Direction::All, true, [true, true, true, false, false, true]),
        (
            Direction::Ingress,
            false,
            [false, true, false, false, false, true],
        ),
        (Direction::Egress, false, [true, false, true, true, true, false]),
        (
            Direction::EgressInternal,
            false,
            [true, false, false, true, true, false],
        ),
        (
            Direction::EgressExternal,
            false,
            [false, false, true, false, false, false],
        ),
    ] {
        let (_, mut stacks) = audited(Tap {
            direction,
            ignore_loopback,
            ..Tap::default()
        });
        assert_eq!(
            all.map(|facts| stacks.wants_dns(facts)),
            expected,
            "{direction:?} {ignore_loopback}"
        );
    }
}

/// Surface §2.5: without audit no DNS is reported, as connections neither.
#[test]
fn connections_of_dns_are_hidden_without_audit() {
    let memory = Arc::new(Memory::default());
    let generation = Generation::new(&config(None, &[]), &context(&memory), &Arc::default()).unwrap();
    let mut stacks = Stacks::new(Deployment::new(generation));
    let (facts, _) = lookup();
    assert!(!stacks.wants_dns(&facts));
    let of = |id: u64, protocol, part, finalized| {
        let mut report = report(finalized);
        report.part = part;
        report.facts.id = ConnectionId(id);
        report.facts.protocol = protocol;
        report
    };
    let dns = Some(Protocol::Dns);
    // Hidden to its end, and another that was seen before it was known to be DNS, and so is seen to its end.
    for report in [
        of(1, dns, 0, false),
        of(1, dns, 1, true),
        of(2, None, 0, false),
        of(2, dns, 1, true),
    ] {
        stacks.connection(&report);
    }
    assert_eq!(memory.events.lock().unwrap().len(), 2);
    assert_eq!(stacks.deployment.metrics().hidden(), 1);
    let (memory, mut stacks) = audited(Tap::default());
    stacks.connection(&of(1, dns, 0, true));
    assert_eq!(memory.events.lock().unwrap().len(), 1);
}
