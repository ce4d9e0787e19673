//! The books of one run: what the sources counted = what the agent emitted + what it counts as lost, for each
//! connection and in total. Every sum that fails is told by name.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Agent, Events, NginxRecord, Side, http_get};

/// Longest that an agent may take to work off what it holds.
const SETTLE: Duration = Duration::from_secs(15);
/// What the agent gets to work off when others keep it busy.
const BUSY: Duration = Duration::from_secs(3);

/// One answer of `/system/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// The agent's metrics now.
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        let (status, text) =
            http_get(agent.status_server(), "/system/metrics").expect("an answer of the status server");
        assert_eq!(status, 200);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// Sum of a family over the samples that contain `label`.
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let of_family = |sample: &str| sample.split('{').next() == Some(name) && sample.contains(label);
        let values = self.0.iter().filter(|(sample, _)| of_family(sample));
        values.map(|(_, value)| value).sum()
    }

    /// A loss of the kernel side.
    #[must_use]
    pub fn kernel_lost(&self, reason: &str) -> f64 {
        self.sum("qtap_capture_lost_total", &format!("\"{reason}\""))
    }

    /// A loss of the engine.
    #[must_use]
    pub fn engine_lost(&self, reason: &str) -> f64 {
        self.sum("qtap_engine_lost_total", &format!("\"{reason}\""))
    }

    /// Records that did not reach the reader of standard output.
    #[must_use]
    pub fn store_lost(&self) -> f64 {
        self.sum("qtap_store_lost_total", "")
    }
}

/// The metrics once a load is worked off, twice. On a host where nothing else happens they are the same, and sums hold exactly;
/// where other programs go on, what was counted at first must have arrived at the end.
#[derive(Clone, Debug)]
pub struct Rest {
    first: Metrics,
    last: Metrics,
}

impl Rest {
    /// Waits until the agent has worked off all that happened, or, if others keep it busy, for some seconds.
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        let deadline = Instant::now() + SETTLE;
        let mut first = Metrics::of(agent);
        loop {
            std::thread::sleep(Duration::from_millis(700));
            let last = Metrics::of(agent);
            let rest = Self { first, last };
            if rest.is_quiet() {
                return rest;
            }
            if Instant::now() >= deadline {
                std::thread::sleep(BUSY);
                return Self {
                    last: Metrics::of(agent),
                    ..rest
                };
            }
            first = rest.last;
        }
    }

    /// Nothing happened between the two.
    fn is_quiet(&self) -> bool {
        let waits = [
            "qtap_capture_ring_bytes",
            "qtap_engine_queue_depth",
            "qtap_store_queue_depth",
        ];
        let moves = ["qtap_engine_received_total", "qtap_store_received_total"];
        waits.iter().all(|name| self.last.sum(name, "") == 0.0)
            && moves
                .iter()
                .all(|name| self.last.sum(name, "") == self.first.sum(name, ""))
    }

    /// Whether two numbers, the second of which follows the first, are the same.
    fn agree(&self, cause: impl Fn(&Metrics) -> f64, effect: impl Fn(&Metrics) -> f64) -> bool {
        effect(&self.first) <= cause(&self.last) && cause(&self.first) <= effect(&self.last)
    }

    /// As they are at last.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.last
    }
}

/// Reasons that count missing bytes, with the kernel side's counters of them.
const BYTE_REASONS: [(&str, &str); 6] = [
    ("ring_full", "data_bytes_lost_ring_full"),
    ("call_cap", "data_bytes_lost_call_cap"),
    ("memory_fault", "data_bytes_lost_fault"),
    ("unreadable_bytes", "data_bytes_lost_unreadable"),
    ("load_shed", "data_bytes_lost_load_shed"),
    ("queue_full", ""),
];

/// What the agent said of one end of one connection.
#[derive(Clone, Debug, Default)]
struct Said {
    connection: Value,
    requests: u64,
    transactions: Vec<Value>,
}

impl Said {
    fn number(&self, key: &str) -> u64 {
        self.connection["health"][key].as_u64().unwrap_or_default()
    }

    fn has(&self, code: &str) -> bool {
        self.details(code).is_some()
    }

    fn details(&self, code: &str) -> Option<&str> {
        let reasons = self.connection["health"]["reasons"].as_array()?;
        let reason = reasons.iter().find(|reason| reason["code"] == code)?;
        reason["detail"].as_str()
    }

