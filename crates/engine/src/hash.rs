//! The hash of the engine's tables.

/// A map for keys of a few words: several are asked for each event, where the default hash took a fifth as long as the parser. Seeded
/// anew in each run, since peers choose stream ids.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
