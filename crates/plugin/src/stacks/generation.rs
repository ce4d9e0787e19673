//! One configuration's stacks.

use std::collections::BTreeMap;
use std::sync::Arc;

use qtap_config::{Config, Stack as StackSettings};
use qtap_engine::{ConnectionFacts, Interest};
use qtap_protocol::RequestHead;

use super::audit::Audit;
use super::calls::Calls;
use super::databases::Choices;
use super::endpoints::Endpoints;
use crate::agent::Agent;
use crate::exchange::Exchange;
use crate::meter::{Meter, Metrics};
use crate::plugin::{Context, Plugin};
use crate::registry;
use crate::sink::EventStore;

/// Plugins in one stack at most: one bit each remembers who wanted a transaction.
const MAX_PLUGINS: usize = 64;

/// A configuration cannot be put in force.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BuildError {
    /// A stack is named and not defined.
    #[error("stack `{0}` is not defined under `stacks`")]
    UnknownStack(String),
    /// Too many plugins.
    #[error("stack `{0}` has more than {MAX_PLUGINS} plugins")]
    TooManyPlugins(String),
}

/// A plugin in its place.
pub(super) struct Mounted {
    pub(super) plugin: Box<dyn Plugin>,
    pub(super) meter: Arc<Meter>,
}

type Stack = Vec<Mounted>;

/// One configuration in force: its stacks with their plugins, and who gets which.
pub struct Generation {
    stacks: Vec<Stack>,
    default: Option<usize>,
    endpoints: Endpoints,
    grpc: Calls,
    pub(super) databases: Vec<Choices>,
    reports: Arc<dyn EventStore>,
    audit: Audit,
    agent: Arc<Agent>,
    metrics: Arc<Metrics>,
}

impl Generation {
    /// Builds the stacks that `config` refers to. `context` carries the stores of the same configuration; `metrics`
    /// are those of the former generation, if any.
    ///
    /// # Errors
    /// See [`BuildError`]; the former generation stays in force.
    pub fn new(config: &Config, context: &Context, metrics: &Arc<Metrics>) -> Result<Self, BuildError> {
        let body_limit = usize::try_from(config.tap.limits.body).unwrap_or(usize::MAX);
        let mount = |settings: &StackSettings| -> Stack {
            let build = |plugin| {
                let (name, plugin) = registry::build(plugin, context, body_limit);
                Mounted {
                    plugin,
                    meter: metrics.meter(name),
                }
            };
            settings.plugins.iter().map(build).collect()
        };
        let mut builder = Builder {
            config,
            stacks: Vec::new(),
            by_name: BTreeMap::new(),
            mount,
        };
        let default = config
            .tap
            .http
            .as_deref()
            .map(|name| builder.stack(name))
            .transpose()?;
        let mut overrides = Vec::new();
        for endpoint in &config.tap.endpoints {
            let Some(choice) = &endpoint.http else { continue };
            let stack = choice.as_deref().map(|name| builder.stack(name)).transpose()?;
            overrides.push((endpoint.domain.clone(), stack));
        }
        let grpc = Calls::new(&config.tap, |name| builder.stack(name))?;
        let databases = Choices::all(&config.tap, |name| builder.stack(name))?;
        Ok(Self {
            stacks: builder.stacks,
            default,
            endpoints: Endpoints::new(overrides),
            grpc,
            databases,
            reports: context.stores.default_events(),
            audit: Audit::new(&config.tap),
            agent: Arc::clone(&context.agent),
            metrics: Arc::clone(metrics),
        })
    }

