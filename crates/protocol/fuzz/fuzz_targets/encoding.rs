//! Arbitrary bodies against detection and the content codings: never more than the bounds allow.
#![no_main]

use qtap_protocol::detect::{Hints, detect};
use qtap_protocol::encoding::{MAX_RATIO, decode};

const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "identity"];
const LIMIT: usize = 1 << 16;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let coding = CODINGS[usize::from(*first) % CODINGS.len()];
    if let Ok(decoded) = decode(coding, body, LIMIT) {
        assert!(decoded.bytes.len() <= LIMIT);
        assert!(decoded.bytes.len() <= body.len().max(1) * MAX_RATIO, "{} of {}", decoded.bytes.len(), body.len());
    }
    let (client, server) = body.split_at(usize::from(*first) % (body.len() + 1));
    let _ = detect(client, server, &Hints::default());
});
