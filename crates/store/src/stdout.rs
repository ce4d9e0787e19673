//! The stores `stdout`.

use std::sync::Arc;

use qtap_plugin::schema::{Artifact, ArtifactRecord, Event};
use qtap_plugin::{EventStore, ObjectStore};

use crate::line;
use crate::output::{Lost, Output};

/// Events as JSON lines, unsampled.
pub struct StdoutEvents {
    output: Output,
}

impl StdoutEvents {
    /// A store that writes to `output`.
    #[must_use]
    pub const fn new(output: Output) -> Self {
        Self { output }
    }
}

impl EventStore for StdoutEvents {
    fn save(&self, event: Event) {
        match line::of_event(&event) {
            // A loss is counted by the output.
            Ok(line) => _ = self.output.write(line),
            Err(error) => {
                tracing::error!(%error, "record not serialised");
                self.output.lose(Lost::NotSerialised);
            }
        }
    }

    fn record(&self, record: &ArtifactRecord<'_>) {
        // A loss is counted by the output.
        _ = self.output.write_parts(&line::of_record(record));
    }
}

/// Artifacts as JSON lines, and a record of each that was taken.
pub struct StdoutObjects {
    output: Output,
    records: Option<Arc<dyn EventStore>>,
}

impl StdoutObjects {
    /// A store that writes to `output`; `records` takes the [`ArtifactRecord`]s.
    #[must_use]
    pub const fn new(output: Output, records: Option<Arc<dyn EventStore>>) -> Self {
        Self { output, records }
    }
}

impl ObjectStore for StdoutObjects {
    fn put(&self, artifact: &Artifact<'_>) {
        let digest = artifact.digest();
        let taken = line::with_artifact(artifact, &digest, |parts| self.output.write_parts(parts));
        let wants_record = self
            .records
            .as_ref()
            .filter(|records| taken && !records.discards());
        if let Some(records) = wants_record {
            records.record(&ArtifactRecord {
                provenance: artifact.provenance,
                digest,
                scheme: "stdout",
                summary: artifact.summary,
            });
        }
    }
}

#[cfg(test)]
mod tests;
