//! The verdict on each connection, for a person at a terminal who runs the built-in configuration.

use std::fmt::Write as _;
use std::sync::Arc;

use qtap_plugin::schema::{ArtifactRecord, ConnectionEvent, Event};
use qtap_plugin::{EventStore, LineSink, Terminal};

/// Prints one line for each connection that ended, between the boxes of the access log, and the causes if its capture
/// was not healthy. In place of the store `stdout`, whose JSON is for programs.
pub(crate) struct ConsoleVerdicts {
    output: Arc<dyn LineSink>,
    terminal: Terminal,
}

impl ConsoleVerdicts {
    pub(crate) fn new(output: Arc<dyn LineSink>, terminal: Terminal) -> Self {
        Self { output, terminal }
    }
}

impl EventStore for ConsoleVerdicts {
    fn save(&self, event: Event) {
        if let Event::Connection(connection) = event
            && connection.finalized
        {
            self.output
                .write_record(render(&connection, self.terminal.colour).into_bytes());
        }
    }

    fn record(&self, _record: &ArtifactRecord<'_>) {
        // Not of a connection.
    }
}

fn render(connection: &ConnectionEvent, colour: bool) -> String {
    let (mark, paint) = match connection.health.status {
        "healthy" => ("✓", 32),
        "degraded" => ("~", 33),
        "ignored" => ("-", 90),
        _ => ("✗", 31),
    };
    let painted = |text: &str| {
        if colour {
            format!("\x1b[{paint}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let is_ingress = connection.direction == "ingress";
    let local = if is_ingress {
        &connection.destination
    } else {
        &connection.source
    };
    let exe = local.exe.as_deref().unwrap_or("?");
    let binary = exe.rsplit('/').next().unwrap_or(exe);
    let arrow = if is_ingress { "←" } else { "→" };
    let mut facts = vec![connection.l7_protocol.to_owned()];
    facts.extend(connection.tls_version.clone());
    facts.extend(connection.meta.tls_source.map(|source| format!("by {source}")));
    let plural = if connection.transactions == 1 { "" } else { "s" };
    facts.push(format!("{} transaction{plural}", connection.transactions));
    facts.push(format!(
        "↑ {} B ↓ {} B",
        connection.bytes_sent, connection.bytes_received
    ));
    let mut text = format!(
        " {} {binary} {arrow} {}  {} ({})\n",
        painted(mark),
        visible(&connection.meta.endpoint_id),
        painted(connection.health.status),
        facts.join(", ")
    );
    for reason in &connection.health.reasons {
        let _ = writeln!(text, "     {}: {}", reason.code, visible(&reason.detail));
    }
    text
}

/// Names come from the network: nothing in them may act on the terminal.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|char| {
            if char.is_control() {
                char.escape_default().collect()
            } else {
                vec![char]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_a_name_are_shown_not_sent() {
        assert_eq!(visible("a\u{1b}[31mb"), "a\\u{1b}[31mb");
    }
}
