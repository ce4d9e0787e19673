//! The fuzz body on stable toolchains (P-M5).

use proptest::prelude::*;

use super::wire::PREFACE;

#[path = "../../fuzz/bodies/http2.rs"]
mod body;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn anything_at_all_keeps_the_rules(input in prop::collection::vec(any::<u8>(), 0..2000)) {
        body::run(&input);
    }

    /// Steps that mostly form frames, with small numbers so that they meet.
    #[test]
    fn framed_nonsense_keeps_the_rules(
        start in 0..4u8,
        steps in prop::collection::vec((0..24u8, prop::collection::vec(any::<u8>(), 3..40)), 0..80),
    ) {
        let mut input = vec![start];
        for (what, payload) in steps {
            input.extend([what, u8::try_from(payload.len()).unwrap()]);
            input.extend(payload);
        }
        body::run(&input);
    }
}

/// P-M4: lengths are believed only as far as bytes follow.
#[test]
fn announced_lengths_allocate_nothing() {
    use super::wire::Tap;
    use qtap_protocol::http2::Start;
    use qtap_protocol::{Parser as _, Side};

    let mut tap = Tap::new(Start::Preface);
    tap.client(&[PREFACE, &super::wire::settings(&[])].concat());
    // HEADERS of 16 MiB that begin with a string of 200 KiB.
    tap.client(&[0xff, 0xff, 0xff, 1, 4, 0, 0, 0, 1, 0x40, 0x7f, 0x81, 0xbf, 0x0c]);
    assert!(tap.parser.buffered(Side::Client) < 10);
    for _ in 0..400 {
        tap.client(&[b'a'; 4096]);
        assert!(tap.parser.buffered(Side::Client) <= 520 << 10);
    }
}
