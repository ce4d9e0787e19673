use std::io::Write;

use flate2::{Compression, write};

use super::*;

const LIMIT: usize = 1 << 20;

fn text() -> Vec<u8> {
    (0..4000_u32)
        .flat_map(|n| format!("line {n} {}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn br(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::CompressorWriter::new(&mut out, 4096, 5, 20)
        .write_all(data)
        .unwrap();
    out
}

fn zstd_of(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 3).unwrap()
}

/// Every coding with its name, over the same text.
fn all(data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("gzip", gzip(data)),
        ("X-GZip", gzip(data)),
        ("deflate", zlib(data)),
        ("deflate", raw_deflate(data)),
        ("br", br(data)),
        ("zstd", zstd_of(data)),
    ]
}

#[test]
fn p_b1_every_coding_is_removed() {
    for data in [&b""[..], b"x", &text()] {
        for (name, encoded) in all(data) {
            let decoded = decode(name, &encoded, LIMIT).unwrap();
            assert_eq!(
                (&decoded.bytes[..], decoded.truncated),
                (data, false),
                "{name} of {}",
                data.len()
            );
        }
    }
}

#[test]
fn p_b1_members_and_frames_follow_each_other_and_padding_is_ignored() {
    let two = [gzip(b"one "), gzip(b"two"), vec![0; 7]].concat();
    assert_eq!(decode("gzip", &two, LIMIT).unwrap().bytes, &b"one two"[..]);
    let two = [zstd_of(b"one "), zstd_of(b"two")].concat();
    assert_eq!(decode("zstd", &two, LIMIT).unwrap().bytes, &b"one two"[..]);
    let cut = [gzip(b"one "), vec![0x1f]].concat();
    let decoded = decode("gzip", &cut, LIMIT).unwrap();
    assert_eq!((&decoded.bytes[..], decoded.truncated), (&b"one "[..], true));
}

#[test]
fn chains_are_removed_last_to_first() {
    let data = br(&gzip(b"hello"));
    let decoded = decode("gzip, identity , BR", &data, LIMIT).unwrap();
    assert_eq!((&decoded.bytes[..], decoded.truncated), (&b"hello"[..], false));
    assert_eq!(
        decode("gzip,gzip,gzip,gzip,gzip", b"", LIMIT),
        Err(DecodeError::TooMany(5))
    );
}

#[test]
fn data_cut_anywhere_decode_as_far_as_they_go() {
    let data = text();
    for (name, encoded) in all(&data) {
        for cut in (1..encoded.len()).step_by(997).chain([1, 2, encoded.len() - 1]) {
            let decoded = decode(name, &encoded[..cut], LIMIT).unwrap();
            assert!(decoded.truncated, "{name} cut at {cut}");
            assert!(data.starts_with(&decoded.bytes), "{name} cut at {cut}");
        }
    }
}

#[test]
fn half_of_the_data_gives_about_half_of_the_content() {
    // Longer than a block of zstd, which comes whole or not at all.
    let data = text()
        .repeat(4)
        .into_iter()
        .enumerate()
        .map(|(at, byte)| byte ^ (at >> 16) as u8)
        .collect::<Vec<_>>();
    for (name, encoded) in all(&data) {
        let half = decode(name, &encoded[..encoded.len() / 2], LIMIT).unwrap();
        assert!(
            half.truncated && half.bytes.len() > data.len() / 4,
            "{name}: {}",
            half.bytes.len()
        );
        assert!(data.starts_with(&half.bytes), "{name}");
    }
}

#[test]
fn a_chain_over_cut_data_is_cut() {
    let encoded = br(&gzip(&text()));
    let decoded = decode("gzip, br", &encoded[..encoded.len() / 2], LIMIT).unwrap();
    assert!(decoded.truncated && text().starts_with(&decoded.bytes));
}

#[test]
fn p_b3_output_is_bounded() {
    let zeros = vec![0; 1 << 20];
    for (name, encoded) in all(&zeros) {
        let decoded = decode(name, &encoded, usize::MAX).unwrap();
        let bound = encoded.len() * MAX_RATIO;
        assert_eq!(
            (decoded.bytes.len(), decoded.truncated),
            (bound.min(zeros.len()), bound < zeros.len()),
            "{name}"
        );
        assert_eq!(decode(name, &encoded, 1000).unwrap().bytes.len(), 1000, "{name}");
    }
    let mut stored = write::GzEncoder::new(Vec::new(), Compression::none());
    stored.write_all(&vec![b'x'; MAX_DECODED_BYTES + 1]).unwrap();
    let decoded = decode("gzip", &stored.finish().unwrap(), usize::MAX).unwrap();
    assert_eq!(
        (decoded.bytes.len(), decoded.truncated),
        (MAX_DECODED_BYTES, true)
    );
}

#[test]
fn the_limit_itself_is_not_a_cut() {
    for (name, encoded) in all(&[b'a'; 1000]) {
        assert!(!decode(name, &encoded, 1000).unwrap().truncated, "{name}");
        assert!(decode(name, &encoded, 999).unwrap().truncated, "{name}");
    }
}

#[test]
fn identity_is_kept_up_to_the_limit() {
    for name in ["", "identity", "Identity, "] {
        assert_eq!(
            decode(name, b"abc", 3).unwrap(),
            Decoded {
                bytes: "abc".into(),
                truncated: false
            }
        );
        assert_eq!(
            decode(name, b"abc", 2).unwrap(),
            Decoded {
                bytes: "ab".into(),
                truncated: true
            }
        );
    }
}

#[test]
fn unknown_codings_and_corrupt_data_are_errors_that_say_which() {
    assert_eq!(
        decode("gzip, compress", b"x", LIMIT),
        Err(DecodeError::Unknown("compress".into()))
    );
    for name in ["gzip", "deflate", "br", "zstd"] {
        let error = decode(name, &[0xff; 400], LIMIT).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    let mut encoded = gzip(&text());
    let check = encoded.len() - 8;
    encoded[check] ^= 1;
    assert!(matches!(
        decode("gzip", &encoded, LIMIT),
        Err(DecodeError::Corrupt { coding: "gzip", .. })
    ));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// P-M5: no input panics or grows without bound.
    #[test]
    fn p_m5_any_bytes_are_survived(
        name in proptest::sample::select(vec!["gzip", "deflate", "br", "zstd", "br, gzip"]),
        mut data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        graft in 0_usize..40,
    ) {
        let whole = all(b"some text, some text").into_iter().find(|(known, _)| name.contains(known)).unwrap().1;
        let start = whole.len().min(graft);
        data.splice(0..0, whole[..start].iter().copied());
        if let Ok(decoded) = decode(name, &data, 5000) {
            assert!(decoded.bytes.len() <= 5000.min(data.len() * MAX_RATIO));
        }
    }
}
