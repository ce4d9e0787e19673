//! Records that the kernel side could not hand on, in both directions of a connection: what is missing is told in the order in which it
//! happened, so that no response is taken for the answer to another request (P-L2).

mod support;

use proptest::prelude::*;
use qtap_capture::{Direction, Role};
use qtap_engine::Transaction;
use qtap_protocol::Outcome;
use support::Bench;

/// One record of a conversation.
#[derive(Clone, Debug)]
struct Sent {
    is_request: bool,
    bytes: Vec<u8>,
}

/// A client that waits for each answer: a request in one record or, with a body, in two, and its response in one or two.
fn round(number: usize, posts: bool, is_split: bool) -> Vec<Sent> {
    let request = |bytes: String| Sent {
        is_request: true,
        bytes: bytes.into_bytes(),
    };
    let response = |bytes: String| Sent {
        is_request: false,
        bytes: bytes.into_bytes(),
    };
    let mut sent = Vec::new();
    if posts {
        sent.push(request(format!(
            "POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
        )));
        sent.push(request("hello".to_owned()));
    } else {
        sent.push(request(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")));
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Number: {number}\r\n\r\n");
    if is_split {
        sent.push(response(head));
        sent.push(response("body".to_owned()));
    } else {
        sent.push(response(head + "body"));
    }
    sent
}

/// What comes out of a conversation of which some records are lost, as `role` sees it.
fn transactions(records: &[(Sent, bool)], role: Role) -> Vec<Transaction> {
    let mut bench = Bench::new();
    bench.open(role, false);
    for (sent, is_lost) in records {
        let direction = if sent.is_request == (role == Role::Client) {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        match (is_lost, direction) {
            (true, _) => bench.loses(direction, sent.bytes.len() as u64),
            (false, Direction::Egress) => bench.writes(&sent.bytes),
            (false, Direction::Ingress) => bench.reads(&sent.bytes),
        }
        bench.now += 1000;
    }
    bench.close();
    bench.transactions()
}

/// Number of the request, and of the response it was given.
fn numbers(transaction: &Transaction) -> Option<(String, String)> {
    let request = &transaction.request;
    let response = transaction.response.as_ref()?;
    let path = String::from_utf8_lossy(&request.target);
    let number = response
        .fields
        .iter()
        .find(|field| &field.name[..] == b"X-Number")?;
    let number = String::from_utf8_lossy(&number.value).into_owned();
    Some((path.trim_start_matches('/').to_owned(), number))
}

fn pairs(transactions: &[Transaction]) -> Vec<(String, String)> {
    transactions.iter().filter_map(numbers).collect()
}

/// The body of a request is lost and with it two responses, between which the client asked: the second request waits behind the hole, and
/// what is missing after it must not be told before it.
#[test]
fn what_is_missing_between_two_requests_that_wait_is_told_between_them() {
    let rounds = [(0, true), (1, false), (2, false), (3, false)];
    let mut records: Vec<(Sent, bool)> = rounds
        .iter()
        .flat_map(|&(number, posts)| round(number, posts, false))
        .map(|sent| (sent, false))
        .collect();
    // The body of request 0, and responses 0 and 1.
    for lost in [1, 2, 4] {
        records[lost].1 = true;
    }
    for role in [Role::Client, Role::Server] {
        let told = transactions(&records, role);
        let expected = ["2", "3"].map(|number| (number.to_owned(), number.to_owned()));
        assert_eq!(pairs(&told), expected, "{role:?}");
        assert_eq!(told.len(), 4, "{role:?}");
        let complete = told.iter().filter(|one| one.outcome == Outcome::Complete).count();
        assert_eq!(complete, 2, "{role:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// P-L2.
    #[test]
    fn whatever_is_lost_no_response_is_given_to_another_request(
        rounds in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..40),
        losses in proptest::collection::vec(0_u32..1000, 160),
        rate in 1_u32..500,
        is_server in any::<bool>(),
    ) {
        let sent = rounds.iter().enumerate().flat_map(|(number, &(posts, is_split))| round(number, posts, is_split));
        let records: Vec<(Sent, bool)> = sent.zip(losses.iter().map(|loss| *loss < rate)).collect();
        let role = if is_server { Role::Server } else { Role::Client };
        for (request, response) in pairs(&transactions(&records, role)) {
            prop_assert_eq!(request, response);
        }
    }
}
