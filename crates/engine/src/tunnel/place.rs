//! Where in a connection something takes place.

use qtap_protocol::StreamKey;

/// Tunnels inside of each other that are read.
const DEPTH: u32 = 2;
/// Bits of a key that its parser numbers transactions with: streams of HTTP/2 have 31.
const KEY_BITS: u32 = 32;
/// Bits that number the tunnels of one level.
const NUMBER_BITS: u32 = 16;

/// The connection itself, or a tunnel in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    depth: u32,
    /// Number of the tunnel, and of the one around it, above the bits of keys.
    base: u64,
    /// TLS is left alone by configuration.
    pub(crate) leaves_tls: bool,
}

impl Place {
    /// A transaction of this place among those of all of its connection: parsers in different tunnels count alike.
    pub(crate) const fn key(self, key: StreamKey) -> StreamKey {
        StreamKey(key.0.wrapping_add(self.base))
    }

    /// The tunnel that begins here as number `number`; `None` if it lies too deep.
    pub(crate) fn inside(self, number: u64) -> Option<Self> {
        if self.depth >= DEPTH {
            return None;
        }
        // Never 0, which is the place around.
        let number = number % ((1 << NUMBER_BITS) - 1) + 1;
        Some(Self {
            depth: self.depth + 1,
            base: self.base | number << (KEY_BITS + NUMBER_BITS * self.depth),
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_of_a_tunnel_do_not_meet_those_around_it() {
        let outside = Place::default();
        let keys: Vec<_> = (0..3)
            .filter_map(|number| outside.inside(number))
            .flat_map(|tunnel| {
                (0..3)
                    .filter_map(move |number| tunnel.inside(number))
                    .chain([tunnel])
            })
            .chain([outside])
            .flat_map(|place| [1, 3, u64::from(u32::MAX >> 1)].map(|key| place.key(StreamKey(key))))
            .collect();
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!((keys.len(), distinct.len()), (39, 39));
    }

    #[test]
    fn tunnels_lie_inside_of_each_other_so_deep_and_no_deeper() {
        let deepest = (0..DEPTH).try_fold(Place::default(), |place, _| place.inside(7));
        assert!(deepest.is_some_and(|place| place.inside(0).is_none()));
    }
}
