//! What belongs together among datagrams (P-N2): the caller says what carries them.

use qtap_protocol::dns::{Answered, Asked, Extent, Message, Pairing};
use qtap_protocol::{Outcome, Time};

use crate::support::{answer, query};

fn at(time: u64) -> Extent {
    Extent {
        started: Time(time),
        ended: Time(time),
        bytes: 30,
        gap_bytes: 0,
    }
}

fn ask(pairing: &mut Pairing<u32>, carrier: u32, id: u16, time: u64) -> Asked {
    let message = Message::parse(&query(id, "a.test")).unwrap();
    pairing.query(message, at(time), |known| *known == carrier, || carrier)
}

fn reply(pairing: &mut Pairing<u32>, carrier: u32, id: u16, time: u64) -> Answered<u32> {
    let bytes = answer(id, "a.test", 1);
    let message = Message::parse(&bytes).unwrap();
    pairing.response(message, &bytes, at(time), |known| *known == carrier)
}

#[test]
fn the_same_query_of_others_is_another() {
    let mut pairing = Pairing::new(10);
    assert_eq!(ask(&mut pairing, 1, 7, 1), Asked::New);
    assert_eq!(ask(&mut pairing, 2, 7, 2), Asked::New);
    assert_eq!(reply(&mut pairing, 3, 7, 3), Answered::Orphan);
    let Answered::Exchange(carrier, exchange) = reply(&mut pairing, 2, 7, 4) else {
        panic!("an answer to the second");
    };
    assert_eq!((carrier, exchange.duration_ns()), (2, Some(2)));
    assert_eq!(pairing.len(), 1);
}

#[test]
fn what_is_old_ends_in_the_order_it_began() {
    let mut pairing = Pairing::new(100);
    for id in 0..20 {
        ask(&mut pairing, 1, id, u64::from(id));
    }
    // Sent again, so younger.
    assert_eq!(ask(&mut pairing, 1, 3, 50), Asked::Again);
    let mut ended = Vec::new();
    pairing.expire(Time(10), &mut ended);
    let ids: Vec<_> = ended.iter().map(|(_, exchange)| exchange.query.id).collect();
    assert_eq!(ids, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert!(
        ended
            .iter()
            .all(|(_, exchange)| exchange.outcome == Outcome::Timeout && exchange.ended == exchange.sent)
    );
    assert_eq!(pairing.len(), 11);
}

#[test]
fn a_loss_makes_silence_doubtful_and_an_answer_certain() {
    let mut pairing = Pairing::new(10);
    ask(&mut pairing, 1, 1, 1);
    ask(&mut pairing, 1, 2, 1);
    ask(&mut pairing, 2, 3, 1);
    pairing.doubt(|carrier| *carrier == 1);
    assert!(matches!(
        reply(&mut pairing, 1, 1, 2),
        Answered::Exchange(1, exchange) if exchange.outcome == Outcome::Complete
    ));
    let mut ended = Vec::new();
    pairing.expire(Time(100), &mut ended);
    let outcomes: Vec<_> = ended.iter().map(|(_, exchange)| exchange.outcome).collect();
    assert_eq!(outcomes, [Outcome::Incomplete, Outcome::Timeout]);
    assert!(pairing.is_empty());
}

#[test]
fn one_too_many_ends_at_once() {
    let mut pairing = Pairing::new(1);
    ask(&mut pairing, 1, 1, 1);
    let Asked::Full(exchange) = ask(&mut pairing, 1, 2, 5) else {
        panic!("there is no room");
    };
    assert_eq!((exchange.outcome, exchange.ended), (Outcome::Incomplete, Time(5)));
    assert_eq!(pairing.len(), 1);
}
