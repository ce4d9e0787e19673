//! What the agent tells of one connection, at one end.

use std::collections::HashMap;

use serde_json::Value;

use crate::Events;

/// What the agent said of one end of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) connection: Value,
    pub(super) requests: u64,
    pub(super) transactions: Vec<Value>,
}

impl Said {
    /// Of every connection whose end was told.
    pub(super) fn all(events: &Events) -> Vec<Self> {
        let mut by_id: HashMap<&str, Self> = HashMap::new();
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
        by_id
            .into_values()
            .filter(|said| !said.connection.is_null())
            .collect()
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        self.connection["health"][key].as_u64().unwrap_or_default()
    }

    pub(super) fn has(&self, code: &str) -> bool {
        self.details(code).is_some()
    }

    fn details(&self, code: &str) -> Option<&str> {
        let reasons = self.connection["health"]["reasons"].as_array()?;
        let reason = reasons.iter().find(|reason| reason["code"] == code)?;
        reason["detail"].as_str()
    }

    /// The number of bytes of the wire in a reason's detail, which begins with it. What calls lost beside is none of the wire's:
    /// `33651 bytes, 131072 of calls`, `371222 bytes of calls`.
    pub(super) fn bytes(&self, code: &str) -> u64 {
        let number = self
            .details(code)
            .and_then(|detail| detail.split_once(" bytes"))
            .filter(|(_, rest)| rest.is_empty() || rest.starts_with(','))
            .map(|(number, _)| number);
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    }

    /// The number of bytes of calls in a reason's detail.
    pub(super) fn bytes_of_calls(&self, code: &str) -> u64 {
        let detail = self.details(code).unwrap_or_default();
        let of_calls = detail.strip_suffix(" of calls").unwrap_or_default();
        let number = of_calls.strip_suffix(" bytes").unwrap_or(of_calls);
        let number = number.rsplit(' ').next().unwrap_or_default();
        number.parse().unwrap_or_default()
    }

    /// Bytes in the detail of `memory_budget` that were given up and not merely refused.
    pub(super) fn given_up(&self) -> u64 {
        let detail = self.details("memory_budget").unwrap_or_default();
        let number = detail.strip_suffix(" bytes were given up for want of memory");
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_of_the_wire_and_of_calls_are_told_apart() {
        for (detail, wire, calls) in [
            ("12 bytes", 12, 0),
            ("12 bytes of calls", 0, 12),
            ("33651 bytes, 131072 of calls", 33651, 131_072),
        ] {
            let reasons = json!({"health": {"reasons": [{"code": "queue_full", "detail": detail}]}});
            let said = Said {
                connection: reasons,
                ..Said::default()
            };
            let told = (said.bytes("queue_full"), said.bytes_of_calls("queue_full"));
            assert_eq!(told, (wire, calls), "{detail}");
        }
    }
}
