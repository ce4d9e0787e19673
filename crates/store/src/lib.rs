//! Event and object stores, and the one writer of standard output.
//!
//! In: [`qtap_plugin::schema::Event`]s, [`qtap_plugin::schema::Artifact`]s and access-log records, from any thread. Out:
//! JSON lines on standard output (DESIGN §5). Everything goes through one [`Output`]: a queue bounded in records and
//! bytes, and a thread that writes it. Nothing here blocks its caller; what cannot be kept is counted with its reason.
//!
//! ```no_run
//! # fn run(config: &qtap_config::Config) -> std::io::Result<()> {
//! use std::time::Duration;
//! use qtap_store::{Output, OutputLimits};
//!
//! let output = Output::stdout(OutputLimits::for_bodies(config.tap.limits.body))?;
//! let stores = qtap_store::build(&config.services, &output);
//! // … hand `stores` and `output` to the plugins; at the end:
//! output.flush(Duration::from_secs(2));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod line;
mod output;
mod stdout;

use std::sync::Arc;

use qtap_config::{Services, StoreKind};
use qtap_plugin::{Discard, EventStore, ObjectStore, Stores};

pub use output::{Lost, Output, OutputCounters, OutputLimits};
pub use stdout::{StdoutEvents, StdoutObjects};

/// The stores of a configuration. A list that names none gets one that discards.
#[must_use]
pub fn build(services: &Services, output: &Output) -> Stores {
    let mut events: Vec<Arc<dyn EventStore>> = services
        .event_stores
        .iter()
        .map(|store| match store.kind {
            StoreKind::Stdout => Arc::new(StdoutEvents::new(output.clone())) as Arc<dyn EventStore>,
            StoreKind::Disabled => Arc::new(Discard),
        })
        .collect();
    let mut objects: Vec<Arc<dyn ObjectStore>> = services
        .object_stores
        .iter()
        .map(|store| match store.kind {
            StoreKind::Stdout => {
                let records = store
                    .event_store
                    .and_then(|index| events.get(index))
                    .map(Arc::clone);
                Arc::new(StdoutObjects::new(output.clone(), records)) as Arc<dyn ObjectStore>
            }
            StoreKind::Disabled => Arc::new(Discard),
        })
        .collect();
    if events.is_empty() {
        events.push(Arc::new(Discard));
    }
    if objects.is_empty() {
        objects.push(Arc::new(Discard));
    }
    Stores { events, objects }
}
