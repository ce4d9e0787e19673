//! The static and the dynamic table (RFC 7541 §2.3, Appendix A).

use std::collections::VecDeque;

use bytes::Bytes;

/// A table entry; a part that was never learned is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
}

impl Entry {
    /// RFC 7541 §4.1. Unknown parts count 0, so an entry may outlive its original, which harms nothing:
    /// what the encoder has evicted it never refers to.
    fn size(&self) -> usize {
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        32 + length(&self.name) + length(&self.value)
    }
}

/// What an index stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    Entry(Entry),
    /// Older than what was learned.
    Unknown,
    /// Not an entry that the encoder can have.
    Invalid,
}

/// The table of one direction: the encoder's own, or its newest part.
///
/// Dynamic indices count back from the newest entry, so entries inserted since the decoder joined resolve
/// exactly though older ones are unknown (`protocols.md` 4.4).
#[derive(Debug)]
pub(crate) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    /// The encoder's own limit, while it is known.
    max: Option<usize>,
    cap: usize,
    /// Every entry of the encoder's table is here.
    synced: bool,
}

/// Size of a table before any update (RFC 9113 §6.5.2).
const INITIAL_MAX: usize = 4096;

impl Table {
    /// A table that has followed its encoder from the start. It never holds more than `cap` bytes.
    pub(crate) fn synced(cap: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max: Some(INITIAL_MAX),
            cap,
            synced: true,
        }
    }

    /// Forgets everything: entries of the encoder from before now are unknown.
    pub(crate) fn unsync(&mut self) {
        self.entries.clear();
        self.size = 0;
        self.synced = false;
        // A size update may have been lost too. Holding more than the encoder does is harmless, see `Entry::size`.
        self.max = None;
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Obeys a size update. Beyond the cap the oldest entries are given up, which makes them unknown.
    pub(crate) fn resize(&mut self, max: usize) {
        self.max = Some(max);
        self.evict(0);
        if max == 0 {
            // An empty table is known in full, whatever was missed before.
            self.synced = true;
        }
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.evict(size);
        if size <= self.limit() {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    pub(crate) fn get(&self, index: u32) -> Resolved {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(position) = index.checked_sub(1) else {
            return Resolved::Invalid;
        };
        if let Some(&(name, value)) = STATIC.get(position) {
            let part = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
            return Resolved::Entry(Entry {
                name: part(name),
                value: part(value),
            });
        }
        match self.entries.get(position - STATIC.len()) {
            Some(entry) => Resolved::Entry(entry.clone()),
            None if self.synced => Resolved::Invalid,
            None => Resolved::Unknown,
        }
    }

    fn limit(&self) -> usize {
        self.max.map_or(self.cap, |max| max.min(self.cap))
    }

    /// Makes room for `incoming` bytes (§4.4).
    fn evict(&mut self, incoming: usize) {
        let limit = self.limit();
        while self.size.saturating_add(incoming) > limit {
            // Past the encoder's own limit it has dropped everything older too, so what is left is all there is.
            // Where our cap ruled, the encoder may still have what we drop.
            if let Some(max) = self.max {
                self.synced = self.size.saturating_add(incoming) > max;
            }
            let Some(oldest) = self.entries.pop_back() else {
                break;
            };
            self.size -= oldest.size();
        }
    }
}

/// RFC 7541 Appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &'static str, value_bytes: usize) -> Entry {
        Entry {
            name: Some(Bytes::from_static(name.as_bytes())),
            value: Some(vec![b'v'; value_bytes].into()),
        }
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = Table::synced(1 << 20);
        table.insert(entry("a", 10));
        table.insert(entry("b", 5000));
        assert_eq!(table.get(62), Resolved::Invalid);
        assert_eq!(table.size(), 0);
    }

    #[test]
    fn an_unsynced_table_knows_only_what_came_since() {
        let mut table = Table::synced(1 << 20);
        table.insert(entry("a", 1));
        table.unsync();
        table.insert(entry("b", 1));
        assert_eq!(table.get(62), Resolved::Entry(entry("b", 1)));
        assert_eq!(table.get(63), Resolved::Unknown);
        assert_eq!(table.get(0), Resolved::Invalid);
    }

    #[test]
    fn an_unsynced_table_is_whole_again_once_it_overflows_or_is_emptied() {
        let mut table = Table::synced(1 << 20);
        table.unsync();
        table.resize(100);
        table.insert(entry("a", 27));
        assert_eq!(table.get(63), Resolved::Unknown);
        table.insert(entry("b", 27));
        assert_eq!(table.get(63), Resolved::Invalid);
        table.unsync();
        table.resize(0);
        assert_eq!(table.get(62), Resolved::Invalid);
    }

    #[test]
    fn beyond_the_cap_old_entries_become_unknown_not_wrong() {
        let mut table = Table::synced(1000);
        table.resize(1 << 24);
        for _ in 0..50 {
            table.insert(entry("a", 100));
        }
        assert!(table.size() <= 1000);
        assert_eq!(table.get(62), Resolved::Entry(entry("a", 100)));
        assert_eq!(table.get(62 + 49), Resolved::Unknown);
    }
}
