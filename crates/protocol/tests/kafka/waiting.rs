//! Fetches that are over before the name of their topic is known: it is told on another connection, whose worker may be behind.

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, MetadataRequest, metadata_request};
use qtap_protocol::kafka::Topics;
use qtap_protocol::{Event, Outcome, Time};

use crate::messages::*;
use crate::support::Talk;

const ORDERS: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
const ORDERS_ID: &str = "ASNFZ4mrze8BI0VniavN7w";
const PAYMENTS: u128 = 7;
/// `UNKNOWN_TOPIC_ID`
const UNKNOWN: i16 = 100;

/// Another connection, on which the broker tells these names.
fn tell(topics: &Arc<Topics>, told: &[(&str, u128, i16)]) {
    Talk::with(false, Arc::clone(topics))
        .client(metadata(12, 1))
        .server(described(12, 1, told));
}

/// A fetch and its reply.
fn fetches(talk: &mut Talk, correlation: i32, id: u128) {
    talk.client(fetch_by_id(correlation, id))
        .server(fetched_by_id(correlation, id, 0, &values(&["hello"])));
}

fn statements(talk: &Talk) -> Vec<String> {
    talk.done().iter().map(|done| done.statement()).collect()
}

/// When the commands ended, as they are told.
fn ends(talk: &Talk) -> Vec<Time> {
    let end = |event: &Event| match event {
        Event::CommandEnd { time, .. } => Some(*time),
        _ => None,
    };
    talk.events.iter().filter_map(end).collect()
}

#[test]
fn a_name_that_comes_in_time_is_in_all_that_is_told() {
    let topics = Arc::new(Topics::default());
    let mut talk = Talk::with(false, Arc::clone(&topics));
    fetches(&mut talk, 1, ORDERS);
    assert_eq!((talk.done().len(), talk.due()), (0, Some(Time(0))), "it waits");
    talk.wake_after(1).wake_after(499);
    assert!(talk.done().is_empty() && talk.due() > Some(Time(talk.now)));
    tell(&topics, &[("orders", ORDERS, 0)]);
    talk.wake_after(0);
    assert_eq!((talk.due(), talk.waiting()), (None, 0));
    // As if the name had been known from the beginning.
    let mut other = Talk::with(false, topics);
    fetches(&mut other, 1, ORDERS);
    assert_eq!(statements(&talk), ["Fetch orders"]);
    assert_eq!(format!("{:?}", talk.done()), format!("{:?}", other.done()));
    assert_eq!(ends(&talk), ends(&other));
    let tags = &talk.last().result.unwrap().tags;
    assert!(tags.iter().skip(1).all(|tag| tag.contains("orders")), "{tags:?}");
}

#[test]
fn an_error_names_the_topic_too() {
    let topics = Arc::new(Topics::default());
    let mut talk = Talk::with(false, Arc::clone(&topics));
    talk.client(fetch_by_id(1, ORDERS))
        .server(fetched_by_id(1, ORDERS, UNKNOWN, &[]));
    tell(&topics, &[("orders", ORDERS, 0)]);
    talk.wake_after(1);
    let error = talk.last().result.unwrap().error.unwrap();
    assert_eq!(error.message, "orders/0: UNKNOWN_TOPIC_ID (retriable)");
}

#[test]
fn a_name_that_never_comes_is_waited_for_once() {
    let topics = Arc::new(Topics::default());
    let mut talk = Talk::with(false, Arc::clone(&topics));
    fetches(&mut talk, 1, ORDERS);
    talk.wake_after(1).wake_after(499);
    assert!(talk.done().is_empty());
    talk.wake_after(1);
    assert_eq!(statements(&talk), [format!("Fetch {ORDERS_ID}")]);
    assert!(
        talk.last().result().tags[1].starts_with(ORDERS_ID),
        "{:?}",
        talk.last()
    );
    fetches(&mut talk, 2, ORDERS);
    assert_eq!((talk.done().len(), talk.due()), (2, None), "it does not wait");
    let mut other = Talk::with(false, Arc::clone(&topics));
    fetches(&mut other, 1, ORDERS);
    assert_eq!((other.done().len(), other.due()), (1, None), "nor elsewhere");
    tell(&topics, &[("orders", ORDERS, 0)]);
    fetches(&mut talk, 3, ORDERS);
    assert_eq!(statements(&talk)[2], "Fetch orders");
}

#[test]
fn commands_wait_beyond_the_end_of_their_connection() {
    let topics = Arc::new(Topics::default());
    let mut talk = Talk::with(false, Arc::clone(&topics));
    fetches(&mut talk, 1, ORDERS);
    talk.client(fetch_by_id(2, ORDERS)).end();
    let end = Time(talk.now);
    assert!(talk.done().is_empty() && talk.due().is_some());
    talk.wake_after(1).wake_after(100);
    tell(&topics, &[("orders", ORDERS, 0)]);
    talk.wake_after(20);
    let outcomes: Vec<_> = talk.done().iter().map(|done| done.outcome).collect();
    assert_eq!(outcomes, [Outcome::Complete, Outcome::Canceled]);
    assert_eq!(statements(&talk), ["Fetch orders", "Fetch orders"]);
    assert_eq!((ends(&talk)[1], talk.due(), talk.waiting()), (end, None, 0));
}

