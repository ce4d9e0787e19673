//! Where plugins put what they make. Implemented by the store room; every call returns at once.

use std::sync::Arc;

use crate::schema::{Artifact, ArtifactRecord, Event};

/// Takes events. Bounded and fire-and-forget: what cannot be kept is counted by the store.
pub trait EventStore: Send + Sync {
    /// Takes one event.
    fn save(&self, event: Event);

    /// Takes the event `artifact_record`: an artifact was stored.
    fn record(&self, record: &ArtifactRecord<'_>);

    /// Everything is dropped by configuration, so events need not be made.
    fn discards(&self) -> bool {
        false
    }
}

/// Takes payloads. Bounded and fire-and-forget, as [`EventStore`].
pub trait ObjectStore: Send + Sync {
    /// Takes one artifact.
    fn put(&self, artifact: &Artifact<'_>);

    /// Everything is dropped by configuration, so artifacts need not be made.
    fn discards(&self) -> bool {
        false
    }
}

/// Takes records for standard output: one or more whole lines with their line ends, never mixed with another's.
pub trait LineSink: Send + Sync {
    /// Takes one record. Bounded and fire-and-forget.
    fn write_record(&self, record: Vec<u8>);
}

/// The stores of one configuration, indexed as in `services`. Neither list is empty: none configured is one that
/// discards.
#[derive(Clone)]
pub struct Stores {
    /// Event stores.
    pub events: Vec<Arc<dyn EventStore>>,
    /// Object stores.
    pub objects: Vec<Arc<dyn ObjectStore>>,
}

impl Stores {
    /// The event store of connection reports and `report_usage`: the first.
    #[must_use]
    pub fn default_events(&self) -> Arc<dyn EventStore> {
        self.events
            .first()
            .map_or_else(|| Arc::new(Discard) as Arc<dyn EventStore>, Arc::clone)
    }
}

/// Drops everything: the store `disabled`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl EventStore for Discard {
    fn save(&self, _event: Event) {}

    fn record(&self, _record: &ArtifactRecord<'_>) {}

    fn discards(&self) -> bool {
        true
    }
}

impl ObjectStore for Discard {
    fn put(&self, _artifact: &Artifact<'_>) {}

    fn discards(&self) -> bool {
        true
    }
}
