//! What real clients and a real broker said to each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use qtap_protocol::kafka::Topics;
use qtap_protocol::{Detail, Event, Limits, Outcome, Parser as _, Side, Time, kafka::Parser};

use crate::commands::{Done, done};

pub(crate) type Frames = Vec<(Side, Vec<u8>)>;

/// The frames of each connection.
pub(crate) fn conversations() -> BTreeMap<String, Frames> {
    let mut found: BTreeMap<String, Frames> = BTreeMap::new();
    for line in include_str!("recorded.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let mut words = line.split(' ');
        let (name, side, hex) = (
            words.next().unwrap(),
            words.next().unwrap(),
            words.next().unwrap(),
        );
        let bytes = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        let side = if side == ">" { Side::Client } else { Side::Server };
        found
            .entry(name.to_owned())
            .or_default()
            .push((side, bytes.collect()));
    }
    found
}

fn play(frames: &Frames, topics: &Arc<Topics>, step: usize) -> Vec<Done> {
    let mut parser = Parser::new(Limits::default(), Detail::default(), false, Arc::clone(topics));
    let mut out = Vec::new();
    for (side, frame) in frames {
        for piece in frame.chunks(step) {
            parser
                .bytes(*side, piece.to_vec().into(), Time(1), &mut out)
                .unwrap();
        }
    }
    let ended = done(&out);
    parser.close(Time(2), &mut out);
    parser.release(&mut out);
    let events = out.iter().filter(|event| !matches!(event, Event::Orphan { .. }));
    assert_eq!(
        events.count(),
        2 * done(&out).len(),
        "commands and their ends, and nothing else"
    );
    ended
}

/// The commands of one connection, after those before it.
fn commands(name: &str) -> Vec<Done> {
    let topics = Arc::new(Topics::default());
    let mut found = Vec::new();
    for (connection, frames) in conversations() {
        if *connection <= *name {
            found = play(&frames, &topics, usize::MAX);
        }
    }
    found
}

/// The first command of a connection with this name.
fn find(name: &str, command: &str) -> Done {
    let mut found = commands(name)
        .into_iter()
        .filter(|done| done.command.name == command);
    found.next().expect(command)
}

#[test]
fn every_reply_of_a_real_broker_is_read() {
    let mut commands = 0;
    for (name, frames) in conversations() {
        let whole = play(&frames, &Arc::default(), usize::MAX);
        commands += whole.len();
        for done in &whole {
            assert_eq!(done.outcome, Outcome::Complete, "{name}: {done:?}");
            assert_ne!(done.result().kind, "unread", "{name}: {done:?}");
        }
        assert_eq!(
            format!("{whole:?}"),
            format!("{:?}", play(&frames, &Arc::default(), 1)),
            "{name}: whatever the pieces"
        );
    }
    assert!(commands > 50, "{commands}");
}

#[test]
fn topics_are_created_and_one_exists_already() {
    let creations: Vec<_> = commands("a")
        .into_iter()
        .filter(|done| done.command.name == "CreateTopics")
        .collect();
    assert_eq!(creations[0].statement(), "CreateTopics orders,zipped");
    assert_eq!(
        (creations[0].code(), creations[1].code()),
        ("", "TOPIC_ALREADY_EXISTS")
    );
}

#[test]
fn p_k5_librdkafka_compresses_in_every_way() {
    for (connection, codec) in [
        ("b", "uncompressed"),
        ("c", "gzip"),
        ("d", "snappy"),
        ("e", "lz4"),
        ("f", "zstd"),
    ] {
        let done = find(connection, "Produce");
        let tags = &done.result().tags;
        assert_eq!(done.result().affected, Some(4), "{codec}");
        assert!(tags[1].contains(codec), "{tags:?}");
        let value = codec.replace("uncompressed", "none");
        for number in 0..4 {
            let shown = format!("key=k{number} headers=trace {value} value {number} {value} value {number} ");
            assert!(tags.iter().any(|tag| tag.contains(&shown)), "{shown}: {tags:#?}");
        }
    }
}

#[test]
fn p_k2_a_producer_that_wants_no_acknowledgement() {
    let done = find("g", "Produce");
    // This broker answers all the same, which no client reads.
    assert_eq!(
        (done.result().kind, done.result().affected),
        ("no_reply", Some(1))
    );
}

#[test]
fn p_k5_a_fetch_of_all_of_them() {
    let done = find("i", "Fetch");
    assert_eq!(done.result().count, Some(21), "{:#?}", done.result());
    assert_eq!(done.statement(), "Fetch orders,zipped");
    let zipped = done
        .result()
        .tags
        .iter()
        .find(|tag| tag.starts_with("zipped/0 "))
        .unwrap();
    assert!(zipped.starts_with("zipped/0 16 messages "), "{zipped}");
}

#[test]
fn a_group_of_kafka_python() {
    let statements: Vec<_> = commands("l").iter().map(Done::statement).collect();
    for wanted in [
        "JoinGroup group=pygroup",
        "SyncGroup group=pygroup",
        "OffsetFetch orders group=pygroup",
        "OffsetCommit orders group=pygroup",
        "LeaveGroup group=pygroup",
    ] {
        assert!(
            statements.iter().any(|statement| statement == wanted),
            "{wanted}: {statements:#?}"
        );
    }
}
