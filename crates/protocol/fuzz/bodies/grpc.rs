//! One call of gRPC made from arbitrary data: a body, where it is cut, and what of it is missing. Shared by the fuzz target and by the
//! property tests; panics when a rule of `protocols.md` is broken.

use bytes::Bytes;
use qtap_protocol::grpc::{Call, Dialect, MAX_LISTED, Tracker, split};
use qtap_protocol::{Field, Outcome, RequestHead, ResponseHead, Side, Version};

/// Reason that holes leave behind.
const MISSING: &str = "bytes are missing";
/// Bytes that all messages together may show.
const LIMIT: usize = 1 << 12;

/// What happens to the next bytes of the body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// They come.
    Bytes(usize),
    /// They are missing.
    Gap(usize),
    /// It is not known whether some are missing.
    Doubt,
}

/// Reads `input` as a script: dialect, steps, then the body.
///
/// # Panics
/// When a rule is broken.
pub(crate) fn run(input: &[u8]) {
    let [first, count, rest @ ..] = input else { return };
    let dialect = match first & 3 {
        0 => Dialect::WebText,
        1 => Dialect::Web,
        _ => Dialect::Native,
    };
    let (script, rest) = rest.split_at(usize::from(count % 32).min(rest.len()));
    let steps: Vec<Step> = script
        .iter()
        .map(|step| match step {
            255 => Step::Doubt,
            step if first & 4 != 0 && step % 4 == 3 => Step::Gap(usize::from(step / 4)),
            step => Step::Bytes(usize::from(step / 4)),
        })
        .collect();
    let frames = if first & 8 == 0 {
        rest.to_vec()
    } else {
        framed(rest)
    };
    let body = match dialect {
        Dialect::WebText if first & 16 == 0 => base64(&frames, 1 + usize::from(*count)),
        Dialect::Native | Dialect::Web | Dialect::WebText => frames,
    };
    check(dialect, &body, &steps);
}

/// However the body is cut, the same messages; whatever is missing, no more than there are, and as many if it says so.
///
/// # Panics
/// When it does not hold.
pub(crate) fn check(dialect: Dialect, body: &[u8], steps: &[Step]) {
    let truth = follow(dialect, body, &[]);
    let seen = follow(dialect, body, steps);
    let ([_, truth_of], [_, seen_of]) = (&truth.messages, &seen.messages);
    let has_holes = steps.iter().any(|step| !matches!(step, Step::Bytes(_)));
    if has_holes {
        assert!(seen_of.count <= truth_of.count, "{seen:?} of {truth:?}");
        assert!(seen_of.bytes <= truth_of.bytes, "{seen:?} of {truth:?}");
        assert!(
            seen.web_trailers.is_empty() || seen.web_trailers == truth.web_trailers,
            "{seen:?} of {truth:?}"
        );
    } else {
        assert_eq!(seen, truth);
    }
    if seen_of.lost != Some(MISSING) {
        let without_holes = qtap_protocol::grpc::Messages {
            whole_bytes: truth_of.whole_bytes,
            ..seen_of.clone()
        };
        assert_eq!(&without_holes, truth_of);
    }
    let body = Bytes::copy_from_slice(body);
    for encoding in [None, Some(&b"gzip"[..]), Some(b"zstd")] {
        let listed = split(&body, seen_of, dialect, encoding, LIMIT);
        let shown: usize = listed.iter().map(|message| message.data.len()).sum();
        assert!(listed.len() <= MAX_LISTED && shown <= LIMIT, "{shown} bytes");
        let whole = listed.iter().filter(|message| !message.truncated).count() as u64;
        assert!(whole <= truth_of.count, "{listed:?} of {truth:?}");
    }
}

/// The call whose response has this body, with holes where `steps` say; what they leave over comes in one piece.
fn follow(dialect: Dialect, body: &[u8], steps: &[Step]) -> Call {
    let mut tracker = Tracker::begin(&request(dialect)).expect("a call");
    assert!(tracker.response(&response(dialect)));
    let mut rest = body;
    for step in steps {
        let (Step::Bytes(length) | Step::Gap(length)) = *step else {
            tracker.gap(Side::Server, 0);
            continue;
        };
        let (piece, after) = rest.split_at(length.min(rest.len()));
        match step {
            Step::Gap(_) if !piece.is_empty() => tracker.gap(Side::Server, piece.len() as u64),
            _ => tracker.bytes(Side::Server, piece),
        }
        rest = after;
    }
    tracker.bytes(Side::Server, rest);
    tracker
        .finish(&[], Outcome::Complete, [true; 2])
        .expect("a call still")
}

fn fields(dialect: Dialect) -> Vec<Field> {
    let content_type = match dialect {
        Dialect::Native => "application/grpc",
        Dialect::Web => "application/grpc-web+proto",
        Dialect::WebText => "application/grpc-web-text",
    };
    vec![Field {
        name: "content-type".into(),
        value: content_type.into(),
    }]
}

fn request(dialect: Dialect) -> RequestHead {
    RequestHead {
        method: "POST".into(),
        target: "/pkg.Service/Method".into(),
        scheme: None,
        authority: None,
        protocol: None,
        version: Version::Http2,
        fields: fields(dialect),
        partial: false,
        truncated: false,
        framing_conflict: false,
    }
}

fn response(dialect: Dialect) -> ResponseHead {
    ResponseHead {
        status: 200,
        reason: Bytes::new(),
        version: Version::Http2,
        fields: fields(dialect),
        partial: false,
        truncated: false,
        framing_conflict: false,
    }
}

/// Mostly whole messages: of each, a byte for the flags and one for the length.
fn framed(mut script: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let [flags, length, rest @ ..] = script {
        let (payload, after) = rest.split_at(usize::from(length % 64).min(rest.len()));
        let flags = match flags % 16 {
            0..=9 => 0,
            10..=12 => 1,
            13..=14 => 0x80,
            _ => *flags,
        };
        body.push(flags);
        body.extend(u32::try_from(payload.len()).unwrap_or(0).to_be_bytes());
        body.extend_from_slice(payload);
        script = after;
    }
    body
}

/// Base64 with padding after each `piece` bytes.
pub(crate) fn base64(data: &[u8], piece: usize) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for group in data.chunks(piece.max(1)).flat_map(|piece| piece.chunks(3)) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let value = (bits >> (18 - 6 * index)) as usize & 63;
            text.push(if index <= group.len() { DIGITS[value] } else { b'=' });
        }
    }
    text
}
