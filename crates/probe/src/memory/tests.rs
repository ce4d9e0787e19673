//! Searches of made-up memory, and of this process' own.

use proptest::prelude::*;

use super::*;

/// Bytes as random as a secret, different for each `seed`.
fn secret(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// An `OkmBlock`.
fn block(secret: &[u8]) -> Vec<u8> {
    let mut block = secret.to_vec();
    block.resize(64, 0);
    block.extend((secret.len() as u64).to_ne_bytes());
    block
}

/// Secrets side by side.
fn schedule(seeds: [u64; 3], length: usize) -> Vec<u8> {
    seeds
        .iter()
        .flat_map(|&seed| block(&secret(seed, length)))
        .collect()
}

/// Searches `memory`, which begins at `base`, as if it were one run of pages.
fn search(memory: &[u8], base: u64, limits: MemoryLimits) -> Harvest {
    let mut search = Search::new(limits);
    let end = base + memory.len() as u64;
    let went_on = search.run(base..end, reader(memory, base), &mut || true);
    search.harvest.is_cut = !went_on;
    search.harvest
}

fn reader(memory: &[u8], base: u64) -> impl FnMut(&mut [u8], u64) -> io::Result<usize> {
    move |buffer, address| {
        let from = (address - base) as usize;
        let count = buffer.len().min(memory.len() - from);
        buffer[..count].copy_from_slice(&memory[from..from + count]);
        Ok(count)
    }
}

fn found(harvest: &Harvest) -> Vec<Vec<u8>> {
    harvest
        .secrets
        .iter()
        .map(|secret| secret.bytes.to_vec())
        .collect()
}

#[test]
fn secrets_side_by_side_are_one_group() {
    for length in [32, 48] {
        let mut memory = vec![0xaa; 4096];
        let first = schedule([1, 2, 3], length);
        memory[808..808 + first.len()].copy_from_slice(&first);
        let second = schedule([4, 5, 6], length);
        memory[2000..2000 + second.len()].copy_from_slice(&second);
        let harvest = search(&memory, 0x7000, MemoryLimits::default());
        assert_eq!(
            found(&harvest),
            (1..=6).map(|seed| secret(seed, length)).collect::<Vec<_>>()
        );
        let groups: Vec<_> = harvest.secrets.iter().map(|secret| secret.group).collect();
        assert_eq!(groups, [1, 1, 1, 2, 2, 2]);
        assert!(!harvest.is_cut && harvest.bytes == 4096);
    }
}

#[test]
fn a_copy_that_was_left_behind_is_kept_once() {
    let mut memory = schedule([1, 2, 3], 48);
    memory.extend([0; 128]);
    // After a key update of the client, and before it.
    memory.extend(schedule([9, 2, 3], 48));
    memory.extend([0; 128]);
    memory.extend(schedule([1, 2, 3], 48));
    let harvest = search(&memory, 0, MemoryLimits::default());
    let seeds = [1, 2, 3, 9].map(|seed| secret(seed, 48));
    assert_eq!(found(&harvest), seeds);
}

/// Counters, pointers, texts, zeroes and half-random bytes with lengths behind them.
#[test]
fn what_is_no_secret_is_left() {
    let lists: [Vec<u8>; 5] = [
        vec![0; 32],
        (0..4_u64)
            .flat_map(|n| (0x7f12_3456_0000 + 16 * n).to_ne_bytes())
            .collect(),
        b"content-type: application/json; ".to_vec(),
        [secret(7, 16), vec![0; 16]].concat(),
        vec![0x5a; 32],
    ];
    for (number, bytes) in lists.iter().enumerate() {
        let harvest = search(&block(bytes).repeat(50), 0, MemoryLimits::default());
        assert!(harvest.secrets.is_empty(), "list {number}");
    }
    // Random bytes behind the secret, where nothing may be.
    let mut dirty = block(&secret(1, 32));
    dirty[60] = 1;
    assert!(search(&dirty, 0, MemoryLimits::default()).secrets.is_empty());
    // Another length.
    let mut odd = block(&secret(1, 32));
    odd[64] = 20;
    assert!(search(&odd, 0, MemoryLimits::default()).secrets.is_empty());
}

#[test]
fn thousands_of_false_ones_are_bounded() {
    let memory: Vec<u8> = (0..10_000)
        .flat_map(|seed| block(&secret(seed + 1, 32)))
        .collect();
    let limits = MemoryLimits {
        secrets: 100,
        ..MemoryLimits::default()
    };
    let harvest = search(&memory, 0, limits);
    assert_eq!(harvest.secrets.len(), 100);
    assert!(harvest.is_cut && harvest.bytes <= 2 * PIECE_BYTES as u64);
    let limits = MemoryLimits {
        bytes: 1 << 19,
        ..MemoryLimits::default()
    };
    let harvest = search(&memory, 0, limits);
    assert!(harvest.is_cut && harvest.bytes == 1 << 19);
}

#[test]
fn what_cannot_be_read_is_passed_over_and_counted() {
    let mut memory = vec![0; 8 * PIECE_BYTES];
    for piece in 0..8 {
        let at = piece * PIECE_BYTES + 4096;
        memory[at..at + 72].copy_from_slice(&block(&secret(piece as u64 + 1, 48)));
    }
    let mut inner = reader(&memory, 0);
    let mut search = Search::new(MemoryLimits::default());
    let went_on = search.run(
        0..memory.len() as u64,
        |buffer, address| match address as usize / PIECE_BYTES {
            1 | 4 => Err(io::Error::from_raw_os_error(libc::EIO)),
            6 => Ok(0),
            _ => inner(buffer, address),
        },
        &mut || true,
    );
    assert!(went_on);
    assert_eq!(search.harvest.faults, 3);
    assert_eq!(
        found(&search.harvest),
        [1, 3, 4, 6, 8].map(|seed| secret(seed, 48))
    );
}

#[test]
fn it_ends_when_it_is_told_to() {
    let memory = vec![0; 4 * PIECE_BYTES];
    let mut search = Search::new(MemoryLimits::default());
    let mut pieces = 0;
    let went_on = search.run(0..memory.len() as u64, reader(&memory, 0), &mut || {
        pieces += 1;
        pieces <= 2
    });
    assert!(!went_on);
    assert_eq!(search.harvest.bytes, 2 * PIECE_BYTES as u64);
}

/// `/proc/PID/mem`, `maps` and `pagemap` of this process, which has a secret on its heap.
#[test]
fn a_secret_on_the_heap_of_a_process_is_found() {
    let seed = u64::from(std::process::id()) << 20;
    let heap = schedule([seed + 1, seed + 2, seed + 3], 48);
    let pid = Pid(std::process::id());
    let harvest = search_memory(pid, MemoryLimits::default(), || true).expect("its own memory");
    let wanted = secret(seed + 2, 48);
    assert!(harvest.secrets.iter().any(|found| *found.bytes == wanted));
    assert!(harvest.bytes > heap.len() as u64);
}

#[test]
fn a_process_that_is_gone_is_an_error() {
    let gone = Pid(u32::MAX >> 1);
    assert!(search_memory(gone, MemoryLimits::default(), || true).is_err());
}

proptest! {
    /// Wherever it lies, across the borders of pieces above all, in whatever else there is.
    #[test]
    fn a_block_is_found_wherever_it_lies(
        place in (PIECE_BYTES / 8 - 12)..(PIECE_BYTES / 8 + 12),
        border in 1_usize..4,
        length in prop_oneof![Just(32_usize), Just(48)],
        short in 8_usize..4096,
        seed in 1_u64..1_000_000,
    ) {
        let mut memory = vec![0x33; 5 * PIECE_BYTES];
        let at = (border - 1) * PIECE_BYTES + place * 8;
        let bytes = schedule([seed, seed + 1, seed + 2], length);
        memory[at..at + bytes.len()].copy_from_slice(&bytes);
        let wanted: Vec<_> = (seed..seed + 3).map(|seed| secret(seed, length)).collect();
        prop_assert_eq!(&found(&search(&memory, 0x10_0000, MemoryLimits::default())), &wanted);

        // And when less is read than was asked for.
        let mut inner = reader(&memory, 0);
        let mut search = Search::new(MemoryLimits::default());
        let went_on = search.run(
            0..memory.len() as u64,
            |buffer, address| {
                let count = buffer.len().min(PIECE_BYTES / 2 + short);
                inner(&mut buffer[..count], address)
            },
            &mut || true,
        );
        prop_assert!(went_on);
        prop_assert_eq!(&found(&search.harvest), &wanted);
    }

    #[test]
    fn no_memory_makes_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let length = bytes.len() & !7;
        let harvest = search(&bytes[..length], 0, MemoryLimits::default());
        prop_assert!(harvest.secrets.len() <= bytes.len() / BLOCK_BYTES);
    }
}
