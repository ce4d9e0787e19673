//! What must hold of the decoder whatever comes in. Run by the fuzz target and on random bytes by a test.

use super::{Decoder, Step};

/// Cap of the table, small so that it is met.
const TABLE: usize = 1 << 10;
const STRING: usize = 1 << 12;

/// Decodes `input` as one block, and again with every representation offered byte by byte: the same steps come out, and
/// an unfinished one changes nothing.
///
/// # Panics
/// When it does not hold.
pub(crate) fn run(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else {
        return;
    };
    let [mut whole, mut split] = [(); 2].map(|()| Decoder::new(TABLE, STRING));
    if first & 1 == 1 {
        whole.unsync();
        split.unsync();
    }
    let mut rest = input;
    loop {
        let expected = whole.step(rest);
        let mut length = 0;
        let found = loop {
            let part = rest.get(..length).unwrap_or(rest);
            match split.step(part) {
                Ok((Step::NeedMore, taken)) => assert_eq!(taken, 0),
                other => break Some(other),
            }
            if length == rest.len() {
                break None;
            }
            length += 1;
        };
        assert_eq!(whole.is_synced(), split.is_synced());
        let taken = match (&expected, &found) {
            (Ok((Step::NeedMore, _)), None) | (Err(_), Some(Err(_))) => return,
            (Ok((_, taken)), _) => *taken,
            (Err(_), _) => 0,
        };
        assert_eq!(Some(expected), found, "at once, and byte by byte");
        assert!(taken > 0, "a step takes something");
        rest = rest.get(taken..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn random_blocks_decode_alike_however_they_come(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            super::run(&input);
        }
    }
}
