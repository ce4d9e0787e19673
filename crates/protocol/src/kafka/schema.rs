//! How messages are laid out: what the tables are made of.

use super::tables::APIS;

/// How a field is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(u8),
    /// A text with its length before it.
    Text,
    /// Bytes with their length before them.
    Blob,
    /// A number, and so many of these.
    List(&'static Kind),
    /// Fields one after the other.
    Struct(&'static [Field]),
}

/// What a field says, as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Passed over: among these all credentials.
    Other,
    /// Name that the client gave itself.
    Client,
    Topic,
    TopicId,
    Partition,
    Group,
    Transaction,
    /// Name of a resource whose configuration is meant.
    Resource,
    /// Code of an error, 0 for none.
    Error,
    /// Text of an error.
    Message,
    /// Milliseconds that the client is to keep still.
    Throttle,
    /// Batches of records.
    Records,
    /// Acknowledgements that a producer asks for; with 0 there is no reply.
    Acks,
    /// Milliseconds that the broker may wait for data.
    MaxWait,
    SessionId,
    SessionEpoch,
    /// Number of a partition that leaves the session of a fetch.
    Forgotten,
    /// Id of the broker to turn to.
    Node,
    Offset,
    /// Mechanism of SASL.
    Mechanism,
    /// Name and version of the client library.
    Software,
    /// Name of the group or transaction whose coordinator is asked for.
    Key,
    /// 0 for groups, 1 for transactions, 2 for share groups.
    KeyType,
}

/// A field, in the versions `first` to `last`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) role: Role,
    pub(super) kind: Kind,
    first: i16,
    last: i16,
    /// First version in which a byte before the structure says whether it is there; negative: none.
    null: i16,
    /// Its number among the tagged fields; negative: it is none of them.
    pub(super) tag: i16,
}

/// A field that is always there.
pub(super) const fn f(role: Role, kind: Kind, first: i16, last: i16) -> Field {
    Field {
        role,
        kind,
        first,
        last,
        null: -1,
        tag: -1,
    }
}

impl Field {
    pub(super) const fn null(mut self, first: i16) -> Self {
        self.null = first;
        self
    }

    pub(super) const fn tag(mut self, tag: i16) -> Self {
        self.tag = tag;
        self
    }

    pub(super) const fn is_in(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub(super) const fn can_be_null(&self, version: i16) -> bool {
        self.null >= 0 && self.null <= version
    }
}

/// One API.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) name: &'static str,
    /// Versions that are described; `last` is -1 when none is.
    pub(super) first: i16,
    pub(super) last: i16,
    /// First version with compact lengths and tagged fields.
    pub(super) flexible: i16,
    pub(super) request: &'static [Field],
    pub(super) response: &'static [Field],
}

impl Api {
    /// Whether messages of that version can be read beyond their header.
    pub(super) const fn describes(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub(super) const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }
}

pub(super) const PRODUCE: i16 = 0;
pub(super) const FETCH: i16 = 1;
pub(super) const SASL_HANDSHAKE: i16 = 17;
pub(super) const API_VERSIONS: i16 = 18;
pub(super) const SASL_AUTHENTICATE: i16 = 36;
pub(super) const SHARE_FETCH: i16 = 78;

/// The API with that key.
pub(super) fn api(key: i16) -> Option<&'static Api> {
    let place = APIS.binary_search_by_key(&key, |api| api.key).ok()?;
    APIS.get(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fewest bytes that a value takes.
    fn least(kind: Kind, version: i16, flexible: bool) -> usize {
        match kind {
            Kind::Fixed(width) => width.into(),
            Kind::Text => 1,
            Kind::Blob => 1,
            Kind::List(item) => {
                assert!(
                    least(*item, version, flexible) > 0,
                    "else a short message could hold an endless list"
                );
                1
            }
            Kind::Struct(fields) => {
                let of_fields = fields
                    .iter()
                    .filter(|field| field.is_in(version) && field.tag < 0)
                    .map(|field| least(field.kind, version, flexible));
                of_fields.sum::<usize>() + usize::from(flexible)
            }
        }
    }

    #[test]
    fn p_k1_tables_are_in_order_and_lists_cost_bytes() {
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert_eq!(api(PRODUCE).map(|api| api.name), Some("Produce"));
        assert!(api(-1).is_none() && api(999).is_none());
        for api in APIS {
            for version in api.first..=api.last {
                for fields in [api.request, api.response] {
                    // Of a list that a version does not have, nothing is asked.
                    for field in fields.iter().filter(|field| field.is_in(version)) {
                        check(field, version, api.is_flexible(version));
                    }
                }
            }
        }
    }

    fn check(field: &Field, version: i16, flexible: bool) {
        assert!(
            field.tag < 0 || flexible,
            "tagged fields are for flexible versions"
        );
        least(field.kind, version, flexible);
        let mut kind = field.kind;
        while let Kind::List(item) = kind {
            kind = *item;
        }
        if let Kind::Struct(fields) = kind {
            for field in fields.iter().filter(|field| field.is_in(version)) {
                check(field, version, flexible);
            }
        }
    }
}
