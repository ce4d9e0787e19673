//! The books of each connection.

use std::collections::BTreeMap;

use super::{Account, BYTE_REASONS, Said};
use crate::{NginxRecord, Side, is_flagged};

impl Account<'_> {
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
}
