//! Stacks of databases and queues: one choice for each protocol, and for each domain that overrides it.

use qtap_config::{DatabaseDetail, Tap};
use qtap_engine::ConnectionFacts;
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Command, DATABASES, Detail, Values};

use super::endpoints::Endpoints;
use super::generation::{BuildError, Generation};
use crate::command_exchange::CommandExchange;

/// The choices for one protocol.
pub(super) struct Choices {
    protocol: Protocol,
    default: Option<usize>,
    endpoints: Endpoints,
    detail: Detail,
}

impl Choices {
    /// Those of all protocols; `stack` gives the place of a stack by its name.
    pub(super) fn all<'a>(
        tap: &'a Tap,
        mut stack: impl FnMut(&'a str) -> Result<usize, BuildError>,
    ) -> Result<Vec<Self>, BuildError> {
        let of_protocol = |protocol: Protocol| {
            let name = protocol.name();
            let default = tap.databases.get(name).map(|name| stack(name)).transpose()?;
            let mut overrides = Vec::new();
            for endpoint in &tap.endpoints {
                let Some(choice) = endpoint.databases.get(name) else {
                    continue;
                };
                let choice = choice.as_deref().map(&mut stack).transpose()?;
                overrides.push((endpoint.domain.clone(), choice));
            }
            Ok(Self {
                protocol,
                default,
                endpoints: Endpoints::new(overrides),
                detail: tap.database_detail.get(name).map(detail).unwrap_or_default(),
            })
        };
        DATABASES
            .iter()
            .map(|entry| entry.protocol)
            .map(of_protocol)
            .collect()
    }
}

/// As the parser wants it.
const fn detail(settings: &DatabaseDetail) -> Detail {
    Detail {
        values: match settings.values {
            qtap_config::Values::None => Values::None,
            qtap_config::Values::Keys => Values::Keys,
            qtap_config::Values::Full => Values::Full,
        },
        parameters: settings.parameters,
        split_statements: settings.split_statements,
    }
}

impl Generation {
    /// What is shown of the commands of a protocol.
    pub(super) fn detail(&self, protocol: Protocol) -> Detail {
        let choices = self.databases.iter();
        let mut of_protocol = choices.filter(|choices| choices.protocol == protocol);
        of_protocol
            .next()
            .map(|choices| choices.detail)
            .unwrap_or_default()
    }

    /// The stack of a connection to a database: an override for the name of the server, else the default of the protocol.
    pub(super) fn resolve_database(&self, connection: &ConnectionFacts, protocol: Protocol) -> Option<usize> {
        let choices = self
            .databases
            .iter()
            .find(|choices| choices.protocol == protocol)?;
        let overridden = match &connection.domain {
            Some(domain) => choices.endpoints.find(domain),
            None => choices.endpoints.find(&connection.endpoint_id()),
        };
        overridden.unwrap_or(choices.default)
    }

    /// Who in the stack wants the command; bit n for the plugin at position n.
    pub(super) fn ask_command(&self, stack: usize, connection: &ConnectionFacts, command: &Command) -> u64 {
        let mut wanted_by = 0;
        for (position, mounted) in self.plugins(stack) {
            let answer = mounted
                .meter
                .call(|| mounted.plugin.wants_command(connection, command));
            wanted_by |= u64::from(answer.unwrap_or(false)) << position;
        }
        wanted_by
    }

    /// Tells those who wanted it that a command ended.
    pub(super) fn deliver_command(&self, stack: usize, wanted_by: u64, exchange: &CommandExchange<'_>) {
        for (position, mounted) in self.plugins(stack) {
            if wanted_by & (1 << position) != 0 {
                mounted.meter.call(|| mounted.plugin.command(exchange));
            }
        }
    }
}