    /// The number of bytes in a reason's detail, which begins with it.
    fn bytes(&self, code: &str) -> u64 {
        let number = self
            .details(code)
            .and_then(|detail| detail.strip_suffix(" bytes"));
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

/// The books.
pub struct Account<'a> {
    events: &'a Events,
    rest: &'a Rest,
    metrics: &'a Metrics,
    said: Vec<Said>,
    problems: Vec<String>,
}

impl<'a> Account<'a> {
    /// `rest`: after the load and before the end of the agent.
    #[must_use]
    pub fn new(events: &'a Events, rest: &'a Rest) -> Self {
        let mut by_id: HashMap<&str, Said> = HashMap::new();
        for event in events.iter() {
            match event["type"].as_str() {
                Some("connection") if event["finalized"] == true => {
                    let id = event["meta"]["connectionId"].as_str().unwrap_or_default();
                    by_id.entry(id).or_default().connection = event.clone();
                }
                Some("request") => {
                    let id = event["connectionId"].as_str().unwrap_or_default();
                    by_id.entry(id).or_default().requests += 1;
                }
                Some("artifact") if event["kind"] == "http_transaction" => {
                    let id = event["connectionId"].as_str().unwrap_or_default();
                    by_id
                        .entry(id)
                        .or_default()
                        .transactions
                        .push(event["data"].clone());
                }
                _ => {}
            }
        }
        Self {
            events,
            rest,
            metrics: rest.metrics(),
            said: by_id
                .into_values()
                .filter(|said| !said.connection.is_null())
                .collect(),
            problems: Vec::new(),
        }
    }

    fn expect(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds && self.problems.len() < 40 {
            self.problems.push(problem());
        }
    }

    /// The connections to `port` as `side` sees them, by the port of the client, in the order in which they opened: a port may be
    /// used again.
    fn of_port(&self, port: u16, side: Side) -> BTreeMap<u64, Vec<Said>> {
        let mut found: BTreeMap<u64, Vec<Said>> = BTreeMap::new();
        let of_side = |said: &&Said| {
            said.connection["destination"]["address"]["port"] == port
                && (said.connection["direction"] == "ingress") == (side == Side::Server)
        };
        for said in self.said.iter().filter(of_side) {
            let client = said.connection["source"]["address"]["port"].as_u64();
            found
                .entry(client.unwrap_or_default())
                .or_default()
                .push(said.clone());
        }
        for said in found.values_mut() {
            said.sort_by_key(|said| said.connection["createdAt"].as_str().map(str::to_owned));
        }
        found
    }

    /// Everything about the connections to a server's port, of which `records` are in the server's own log. `connections`: how
    /// many were made.
    pub fn server(&mut self, port: u16, records: &[NginxRecord], connections: usize, is_tls: bool) {
        // By port of the client and number of the connection.
        let mut truth: BTreeMap<u64, BTreeMap<u64, Vec<&NginxRecord>>> = BTreeMap::new();
        for record in records
            .iter()
            .filter(|record| record.number("port") == u64::from(port))
        {
            let of_client = truth.entry(record.number("client_port")).or_default();
            of_client
                .entry(record.number("connection"))
                .or_default()
                .push(record);
        }
        let logged: usize = truth.values().map(BTreeMap::len).sum();
        self.expect(logged == connections, || {
            format!("port {port}: {connections} connections were made, the server's log has {logged}")
        });
        let lost = self.metrics.kernel_lost("connections_lost_ring_full")
            + self.metrics.kernel_lost("connections_table_full")
            + self.metrics.engine_lost("control_queue_full")
            + self.metrics.store_lost();
        for side in [Side::Client, Side::Server] {
            let said = self.of_port(port, side);
            let told: usize = said.values().map(Vec::len).sum();
            self.expect(told <= connections && (connections - told.min(connections)) as f64 <= lost, || {
                format!("port {port}, {side:?}: {connections} connections made, {told} told, {lost} counted as lost")
            });
            for (client, said) in &said {
                let what = format!("port {port}, {side:?}, connection from {client}");
                said.iter().for_each(|said| self.connection_sums(&what, said));
                let of_client: Vec<_> = truth.get(client).into_iter().flat_map(BTreeMap::values).collect();
                // Which of several with the same port is missing cannot be told.
                if of_client.len() == said.len() {
                    for (said, records) in said.iter().zip(of_client) {
                        self.against_the_server(&what, said, records, side, is_tls);
                    }
                } else {
                    self.expect(lost > 0.0, || {
                        format!("{what}: {} told, {} made", said.len(), of_client.len())
                    });
                }
            }
        }
    }

