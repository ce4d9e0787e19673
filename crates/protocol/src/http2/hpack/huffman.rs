//! Huffman strings (RFC 7541 §5.2, Appendix B).
//!
//! Ours because the one crate that offers just this has been untouched since 2020 and maps state by
//! generated tables of 5 × 2^speed entries; the code is canonical, so its lengths say everything.

/// Code length in bits of each byte value (RFC 7541 Appendix B). EOS, the 257th symbol, has 30 and comes last.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

const MIN_BITS: usize = 5;
const MAX_BITS: usize = 30;

/// The canonical code: symbols in code order, and for each length where its codes begin.
struct Code {
    /// Symbols by (length, value).
    symbols: [u8; 256],
    /// First code of each length.
    first: [u32; MAX_BITS + 1],
    /// Number of codes of each length, EOS left out.
    count: [u32; MAX_BITS + 1],
    /// Index in `symbols` of the first code of each length.
    start: [u32; MAX_BITS + 1],
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses a bad index"
)]
static CODE: Code = {
    let mut code = Code {
        symbols: [0; 256],
        first: [0; MAX_BITS + 1],
        count: [0; MAX_BITS + 1],
        start: [0; MAX_BITS + 1],
    };
    let mut next_code = 0u32;
    let mut next_symbol = 0usize;
    let mut bits = 1;
    while bits <= MAX_BITS {
        code.first[bits] = next_code;
        code.start[bits] = next_symbol as u32;
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == bits {
                code.symbols[next_symbol] = symbol as u8;
                next_symbol += 1;
                next_code += 1;
                code.count[bits] += 1;
            }
            symbol += 1;
        }
        next_code <<= 1;
        bits += 1;
    }
    assert!(next_symbol == 256);
    code
};

/// The bytes are no Huffman string: EOS in the middle, or padding that is not a prefix of EOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHuffman;

/// Bits that the table of short codes looks at: no letter, digit or usual punctuation mark has a longer code.
const SHORT_BITS: usize = 10;

/// The symbol that each run of [`SHORT_BITS`] bits begins with, and the length of its code; a length of 0 where that is longer.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses a bad index"
)]
static SHORT: [(u8, u8); 1 << SHORT_BITS] = {
    let mut table = [(0, 0); 1 << SHORT_BITS];
    let mut bits = MIN_BITS;
    while bits <= SHORT_BITS {
        let spare = SHORT_BITS - bits;
        let mut number = 0;
        while number < CODE.count[bits] as usize {
            let symbol = CODE.symbols[CODE.start[bits] as usize + number];
            let first = (CODE.first[bits] as usize + number) << spare;
            let mut rest = 0;
            while rest < 1 << spare {
                table[first + rest] = (symbol, bits as u8);
                rest += 1;
            }
            number += 1;
        }
        bits += 1;
    }
    table
};

/// The most bytes that so many encoded ones decode to.
pub(crate) const fn most(encoded: usize) -> usize {
    encoded.saturating_mul(8) / MIN_BITS
}

/// Decodes `input` to its end, into `output`, which is cleared. It has at most [`most`] bytes then, whatever the outcome.
pub(crate) fn decode(input: &[u8], output: &mut Vec<u8>) -> Result<(), BadHuffman> {
    output.clear();
    output.reserve(most(input.len()));
    // The bits not yet decoded, right-aligned; never more than MAX_BITS and four bytes.
    let mut window = 0u64;
    let mut held = 0usize;
    let (words, rest) = input.as_chunks::<4>();
    for word in words {
        window = (window << 32) | u64::from(u32::from_be_bytes(*word));
        held += 32;
        decode_held(&mut window, &mut held, output)?;
    }
    for &byte in rest {
        window = (window << 8) | u64::from(byte);
        held += 8;
    }
    decode_held(&mut window, &mut held, output)?;
    while let Some((symbol, bits)) = lookup(window, held) {
        output.push(symbol);
        held -= bits;
    }
    window &= (1 << held) - 1;
    // RFC 7541 §5.2: fewer than 8 bits of padding, all ones.
    if held < 8 && window == (1 << held) - 1 {
        Ok(())
    } else {
        Err(BadHuffman)
    }
}

/// Decodes codes among the `held` low bits of `window` while these are at least [`SHORT_BITS`] and begin with a whole one.
fn decode_held(window: &mut u64, held: &mut usize, output: &mut Vec<u8>) -> Result<(), BadHuffman> {
    while let Some(spare) = held.checked_sub(SHORT_BITS) {
        let place = (*window >> spare) as usize % SHORT.len();
        let (symbol, bits) = match SHORT.get(place) {
            Some(&(symbol, bits)) if bits > 0 => (symbol, usize::from(bits)),
            _ => match lookup(*window, *held) {
                Some(found) => found,
                // 30 bits without a symbol can only be EOS, which must not appear.
                None if *held >= MAX_BITS => return Err(BadHuffman),
                None => break,
            },
        };
        output.push(symbol);
        *held -= bits;
    }
    *window &= (1 << *held) - 1;
    Ok(())
}

/// The symbol that the first of the `held` low bits of `window` begin with, and its length.
fn lookup(window: u64, held: usize) -> Option<(u8, usize)> {
    for bits in MIN_BITS..=held.min(MAX_BITS) {
        let prefix = u32::try_from((window >> (held - bits)) & ((1 << bits) - 1)).ok()?;
        let offset = prefix.wrapping_sub(*CODE.first.get(bits)?);
        if offset < *CODE.count.get(bits)? {
            let index = usize::try_from(CODE.start.get(bits)? + offset).ok()?;
            return Some((*CODE.symbols.get(index)?, bits));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8]) -> Result<Vec<u8>, BadHuffman> {
        let mut output = b"before".to_vec();
        super::decode(input, &mut output).map(|()| output)
    }

    #[test]
    fn rfc_7541_appendix_c_strings() {
        for (encoded, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            ("640eff", "307"),
            ("aec3771a4b", "private"),
            (
                "d07abe941054d444a8200595040b8166e082a62d1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
            ("9bd9ab", "gzip"),
        ] {
            assert_eq!(
                decode(&crate::http2::hpack::tests::unhex(encoded)).unwrap(),
                text.as_bytes()
            );
        }
    }

    #[test]
    fn every_byte_value_matches_an_independent_encoder() {
        for value in 0..=255u8 {
            let plain = [value, b'a', value, value];
            let mut encoded = Vec::new();
            httlib_huffman::encode(&plain, &mut encoded).unwrap();
            assert_eq!(decode(&encoded).unwrap(), plain, "{value}");
        }
    }

    #[test]
    fn eos_and_bad_padding_are_refused() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), Err(BadHuffman), "EOS");
        assert_eq!(decode(&[0b0000_0000]), Err(BadHuffman), "padding of zeros");
        assert_eq!(
            decode(&[0b0000_0111, 0xff]),
            Err(BadHuffman),
            "padding of 11 bits"
        );
        assert_eq!(decode(&[0b0000_0111]).unwrap(), b"0");
        assert_eq!(decode(&[]).unwrap(), b"");
    }
}
