//! One run of the event stream decoder over arbitrary text with gaps. Shared by the fuzz target and by the property tests; panics
//! when a rule of `protocols.md` is broken.

use qtap_protocol::sse::{Decoder, ServerEvent, Traffic};
use qtap_protocol::{Time, encoding::StreamDecoder};

/// Bytes kept of the data of an event.
const KEEP: usize = 64;

/// Fragments that make arbitrary data look like a stream often enough to get deep.
const WORDS: [&[u8]; 20] = [
    b"data: a\n",
    b"data:\n",
    b"data\n",
    b"data:b\r\n",
    b"event: tick\n",
    b"id: 7\n",
    b"id:\0\n",
    b"retry: 3000\n",
    b"retry: x\n",
    b": ping\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b"data: ",
    b"\xef\xbb\xbf",
    b"dat",
    b"unknown: field\n",
    b"a long line that is no field at all, and goes on\n",
    b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
];

/// One call: bytes, or a hole.
pub(crate) type Call = Option<Vec<u8>>;

/// Makes a script of calls from `data`.
pub(crate) fn script(data: &[u8]) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut bytes = data.iter().copied();
    while let Some(kind) = bytes.next() {
        calls.push(match kind {
            0..=229 => Some(WORDS[usize::from(kind) % WORDS.len()].to_vec()),
            230..=245 => Some(bytes.by_ref().take(usize::from(kind - 229)).collect()),
            _ => None,
        });
    }
    calls
}

/// Runs a script, each piece cut after every `step` bytes, and closes.
pub(crate) fn play(calls: &[Call], step: usize) -> (Traffic, Vec<ServerEvent>) {
    let (mut decoder, mut out) = (Decoder::new(KEEP), Vec::new());
    for (index, call) in calls.iter().enumerate() {
        let time = Time(index as u64 + 1);
        match call {
            Some(data) => data
                .chunks(step)
                .for_each(|piece| decoder.bytes(piece, time, &mut out)),
            None => decoder.gap(),
        }
        assert!(decoder.held() <= 4096, "memory is bounded: {}", decoder.held());
    }
    decoder.close();
    (decoder.traffic().clone(), out)
}

/// The whole check.
pub(crate) fn run(data: &[u8]) {
    let Some((step, rest)) = data.split_first() else {
        return;
    };
    let calls = script(rest);
    let (traffic, whole) = play(&calls, usize::MAX);
    assert_eq!(traffic.events, whole.len() as u64);
    assert_eq!(traffic.bytes, whole.iter().map(|event| event.length).sum::<u64>());
    for event in &whole {
        assert!(event.started <= event.time && event.data.len() <= KEEP);
        assert!(event.truncated == ((event.data.len() as u64) < event.length));
    }
    let split = play(&calls, usize::from(*step).max(1));
    assert_eq!(
        (traffic, whole),
        split,
        "the same events however the bytes are split"
    );
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let mut decoder = StreamDecoder::new(coding).ok().flatten();
        let mut decoded = 0;
        if let Some(decoder) = &mut decoder {
            _ = decoder.push(rest, |piece| decoded += piece.len());
        }
        assert!(decoded <= (2 << 20) + rest.len() * 200);
    }
}
