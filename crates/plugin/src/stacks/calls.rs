//! Stacks of their own for calls of gRPC.

use qtap_config::Tap;
use qtap_protocol::RequestHead;
use qtap_protocol::grpc::Dialect;

use super::endpoints::Endpoints;
use super::generation::BuildError;

/// `tap.grpc`, and `grpc` of `tap.endpoints`. `None` inside is the stack `none`.
#[derive(Default)]
pub(super) struct Calls {
    default: Option<Option<usize>>,
    endpoints: Endpoints,
    /// Nothing is said of gRPC: requests need not be looked at.
    is_empty: bool,
}

impl Calls {
    /// The choices of `tap`; `stack` gives the place of a stack by its name.
    pub(super) fn new<'a>(
        tap: &'a Tap,
        mut stack: impl FnMut(&'a str) -> Result<usize, BuildError>,
    ) -> Result<Self, BuildError> {
        let mut place = |choice: &'a Option<String>| choice.as_deref().map(&mut stack).transpose();
        let default = tap.grpc.as_ref().map(&mut place).transpose()?;
        let mut overrides = Vec::new();
        for endpoint in &tap.endpoints {
            if let Some(choice) = &endpoint.grpc {
                overrides.push((endpoint.domain.clone(), place(choice)?));
            }
        }
        Ok(Self {
            is_empty: default.is_none() && overrides.is_empty(),
            default,
            endpoints: Endpoints::new(overrides),
        })
    }

    /// The choice for a request, if it is a call and there is one: what `find` finds among the overrides, else the default.
    pub(super) fn choose(
        &self,
        request: &RequestHead,
        find: impl FnOnce(&Endpoints) -> Option<Option<usize>>,
    ) -> Option<Option<usize>> {
        if self.is_empty || Dialect::of_request(request).is_none() {
            return None;
        }
        find(&self.endpoints).or(self.default)
    }

    /// The stacks that a choice names.
    pub(super) fn stacks(&self) -> impl Iterator<Item = usize> {
        self.endpoints.stacks().chain(self.default.flatten())
    }
}
