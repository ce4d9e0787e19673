//! P-K5: batches of records.

use std::io::Write as _;

use qtap_protocol::{Outcome, Side, Values};

use crate::messages::*;
use crate::support::{Done, Talk};

/// The result of a fetch of these bytes.
fn fetch_of(batches: Vec<u8>) -> Done {
    fetch_by(Talk::new(), batches)
}

fn fetch_by(mut talk: Talk, batches: Vec<u8>) -> Done {
    talk.client(fetch(11, 1, (0, -1), &[("t", 0)], &[]))
        .server(fetched(11, 1, 0, &[("t", 0, 0, batches)]));
    talk.last()
}

fn samples(done: &Done) -> Vec<&str> {
    let tags = done.result().tags.iter();
    tags.filter_map(|tag| tag.strip_prefix("[t/0] ")).collect()
}

#[test]
fn keys_values_and_names_of_headers_are_shown() {
    let records = [
        record(Some("k"), Some("v"), &["trace", "authorization"]),
        record(None, None, &[]),
        record(Some(&"k".repeat(2000)), Some(&"ü".repeat(300)), &[]),
    ]
    .concat();
    let done = fetch_of(batch(0, 3, &records));
    let shown = samples(&done);
    assert_eq!(shown[..2], ["key=k headers=trace,authorization v", "null"]);
    assert_eq!(
        shown[2],
        format!("key={}… {}…", "k".repeat(1024), "ü".repeat(128))
    );
    assert!(
        !format!("{:?}", done.result()).contains("hidden"),
        "what headers hold is not shown"
    );
}

#[test]
fn values_and_keys_are_shown_as_the_user_wants() {
    let records = batch(
        0,
        2,
        &[
            record(Some("k"), Some("hunter2"), &["trace"]),
            record(None, None, &[]),
        ]
        .concat(),
    );
    let keys = fetch_by(Talk::with_values(Values::Keys), records.clone());
    assert_eq!(samples(&keys), ["key=k headers=trace ?", "null"]);
    let none = fetch_by(Talk::with_values(Values::None), records);
    assert!(samples(&none).is_empty());
    assert_eq!(none.result().tags[0], "2 messages");
}

#[test]
fn ten_records_are_shown_and_all_are_counted() {
    let records: Vec<String> = (0..8).map(|number| format!("v{number}")).collect();
    let records: Vec<_> = records.iter().map(String::as_str).collect();
    let done = fetch_of([values(&records), values(&records), values(&records)].concat());
    assert_eq!((done.result().count, samples(&done).len()), (Some(24), 10));
    assert_eq!(
        done.result().tags[..2],
        [
            "24 messages".to_owned(),
            "t/0 24 messages 399 bytes uncompressed".to_owned()
        ]
    );
}

#[test]
fn control_batches_hold_no_messages() {
    let done = fetch_of([batch(0x30, 1, &record(Some("abort"), None, &[])), values(&["v"])].concat());
    assert_eq!((done.result().count, samples(&done)), (Some(1), vec!["v"]));
}

#[test]
fn a_batch_that_the_fetch_cut_off_is_not_counted() {
    let second = values(&["lost"]);
    let done = fetch_of([values(&["v"]), second[..second.len() - 1].to_vec()].concat());
    assert_eq!((done.result().count, samples(&done)), (Some(1), vec!["v"]));
    assert_eq!(fetch_of(second[..10].to_vec()).result().count, Some(0));
}

#[test]
fn messages_of_formats_0_and_1_are_counted_only() {
    let message = |format: u8| {
        let body = [&[0, 0, 0, 9, format, 0][..], &[0xff; 4], &[0, 0, 0, 1, b'v']].concat();
        [&[0; 8][..], &(body.len() as u32).to_be_bytes(), &body].concat()
    };
    let done = fetch_of([message(0), message(1), message(1)].concat());
    assert_eq!((done.result().count, samples(&done).len()), (Some(3), 0));
    // As Kafka 0.9 spoke: versions 0 of both APIs, in classic layout.
    let mut talk = Talk::new();
    let asked = [
        &[0, 1, 0, 0, 3, 0xe8][..],
        &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0],
        &(message(0).len() as u32).to_be_bytes(),
        &message(0),
    ]
    .concat();
    let told = [
        &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
        &9_i64.to_be_bytes(),
    ]
    .concat();
    talk.client(classic(0, 0, 1, &asked))
        .server(classic_reply(1, &told));
    let done = talk.last();
    assert_eq!(
        (done.statement().as_str(), done.result().affected),
        ("Produce t", Some(1))
    );
    assert_eq!(
        done.result().tags[1],
        "t/0 1 message 27 bytes uncompressed offset=9"
    );
}