#[test]
fn when_the_agent_ends_nothing_waits() {
    let mut talk = Talk::new();
    fetches(&mut talk, 1, ORDERS);
    talk.client(fetch_by_id(2, ORDERS));
    assert_eq!(talk.close().len(), 2);
    assert_eq!(statements(&talk), vec![format!("Fetch {ORDERS_ID}"); 2]);
    assert_eq!((talk.due(), talk.waiting()), (None, 0));
}

#[test]
fn short_memory_ends_the_wait_but_not_the_hope() {
    let mut talk = Talk::new();
    fetches(&mut talk, 1, ORDERS);
    assert!(talk.waiting() > 0);
    talk.release();
    assert_eq!((talk.done().len(), talk.waiting()), (1, 0));
    fetches(&mut talk, 2, ORDERS);
    assert_eq!(talk.done().len(), 1, "the next one waits");
}

#[test]
fn what_ends_behind_one_that_waits_keeps_its_place() {
    let topics = Arc::new(Topics::default());
    tell(&topics, &[("payments", PAYMENTS, 0)]);
    let mut talk = Talk::with(false, Arc::clone(&topics));
    fetches(&mut talk, 1, PAYMENTS);
    assert_eq!(statements(&talk), ["Fetch payments"], "nothing waits before it");
    fetches(&mut talk, 2, ORDERS);
    talk.wake_after(1);
    fetches(&mut talk, 3, PAYMENTS);
    talk.client(fetch(11, 4, (0, -1), &[("plain", 0)], &[]))
        .server(fetched(11, 4, 0, &[("plain", 0, 0, values(&["x"]))]));
    talk.wake_after(100);
    assert_eq!(talk.done().len(), 1);
    tell(&topics, &[("orders", ORDERS, 0)]);
    talk.wake_after(20);
    assert_eq!(
        statements(&talk),
        ["Fetch payments", "Fetch orders", "Fetch payments", "Fetch plain"]
    );
    assert!(ends(&talk).is_sorted());
}

#[test]
fn the_next_command_finds_that_the_name_is_there() {
    let topics = Arc::new(Topics::default());
    let mut talk = Talk::with(false, Arc::clone(&topics));
    fetches(&mut talk, 1, ORDERS);
    tell(&topics, &[("orders", ORDERS, 0)]);
    fetches(&mut talk, 2, ORDERS);
    assert_eq!(statements(&talk), ["Fetch orders", "Fetch orders"]);
}

#[test]
fn beyond_256_commands_the_oldest_goes_on_with_its_id() {
    let topics = Arc::new(Topics::default());
    let mut talk = Talk::with(false, Arc::clone(&topics));
    let asks = |talk: &mut Talk, correlation| {
        talk.client(fetch_by_id(correlation, ORDERS))
            .server(fetched_by_id(correlation, ORDERS, 0, &[]));
    };
    (1..=256).for_each(|correlation| asks(&mut talk, correlation));
    assert!(talk.done().is_empty());
    asks(&mut talk, 257);
    assert_eq!(statements(&talk), [format!("Fetch {ORDERS_ID}")]);
    tell(&topics, &[("orders", ORDERS, 0)]);
    talk.wake_after(1);
    let statements = statements(&talk);
    assert_eq!(statements.len(), 257, "none is lost");
    assert!(
        statements[1..]
            .iter()
            .all(|statement| statement == "Fetch orders")
    );
    assert!(ends(&talk).is_sorted());
}

#[test]
fn beyond_512_kib_the_oldest_goes_on_with_its_id() {
    let mut talk = Talk::new();
    let long = "x".repeat(250);
    let records = values(&[long.as_str(); 10]);
    let mut correlation = 0;
    while talk.done().is_empty() {
        correlation += 1;
        assert!(correlation <= 256, "bytes are bounded too");
        talk.client(fetch_by_id(correlation, ORDERS))
            .server(fetched_by_id(correlation, ORDERS, 0, &records));
        assert!(talk.waiting() <= 512 << 10);
    }
    assert!(talk.waiting() > 500 << 10, "{}", talk.waiting());
    assert_eq!(talk.close().len(), usize::try_from(correlation).unwrap());
}

#[test]
fn a_reply_may_name_what_its_own_request_asks_for() {
    let mut talk = Talk::new();
    let wanted = metadata_request::MetadataRequestTopic::default()
        .with_name(None)
        .with_topic_id(format!("{ORDERS:032x}").parse().unwrap());
    let asked = MetadataRequest::default().with_topics(Some(vec![wanted]));
    talk.client(request(ApiKey::Metadata, 12, 1, &asked))
        .server(described(12, 1, &[("orders", ORDERS, 0)]));
    assert_eq!(statements(&talk), ["Metadata orders"]);
}

#[test]
fn a_session_that_began_with_an_id_shows_the_name_once_it_is_known() {
    let topics = Arc::new(Topics::default());
    let mut talk = Talk::with(false, Arc::clone(&topics));
    talk.client(session_by_id(1, (0, 0), &[ORDERS, PAYMENTS]))
        .server(fetched(13, 1, 9, &[]));
    talk.client(session_by_id(2, (9, 1), &[]));
    tell(&topics, &[("orders", ORDERS, 0), ("payments", PAYMENTS, 0)]);
    talk.server(fetched(13, 2, 9, &[]));
    talk.client(session_by_id(3, (9, 2), &[]))
        .server(fetched(13, 3, 9, &[]));
    assert_eq!(
        statements(&talk),
        [
            "Fetch orders,payments",
            "Fetch orders,payments",
            "Fetch orders,payments"
        ]
    );
}
