//! arm64 code that refers to data and calls functions. Instructions are 4 bytes, aligned. No arm64 program was searched yet:
//! tested with the bytes of single instructions.

use std::collections::HashMap;

use super::code::Reference;

/// `add` may be this many bytes behind its `adrp`: compilers put other instructions between the two.
const PAIR_REACH: usize = 32;
/// Instructions between a reference and the call that takes it.
const CALL_REACH: usize = 20;
/// What a window must see of the next one, so that no pair is parted.
pub(super) const OVERLAP: usize = PAIR_REACH + 4;

fn words(base: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, u32)> {
    // The start of an executable segment is a page's, and windows are whole multiples of 4.
    (bytes.as_chunks().0.iter().zip(0u64..))
        .map(move |(word, at)| (base.wrapping_add(4 * at), u32::from_le_bytes(*word)))
}

/// The register and the page of `adrp`.
fn adrp(address: u64, word: u32) -> Option<(u32, u64)> {
    if word & 0x9f00_0000 != 0x9000_0000 {
        return None;
    }
    let immediate = (word >> 29 & 3) | (word >> 5 & 0x7_ffff) << 2;
    let pages = i64::from((immediate << 11) as i32 >> 11);
    Some((word & 31, (address & !0xfff).wrapping_add_signed(pages << 12)))
}

/// The source register and the number of `add Xd, Xn, #imm12`.
fn add_immediate(word: u32) -> Option<(u32, u64)> {
    (word & 0xffc0_0000 == 0x9100_0000).then_some((word >> 5 & 31, u64::from(word >> 10 & 0xfff)))
}

/// The target of `b` or `bl`.
fn branch(address: u64, word: u32) -> Option<u64> {
    if word & 0x7c00_0000 != 0x1400_0000 {
        return None;
    }
    let offset = i64::from((word << 6) as i32 >> 4);
    Some(address.wrapping_add_signed(offset))
}

/// Adds every `adrp` that begins in the first `fresh` bytes and makes, with an `add` behind it, one of the addresses.
pub(super) fn references<T: Copy>(
    base: u64,
    bytes: &[u8],
    fresh: usize,
    by_address: &HashMap<u64, T>,
    found: &mut Vec<Reference<T>>,
) {
    for (address, word) in words(base, bytes.get(..fresh).unwrap_or(bytes)) {
        let Some((register, page)) = adrp(address, word) else {
            continue;
        };
        let start = usize::try_from(address.wrapping_sub(base)).unwrap_or(usize::MAX);
        let behind = bytes.get(start.saturating_add(4)..).unwrap_or_default();
        let behind = behind.get(..PAIR_REACH).unwrap_or(behind);
        let pair = words(address + 4, behind).find_map(|(at, word)| {
            let (_, low) = add_immediate(word).filter(|(source, _)| *source == register)?;
            Some((at, page.wrapping_add(low)))
        });
        if let Some((at, target)) = pair
            && let Some(target) = by_address.get(&target)
        {
            found.push(Reference {
                target: *target,
                next_instruction: at + 4,
            });
        }
    }
}

/// The target of the first `b` or `bl` within reach; `None` if the code ends in something else before.
pub(super) fn next_direct_target(address: u64, bytes: &[u8]) -> Option<u64> {
    for (at, word) in words(address, bytes).take(CALL_REACH) {
        if let Some(target) = branch(at, word) {
            return Some(target);
        }
        // `br`, `blr`, `ret`.
        if word & 0xffdf_fc1f == 0xd61f_0000 || word & 0xffff_fc1f == 0xd65f_0000 {
            return None;
        }
    }
    None
}

/// Tells where each `b` and `bl` goes.
pub(super) fn direct_targets(base: u64, bytes: &[u8], visit: &mut impl FnMut(u64)) {
    words(base, bytes)
        .filter_map(|(at, word)| branch(at, word))
        .for_each(visit);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As LLVM's assembler writes them, at 0x400ff8: `adrp x1, 0x2ab000`; `mov x0, x19`; `add x1, x1, #0x123`;
    /// `mov x2, x20`; `bl` 0x1008 bytes back; `ret`.
    const CODE: [u32; 6] = [
        0xf0ff_f541,
        0xaa13_03e0,
        0x9104_8c21,
        0xaa14_03e2,
        0x97ff_fbfe,
        0xd65f_03c0,
    ];
    const BASE: u64 = 0x40_0ff8;

    fn code() -> Vec<u8> {
        CODE.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_pair_of_adrp_and_add_is_a_reference() {
        let mut found = Vec::new();
        let targets = HashMap::from([(0x2a_b123, 'a')]);
        references(BASE, &code(), 4, &targets, &mut found);
        assert_eq!(
            found,
            [Reference {
                target: 'a',
                next_instruction: BASE + 12
            }]
        );
        found.clear();
        references(BASE, &code(), 4, &HashMap::from([(0x2a_b124, 'a')]), &mut found);
        assert_eq!(found, []);
    }

    #[test]
    fn pages_are_signed() {
        // `adrp x0, -0x1000` and `adrp x0, +0x1000`.
        assert_eq!(adrp(0x5_0004, 0xf0ff_ffe0), Some((0, 0x4_f000)));
        assert_eq!(adrp(0x5_0004, 0xb000_0000), Some((0, 0x5_1000)));
        assert_eq!(adrp(0x5_0004, 0xaa13_03e0), None);
    }

    #[test]
    fn the_call_behind_a_reference_is_found_and_not_past_an_indirect_one() {
        let code = code();
        assert_eq!(next_direct_target(BASE, &code), Some(BASE + 16 - 0x1008));
        assert_eq!(next_direct_target(BASE + 20, &code[20..]), None);
    }

    #[test]
    fn branches_go_both_ways() {
        assert_eq!(branch(0x1000, 0x9400_0002), Some(0x1008));
        assert_eq!(branch(0x1000, 0x17ff_ffff), Some(0xffc));
        assert_eq!(branch(0x1000, 0xd65f_03c0), None);
    }
}