    /// Of one connection: the kernel's count = what calls moved = captured + missing, and missing = the sum of the reasons.
    fn connection_sums(&mut self, what: &str, said: &Said) {
        let health = &said.connection["health"];
        let gap = said.number("gapBytes");
        let reasons: u64 = BYTE_REASONS.iter().map(|(code, _)| said.bytes(code)).sum();
        self.expect(gap == reasons, || {
            format!("{what}: gapBytes {gap} is not the sum of the reasons, {reasons}: {health}")
        });
        self.expect(
            (health["status"] == "healthy") == health["reasons"].as_array().is_some_and(Vec::is_empty),
            || format!("{what}: the status does not go with the reasons: {health}"),
        );
        if said.has("end_unknown") {
            let lost = self.metrics.engine_lost("connection_end");
            self.expect(lost > 0.0, || {
                format!("{what}: its end is unknown and none is counted")
            });
        } else {
            let (sent, received) = (said.number("socketBytesSent"), said.number("socketBytesReceived"));
            let unread = said.number("socketBytesUnread");
            let moved = |key: &str| said.connection[key].as_u64().unwrap_or_default();
            self.expect(
                moved("bytesSent") == sent && moved("bytesReceived") + unread == received,
                || format!("{what}: calls and kernel disagree: {}", said.connection),
            );
            let captured = said.number("capturedBytesSent") + said.number("capturedBytesReceived");
            self.expect(captured + gap + unread == sent + received, || {
                format!(
                    "{what}: captured {captured} + missing {gap} + unread {unread} is not {sent} + {received}"
                )
            });
        }
        let told = said.connection["transactions"].as_u64().unwrap_or_default();
        let complete = |count: u64| {
            if self.metrics.store_lost() == 0.0 {
                count == told
            } else {
                count <= told
            }
        };
        let (requests, artifacts) = (said.requests, said.transactions.len() as u64);
        let holds = complete(requests) && complete(artifacts);
        self.expect(holds, || {
            format!("{what}: {told} transactions, {requests} request events, {artifacts} artifacts")
        });
        let flagged = said
            .transactions
            .iter()
            .filter(|transaction| is_flagged(transaction))
            .count();
        self.expect(flagged == 0 || health["status"] != "healthy", || {
            format!("{what}: healthy, with {flagged} transactions that are not")
        });
    }

    /// Of one connection: what the server sent, received and answered.
    fn against_the_server(
        &mut self,
        what: &str,
        said: &Said,
        records: &[&NginxRecord],
        side: Side,
        is_tls: bool,
    ) {
        let sum = |key: &str| records.iter().map(|record| record.number(key)).sum::<u64>();
        if !is_tls && !said.has("end_unknown") {
            let (sent, received) = match side {
                Side::Client => ("socketBytesReceived", "socketBytesSent"),
                Side::Server => ("socketBytesSent", "socketBytesReceived"),
            };
            let (sent, received) = (said.number(sent), said.number(received));
            self.expect((sent, received) == (sum("sent"), sum("received")), || {
                format!(
                    "{what}: the server sent {} and received {} bytes, the agent says {sent} and {received}",
                    sum("sent"),
                    sum("received")
                )
            });
        }
        let answered = records.len() as u64;
        let told = said.connection["transactions"].as_u64().unwrap_or_default();
        let gap = said.number("gapBytes");
        let is_whole = gap == 0 && !["end_unknown", "memory_budget"].iter().any(|code| said.has(code));
        let is_read = said.connection["health"]["checks"]["tls_probe"] != "missing"
            && said.connection["health"]["checks"]["tls_probe"] != "partial";
        self.expect(told == answered || !is_whole || !is_read, || {
            format!(
                "{what}: {answered} requests answered, {told} transactions, nothing missing: {}",
                said.connection["health"]
            )
        });
        let complete = said
            .transactions
            .iter()
            .filter(|transaction| !is_flagged(transaction))
            .count() as u64;
        self.expect(complete <= answered, || {
            format!("{what}: {complete} whole transactions of {answered} requests answered")
        });
        for transaction in &said.transactions {
            let path = transaction["request"]["path"].as_str().unwrap_or_default();
            let known = records.iter().any(|record| record.0["uri"] == path);
            self.expect(known || is_flagged(transaction), || {
                format!("{what}: nobody asked for {path:?}")
            });
        }
    }

