//! Memory for payload: one allocation for many small records.

use bytes::{Bytes, BytesMut};

/// Size of an arena. A record keeps its arena alive, so this bounds what a small record that is kept can hold on to.
const ARENA: usize = 64 * 1024;

/// Larger records get an allocation of their own.
const LARGE: usize = ARENA / 4;

/// Copies payload out of the ring.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    current: BytesMut,
}

impl Arena {
    /// A copy of `bytes`. Costs one allocation per 64 KiB, or per record above 16 KiB.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        if bytes.len() > LARGE {
            return Bytes::copy_from_slice(bytes);
        }
        if self.current.capacity() - self.current.len() < bytes.len() {
            self.current = BytesMut::with_capacity(ARENA);
        }
        self.current.extend_from_slice(bytes);
        self.current.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_records_share_an_allocation_and_keep_their_bytes() {
        let mut arena = Arena::default();
        let first = arena.copy(b"first");
        let second = arena.copy(b"second");
        assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"second"[..]));
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 5);
    }

    #[test]
    fn records_that_do_not_fit_begin_a_new_arena() {
        let mut arena = Arena::default();
        let copies: Vec<_> = (0..40_u8).map(|byte| arena.copy(&vec![byte; LARGE])).collect();
        for (byte, copy) in (0..).zip(&copies) {
            assert!(copy.iter().all(|found| *found == byte) && copy.len() == LARGE);
        }
    }
}