#[test]
fn batches_that_are_none_are_said_to_be_partial() {
    let done = fetch_of(vec![9; 200]);
    assert!(done.result().truncated);
    assert!(
        done.result().tags[1].contains("0 messages or more"),
        "{:?}",
        done.result().tags
    );
}

/// Records of which the first are shown, though there are too many bytes to be kept.
fn many() -> (i32, Vec<u8>) {
    let records: Vec<u8> = (0..9000)
        .flat_map(|number| record(Some(&format!("k{number}")), Some(&format!("value {number}")), &[]))
        .collect();
    (9000, records)
}

#[test]
fn the_first_records_of_a_long_batch_are_shown() {
    let (count, records) = many();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
    gzip.write_all(&records).unwrap();
    let zstd = zstd::bulk::compress(&records, 1).unwrap();
    for (attributes, payload) in [(0, records), (1, gzip.finish().unwrap()), (4, zstd)] {
        let done = fetch_of(batch(attributes, count, &payload));
        assert_eq!(done.result().count, Some(9000));
        assert_eq!(samples(&done).len(), 10, "{attributes}");
        assert_eq!(samples(&done)[9], "key=k9 value 9");
    }
}

/// Blocks of Snappy that hold `data` as they are.
fn snappy_stored(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut length = data.len();
    while length >= 0x80 {
        out.push((length & 0x7f | 0x80) as u8);
        length >>= 7;
    }
    out.push(length as u8);
    for piece in data.chunks(256) {
        out.extend_from_slice(&[60 << 2, (piece.len() - 1) as u8]);
        out.extend_from_slice(piece);
    }
    out
}

#[test]
fn both_framings_of_snappy() {
    let records = [record(None, Some("one"), &[]), record(None, Some("two"), &[])].concat();
    let java = [
        b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec(),
        (snappy_stored(&records[..7]).len() as u32).to_be_bytes().to_vec(),
        snappy_stored(&records[..7]),
        (snappy_stored(&records[7..]).len() as u32).to_be_bytes().to_vec(),
        snappy_stored(&records[7..]),
    ]
    .concat();
    for payload in [snappy_stored(&records), java] {
        assert_eq!(samples(&fetch_of(batch(2, 2, &payload))), ["one", "two"]);
    }
}

#[test]
fn data_that_are_not_of_their_compression_show_nothing() {
    for codec in 1..8 {
        let done = fetch_of(batch(codec, 3, b"this is no compressed payload at all"));
        assert_eq!(
            (done.result().count, samples(&done).len()),
            (Some(3), 0),
            "{codec}"
        );
    }
}

#[test]
fn a_hole_within_a_batch_is_passed_over() {
    let mut talk = Talk::new();
    let records = [record(None, Some("one"), &[]), record(None, Some("two"), &[])].concat();
    let reply = fetched(
        11,
        1,
        0,
        &[("t", 0, 0, [batch(0, 2, &records), values(&["three"])].concat())],
    );
    let at = reply.windows(3).position(|window| window == b"two").unwrap();
    talk.client(fetch(11, 1, (0, -1), &[("t", 0)], &[]))
        .server(&reply[..at])
        .gap(Side::Server, 3)
        .server(&reply[at + 3..]);
    let done = talk.last();
    assert_eq!(
        (done.outcome, done.traffic.response.gap_bytes),
        (Outcome::Complete, 3)
    );
    assert_eq!((done.result().count, done.result().truncated), (Some(3), true));
    assert_eq!(samples(&done), ["one", "three"]);
    assert_eq!(done.traffic.response.total(), reply.len() as u64);
}