    /// One stack for everything, of the given plugins.
    #[cfg(test)]
    pub(super) fn of_plugins(
        plugins: Vec<(&'static str, Box<dyn Plugin>)>,
        context: &Context,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let mount = |(name, plugin)| Mounted {
            plugin,
            meter: metrics.meter(name),
        };
        Self {
            stacks: vec![plugins.into_iter().map(mount).collect()],
            default: Some(0),
            endpoints: Endpoints::default(),
            grpc: Calls::default(),
            databases: Vec::new(),
            reports: context.stores.default_events(),
            audit: Audit::default(),
            agent: Arc::clone(&context.agent),
            metrics: Arc::clone(metrics),
        }
    }

    /// Whether any transaction can have a stack.
    pub(super) fn has_stacks(&self) -> bool {
        let of_http = self.endpoints.stacks().chain(self.default);
        let mut reachable = of_http.chain(self.grpc.stacks());
        reachable.any(|stack| self.stacks.get(stack).is_some_and(|plugins| !plugins.is_empty()))
    }

    /// The stack of a transaction: an override for its own authority, or for the name of the server when it has none,
    /// else the default (P-X1). A call of gRPC has choices of its own, and those of HTTP where it has none.
    pub(super) fn resolve(&self, connection: &ConnectionFacts, request: &RequestHead) -> Option<usize> {
        let find = |endpoints: &Endpoints| match (&request.authority, &connection.domain) {
            _ if endpoints.is_empty() => None,
            (Some(authority), _) => endpoints.find(&String::from_utf8_lossy(authority)),
            (None, Some(domain)) => endpoints.find(domain),
            (None, None) => endpoints.find(&connection.endpoint_id()),
        };
        if let Some(choice) = self.grpc.choose(request, find) {
            return choice;
        }
        find(&self.endpoints).unwrap_or(self.default)
    }

    /// The greatest interest in the stack, and who has any.
    pub(super) fn ask(
        &self,
        stack: usize,
        connection: &ConnectionFacts,
        request: &RequestHead,
    ) -> (Interest, u64) {
        let mut greatest = Interest::None;
        let mut wanted_by = 0;
        for (position, mounted) in self.stacks.get(stack).into_iter().flatten().enumerate() {
            let answer = mounted
                .meter
                .call(|| mounted.plugin.interest(connection, request));
            let interest = answer.unwrap_or(Interest::None);
            if interest != Interest::None {
                wanted_by |= 1 << position;
            }
            greatest = greatest.max(interest);
        }
        (greatest, wanted_by)
    }

    /// Tells those who wanted it that a transaction ended.
    pub(super) fn deliver(&self, stack: usize, wanted_by: u64, exchange: &Exchange<'_>) {
        for (position, mounted) in self.stacks.get(stack).into_iter().flatten().enumerate() {
            if wanted_by & (1 << position) != 0 {
                mounted.meter.call(|| mounted.plugin.transaction(exchange));
            }
        }
    }

    /// Tells those who wanted it of a transaction that goes on.
    pub(super) fn deliver_progress(&self, stack: usize, wanted_by: u64, exchange: &Exchange<'_>) {
        for (position, mounted) in self.plugins(stack) {
            if wanted_by & (1 << position) != 0 {
                mounted.meter.call(|| mounted.plugin.progress(exchange));
            }
        }
    }

    /// The plugins of a stack in order.
    pub(super) fn plugins(&self, stack: usize) -> impl Iterator<Item = (usize, &Mounted)> {
        self.stacks.get(stack).into_iter().flatten().enumerate()
    }

    pub(super) fn reports(&self) -> &dyn EventStore {
        self.reports.as_ref()
    }

    pub(super) const fn audit(&self) -> &Audit {
        &self.audit
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

/// Mounts each stack once, however often it is named.
struct Builder<'a, M> {
    config: &'a Config,
    stacks: Vec<Stack>,
    by_name: BTreeMap<&'a str, usize>,
    mount: M,
}

impl<'a, M: Fn(&StackSettings) -> Stack> Builder<'a, M> {
    fn stack(&mut self, name: &'a str) -> Result<usize, BuildError> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let settings = self
            .config
            .stacks
            .get(name)
            .ok_or_else(|| BuildError::UnknownStack(name.to_owned()))?;
        if settings.plugins.len() > MAX_PLUGINS {
            return Err(BuildError::TooManyPlugins(name.to_owned()));
        }
        let index = self.stacks.len();
        self.stacks.push((self.mount)(settings));
        self.by_name.insert(name, index);
        Ok(index)
    }
}
