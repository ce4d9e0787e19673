//! P-My7: the compressed protocol.

use qtap_protocol::{Outcome, Side};

use crate::support::{Talk, USUAL};
use crate::wire::*;

fn compressed() -> Talk {
    Talk::with_flags(USUAL | COMPRESS, 0)
}

fn long_rows(count: u32) -> Vec<u8> {
    let rows = (0..count).map(|number| row(&[Some(&format!("value {number}"))]));
    reply(&[columns(&["a"]), rows.collect(), vec![end(0)]].concat())
}

#[test]
fn p_my7_frames_of_every_coding() {
    let mut talk = compressed();
    let rows = long_rows(1000);
    talk.client(frame(0, &query("select 1"), false))
        .server(frame(1, &rows, true));
    talk.client(frame(0, &query(&"select 2 ".repeat(100)), true))
        .server(zstd_frame(1, &rows));
    let done = talk.done();
    assert_eq!(done.len(), 2);
    for done in done {
        assert_eq!(
            (done.outcome, done.result().count),
            (Outcome::Complete, Some(1000))
        );
        assert!(done.result().preview.starts_with("value 0\nvalue 1\n"));
        assert_eq!(done.traffic.response.total(), rows.len() as u64);
    }
    assert!(talk.result.is_ok());
}

#[test]
fn p_my7_packets_that_lie_across_frames() {
    let mut talk = compressed();
    let rows = long_rows(1000);
    talk.client(frame(0, &query("select 1"), false));
    for (index, part) in rows.chunks(1234).enumerate() {
        talk.server(frame(index as u8 + 1, part, index % 2 == 0));
    }
    assert_eq!(talk.done()[0].result().count, Some(1000));
}

#[test]
fn p_my7_a_frame_that_decodes_to_megabytes_is_decoded_in_steps() {
    let mut talk = compressed();
    let payloads = [columns(&["a"]), vec![row(&[Some(&"x".repeat(8 << 20))]), end(0)]];
    talk.client(frame(0, &query("select 1"), false))
        .server(frame(1, &reply(&payloads.concat()), true));
    assert_eq!(talk.done()[0].result().count, Some(1));
}

#[test]
fn p_my7_a_hole_in_a_frame_is_one_of_known_length_in_the_packets() {
    let mut talk = compressed();
    let value = "0123456789abcdef".repeat(4096);
    let payloads = [columns(&["a"]), vec![row(&[Some(&value)])]].concat();
    let sent = reply(&payloads);
    // The row begins in the first frame, and the second is lost in part.
    let (first, second) = sent.split_at(200);
    let second = frame(2, second, true);
    talk.client(frame(0, &query("select 1"), false))
        .server(frame(1, first, true))
        .server(&second[..20])
        .gap(Side::Server, 30)
        .server(&second[50..])
        .server(frame(3, &packets(4, &[row(&[Some("2")]), end(0)]), false));
    let done = talk.done();
    assert_eq!(
        (done[0].outcome, done[0].result().count),
        (Outcome::Complete, Some(2))
    );
    assert!(done[0].traffic.response.gap_bytes > 60_000);
}

#[test]
fn p_my7_corrupt_frames_end_the_command_and_the_next_turn_begins_anew() {
    let mut talk = compressed();
    let mut bad = frame(1, &long_rows(100), true);
    for byte in &mut bad[20..40] {
        *byte ^= 0x55;
    }
    talk.client(frame(0, &query("select 0"), false)).server(bad);
    for n in 1..6 {
        talk.client(frame(0, &query(&format!("select {n}")), false))
            .server(frame(1, &one_row(&n.to_string()), true));
    }
    let done = talk.done();
    let outcomes: Vec<_> = done.iter().map(|done| done.outcome).collect();
    assert_eq!(outcomes[..4], [Outcome::Incomplete; 4]);
    assert_eq!(outcomes[4..], [Outcome::Complete; 2]);
    assert_eq!(done[5].result().preview, "5\n");
}

#[test]
fn p_my8_a_compressed_connection_joined_in_the_middle() {
    let mut talk = Talk::with(true);
    talk.server(b"\x07the rest of a frame");
    for n in 0..3 {
        talk.client(frame(0, &query(&format!("select {n}")), n == 1))
            .server(frame(1, &one_row(&n.to_string()), n == 2));
    }
    let done = talk.done();
    let outcomes: Vec<_> = done.iter().map(|done| done.outcome).collect();
    assert_eq!(
        outcomes,
        [Outcome::Incomplete, Outcome::Complete, Outcome::Complete]
    );
    assert_eq!(done[2].result().preview, "2\n");
}