    /// Sums over everything that the agent saw. `lines_a_transaction`: records of one transaction in the store.
    pub fn totals(&mut self, lines_a_transaction: u64) {
        let rest = self.rest;
        let opened = |metrics: &Metrics| metrics.sum("qtap_capture_total", "\"opened\"");
        let received = |metrics: &Metrics| {
            metrics.sum("qtap_engine_connections_opened_total", "")
                + metrics.engine_lost("control_queue_full")
        };
        let reached = self.metrics.sum("qtap_engine_connections_opened_total", "");
        self.expect(
            rest.agree(opened, received)
                || self.metrics.engine_lost("control_queue_full") > 0.0 && reached <= opened(self.metrics),
            || {
                format!(
                    "connections: {} told by the kernel side, {reached} reached the engine",
                    opened(rest.metrics())
                )
            },
        );
        let emitted = |metrics: &Metrics| {
            let kind = |kind: &str| metrics.sum("qtap_engine_emitted_total", kind);
            kind("\"transaction\"") * lines_a_transaction as f64 + kind("\"connection\"")
        };
        let records = |metrics: &Metrics| metrics.sum("qtap_store_received_total", "");
        // The record of an artifact that is lost is not made.
        let lost = self.metrics.store_lost();
        let made = emitted(self.metrics);
        let within = lost > 0.0 && (made - lost..=made).contains(&records(self.metrics));
        self.expect(rest.agree(emitted, records) || within, || {
            let metrics = rest.metrics();
            format!(
                "records: {} made of transactions and reports, the store received {}",
                emitted(metrics),
                records(metrics)
            )
        });
        let written = |metrics: &Metrics| metrics.sum("qtap_store_emitted_total", "");
        self.expect(
            rest.agree(records, |metrics| written(metrics) + metrics.store_lost()),
            || {
                let metrics = rest.metrics();
                let (records, written, lost) = (records(metrics), written(metrics), metrics.store_lost());
                format!("records: the store received {records}, wrote {written} and lost {lost}")
            },
        );
        let (written, lines) = (written(self.metrics), self.events.iter().count() as f64);
        self.expect(lines >= written, || {
            format!("records: {written} written, {lines} read")
        });
        let (faults, panics) = (
            self.metrics.sum("qtap_plugin_lost_total", ""),
            self.metrics.sum("qtap_plugin_panics_total", "")
                + self.metrics.sum("qtap_engine_panics_total", ""),
        );
        self.expect(faults + panics == 0.0, || {
            format!("{faults} transactions without beginning or end, {panics} panics")
        });
        self.gaps_by_reason();
        self.bodies();
    }

    /// Bytes missing of connections, by reason = what the kernel side left out for it. Ends that were lost take with them what
    /// was missing at the end.
    fn gaps_by_reason(&mut self) {
        let (rest, metrics) = (self.rest, self.metrics);
        let ends_unknown =
            metrics.engine_lost("connection_end") + metrics.kernel_lost("connections_lost_ring_full");
        for (reason, counter) in BYTE_REASONS {
            let label = format!("\"{reason}\"");
            let gaps = |metrics: &Metrics| metrics.sum("qtap_engine_gap_bytes_total", &label);
            let lost = |metrics: &Metrics| match counter {
                "" => metrics.engine_lost("queue_full"),
                counter => metrics.kernel_lost(counter),
            };
            // Of connections that go on, what is missing is found with their next bytes.
            let goes_on = ends_unknown > 0.0 || !rest.is_quiet();
            let holds = rest.agree(lost, gaps) || (goes_on && gaps(metrics) <= lost(metrics));
            let (gaps, lost) = (gaps(metrics), lost(metrics));
            self.expect(holds, || {
                format!("bytes lost for {reason}: {lost} counted where they were lost, {gaps} missed by connections")
            });
        }
    }

    /// Bytes of bodies that were not kept = what is counted for memory and for load.
    fn bodies(&mut self) {
        if self.metrics.store_lost() > 0.0 {
            return;
        }
        let mut missing = 0;
        for transaction in self.said.iter().flat_map(|said| &said.transactions) {
            for part in ["request", "response"].map(|part| &transaction[part]) {
                if part["body_truncated"] == true {
                    let text = part["body"].as_str().unwrap_or_default();
                    let kept = text.trim_end_matches('=').len() as u64 * 3 / 4;
                    let gap = part["body_gap_bytes"].as_u64().unwrap_or_default();
                    missing += part["body_size_total"].as_u64().unwrap_or_default() - kept - gap;
                }
            }
        }
        let given_up: u64 = self.said.iter().map(given_up).sum();
        let counted = self.metrics.engine_lost("memory_budget") + self.metrics.engine_lost("load_shed");
        let holds = (missing + given_up) as f64 == counted || !self.rest.is_quiet();
        self.expect(holds, || {
            format!("bytes of bodies: {missing} are not kept and {given_up} given up, {counted} are counted")
        });
    }

    /// Fails with every sum that does not come out.
    pub fn close(self) {
        assert!(
            self.problems.is_empty(),
            "{} sums do not come out:\n{}",
            self.problems.len(),
            self.problems.join("\n")
        );
    }
}

/// Bytes in the detail of `memory_budget` that were given up and not merely refused.
fn given_up(said: &Said) -> u64 {
    let detail = said.details("memory_budget").unwrap_or_default();
    let number = detail.strip_suffix(" bytes were given up for want of memory");
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// It says itself that it is not whole.
fn is_flagged(transaction: &Value) -> bool {
    transaction["incomplete"] == true
        || transaction["headers_partial"] == true
        || transaction["status_unknown"] == true
        || transaction["outcome"] != "complete"
}
