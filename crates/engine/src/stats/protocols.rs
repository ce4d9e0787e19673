//! What each protocol's parser was given and made of it (P-L6).

use qtap_protocol::ParseError;
use qtap_protocol::detect::Protocol;

use super::Counter;

/// Protocols that have a parser.
const PARSED: [Protocol; 7] = [
    Protocol::Http1,
    Protocol::Http2,
    Protocol::Redis,
    Protocol::Postgres,
    Protocol::MySql,
    Protocol::Kafka,
    Protocol::Dns,
];

/// Where the counters of a protocol stand among those of [`PARSED`].
const fn place(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Http1 => 0,
        // A connection of HTTP/2 with calls.
        Protocol::Http2 | Protocol::Grpc => 1,
        Protocol::Redis => 2,
        Protocol::Postgres => 3,
        Protocol::MySql => 4,
        Protocol::Kafka => 5,
        Protocol::Dns => 6,
        // Recognised by what carries them, and not parsed.
        Protocol::Http3 | Protocol::Quic => PARSED.len(),
    }
}

/// Counters of one protocol.
#[derive(Debug, Default)]
pub struct ProtocolStats {
    /// Bytes handed to the parser.
    pub bytes: Counter,
    /// Bytes that the parser was told are missing.
    pub gap_bytes: Counter,
    /// Transactions and commands that ended.
    pub transactions: Counter,
    /// Messages that were passed over.
    pub resyncs: Counter,
    /// Responses without a known request.
    pub orphans: Counter,
    /// Heads with fields that could not be decoded.
    pub partial_heads: Counter,
    /// Connections that turned out to speak something else.
    pub mistaken: Counter,
    /// Connections on which nothing could be parsed any more.
    pub fatal: Counter,
    /// Panics.
    pub panics: Counter,
}

impl ProtocolStats {
    /// The parser gave up.
    pub(crate) fn error(&self, error: &ParseError) {
        match error {
            ParseError::NotThisProtocol { .. } => self.mistaken.add(1),
            ParseError::Fatal { .. } => self.fatal.add(1),
        }
    }
}

/// Counters of all of them; the last are of what has no parser, and stay at zero.
#[derive(Debug, Default)]
pub struct AllProtocols([ProtocolStats; PARSED.len() + 1]);

impl AllProtocols {
    /// Those of `protocol`.
    #[must_use]
    pub const fn of(&self, protocol: Protocol) -> &ProtocolStats {
        let [http1, http2, redis, postgres, mysql, kafka, dns, unparsed] = &self.0;
        match place(protocol) {
            0 => http1,
            1 => http2,
            2 => redis,
            3 => postgres,
            4 => mysql,
            5 => kafka,
            6 => dns,
            _ => unparsed,
        }
    }

    /// As [`super::Stats::each`].
    pub(super) fn each(
        &self,
        visit: &mut impl FnMut(&'static str, &'static str, &[(&'static str, &'static str)], u64, bool),
    ) {
        const ERRORS: &str = "qtap_engine_protocol_errors_total";
        const WHY: &str = "Connections on which the parser of a protocol ended, by kind.";
        type Pick = fn(&ProtocolStats) -> &Counter;
        #[rustfmt::skip] // one each line
        let plain: [(&'static str, &'static str, Pick); 6] = [
            ("qtap_engine_protocol_bytes_total", "Bytes handed to the parser of a protocol.", |stats| &stats.bytes),
            ("qtap_engine_protocol_gap_bytes_total", "Bytes that the parser of a protocol was told are missing.", |stats| &stats.gap_bytes),
            ("qtap_engine_protocol_transactions_total", "Transactions and commands that ended, by protocol.", |stats| &stats.transactions),
            ("qtap_engine_protocol_resyncs_total", "Messages passed over because they could not be understood, by protocol.", |stats| &stats.resyncs),
            ("qtap_engine_protocol_orphans_total", "Responses without a known request, by protocol.", |stats| &stats.orphans),
            ("qtap_engine_protocol_partial_heads_total", "Heads with fields that could not be decoded, by protocol.", |stats| &stats.partial_heads),
        ];
        let errors: [(&'static str, Pick); 3] = [
            ("mistaken", |stats| &stats.mistaken),
            ("fatal", |stats| &stats.fatal),
            ("panic", |stats| &stats.panics),
        ];
        for (name, help, pick) in plain {
            for (protocol, stats) in PARSED.iter().zip(&self.0) {
                visit(
                    name,
                    help,
                    &[("protocol", protocol.name())],
                    pick(stats).get(),
                    true,
                );
            }
        }
        for (kind, pick) in errors {
            for (protocol, stats) in PARSED.iter().zip(&self.0) {
                let labels = [("protocol", protocol.name()), ("kind", kind)];
                visit(ERRORS, WHY, &labels, pick(stats).get(), true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_own_row() {
        let all = AllProtocols::default();
        for protocol in PARSED {
            all.of(protocol).bytes.add(1 + place(protocol) as u64);
        }
        let mut seen = Vec::new();
        all.each(&mut |name, _, labels, value, _| {
            if name == "qtap_engine_protocol_bytes_total" {
                seen.push((labels[0].1, value));
            }
        });
        let expected: Vec<_> = PARSED.iter().map(|protocol| protocol.name()).zip(1..).collect();
        assert_eq!(seen, expected);
    }
}
