//! What the agent says of numbered questions, in one form for all protocols.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qtap_e2e::{Capture, Events, outline};
use serde_json::Value;

/// One question with its answer, as far as they were seen.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// Number of the question.
    pub(crate) asked: Option<u64>,
    /// Number that the answer says.
    pub(crate) answered: Option<u64>,
    /// The agent says that it is all there.
    pub(crate) is_whole: bool,
    /// What says so, for failures.
    pub(crate) record: &'a Value,
}

/// How the records of one connection are read.
pub(crate) type Reader = for<'a> fn(&'a Events, &'a Capture) -> Vec<Seen<'a>>;

/// What `numbered.py` takes for the answer to a question.
pub(crate) fn answer(number: u64) -> String {
    format!("answer-{number}-{}", padding(number))
}

fn padding(number: u64) -> String {
    "x".repeat(usize::try_from(number * 37 % 301).expect("a short text"))
}

/// The number behind `word-`, where all its digits are there.
fn number_in(text: &[u8], word: &str) -> Option<u64> {
    let text = String::from_utf8_lossy(text);
    let at = text.find(word)? + word.len();
    let rest = text.get(at..)?;
    let end = rest.find(|character: char| !character.is_ascii_digit())?;
    rest.get(..end)?.parse().ok()
}

/// The number of an answer; a whole one must be what was sent, to the byte.
fn answered(text: &[u8], is_whole: bool, what: &dyn Fn() -> String) -> Option<u64> {
    let number = number_in(text, "answer-");
    if let Some(number) = number
        && is_whole
    {
        let told = String::from_utf8_lossy(text);
        assert!(
            told == answer(number),
            "not what was sent: {told:?} in {}",
            what()
        );
    }
    number
}

fn body(part: &Value) -> Vec<u8> {
    let text = part["body"].as_str().unwrap_or_default();
    STANDARD.decode(text).expect("a body in Base64")
}

/// Header fields that were lost from the table of their connection leave everything else as it is.
fn is_whole(transaction: &Value) -> bool {
    transaction["outcome"] == "complete"
        && ["incomplete", "gap_bytes", "status_unknown"]
            .iter()
            .all(|flag| transaction[*flag].is_null())
}

/// HTTP/1.1 and HTTP/2: the path has the number of the question, the body and a field of the answer have its own.
pub(crate) fn http<'a>(_: &'a Events, capture: &'a Capture) -> Vec<Seen<'a>> {
    let of = |transaction: &'a Value| {
        let what = || outline(transaction);
        let (request, response) = (&transaction["request"], &transaction["response"]);
        let asked = number_in(request["path"].as_str().unwrap_or_default().as_bytes(), "?n=");
        let is_whole = is_whole(transaction);
        let told = answered(&body(response), is_whole, &what);
        let fields = response["headers"].as_object();
        let field = fields.and_then(|fields| {
            let field = fields
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("x-number"));
            field.and_then(|(_, value)| value.as_str()?.parse::<u64>().ok())
        });
        if let (Some(told), Some(field)) = (told, field) {
            assert_eq!(told, field, "head and body of two answers: {}", what());
        }
        if request["method"] == "POST"
            && let Some(number) = number_in(&body(request), "question-")
        {
            assert_eq!(
                asked.unwrap_or(number),
                number,
                "head and body of two questions: {}",
                what()
            );
            let whole = format!("question-{number}-{}", padding(number)).into_bytes();
            assert!(!is_whole || body(request) == whole, "{}", what());
        }
        Seen {
            asked,
            answered: told.or(field),
            is_whole,
            record: transaction,
        }
    };
    capture.transactions.iter().map(of).collect()
}

/// gRPC: the message that comes back is the one that was sent.
pub(crate) fn grpc<'a>(_: &'a Events, capture: &'a Capture) -> Vec<Seen<'a>> {
    let of = |transaction: &'a Value| {
        let what = || outline(transaction);
        let is_whole = is_whole(transaction);
        let message = |part: &str| {
            let part = &transaction[part];
            // A call of which the heads are lost is HTTP/2 like any other.
            let bytes = match part["messages"][0]["data"].as_str() {
                Some(data) => STANDARD.decode(data).expect("a message in Base64"),
                None => body(part).get(5..).unwrap_or_default().to_vec(),
            };
            answered(&bytes, is_whole, &what)
        };
        Seen {
            asked: message("request"),
            answered: message("response"),
            is_whole,
            record: transaction,
        }
    };
    capture.transactions.iter().map(of).collect()
}

/// WebSocket: a message that comes back is the one that was sent, in the order of sending. Nothing pairs them but that.
pub(crate) fn websocket<'a>(_: &'a Events, capture: &'a Capture) -> Vec<Seen<'a>> {
    let mut whole = [BTreeSet::new(), BTreeSet::new()];
    let mut hurt = Vec::new();
    let of_records = |key: &'static str| {
        capture
            .transactions
            .iter()
            .flat_map(move |record| record[key].as_array().into_iter().flatten())
    };
    for message in of_records("captured_messages").filter(|message| message["opcode"] == "text") {
        let numbers = &mut whole[usize::from(message["direction"] == "received")];
        let is_whole = ["truncated", "gap_bytes", "cut"]
            .iter()
            .all(|flag| message[*flag].is_null());
        let text = message["payload"].as_str().unwrap_or_default();
        let number = answered(text.as_bytes(), is_whole, &|| message.to_string());
        match number {
            Some(number) if is_whole => {
                let latest = numbers.last().copied();
                assert!(latest < Some(number), "out of order: {message} after {latest:?}");
                numbers.insert(number);
            }
            number => {
                assert!(!is_whole, "a message that nobody sent: {message}");
                hurt.push(Seen {
                    asked: number,
                    answered: None,
                    is_whole: false,
                    record: message,
                });
            }
        }
    }
    let [sent, received] = whole;
    let pairs = sent.union(&received).map(|number| Seen {
        asked: sent.contains(number).then_some(*number),
        answered: received.contains(number).then_some(*number),
        is_whole: sent.contains(number) && received.contains(number),
        record: &capture.connection,
    });
    pairs.chain(hurt).collect()
}

/// Event stream: the path says which events are asked for; those of a stream that is whole are all there.
pub(crate) fn events<'a>(_: &'a Events, capture: &'a Capture) -> Vec<Seen<'a>> {
    let mut seen = Vec::new();
    for transaction in &capture.transactions {
        let path = transaction["request"]["path"]
            .as_str()
            .unwrap_or_default()
            .as_bytes();
        let range = number_in(path, "?first=").and_then(|first| {
            let count = number_in(&[path, b"&"].concat(), "&count=")?;
            Some(first..first + count)
        });
        let captured = transaction["captured_events"].as_array();
        let mut numbers = Vec::new();
        for event in captured.into_iter().flatten() {
            let what = || format!("{event} in {}", outline(transaction));
            let is_whole = event["truncated"].is_null();
            let text = event["data"].as_str().unwrap_or_default();
            let number = answered(text.as_bytes(), is_whole, &what);
            let id = event["id"].as_str().and_then(|id| id.parse::<u64>().ok());
            assert_eq!(number, id, "parts of two events: {}", what());
            let number = number.unwrap_or_else(|| panic!("an event that nobody sent: {}", what()));
            assert!(numbers.last() < Some(&number), "out of order: {}", what());
            if let Some(range) = &range {
                assert!(range.contains(&number), "of another stream: {}", what());
            }
            numbers.push(number);
        }
        if let Some(range) = range.clone()
            && is_whole(transaction)
        {
            assert!(range.eq(numbers.iter().copied()), "{}", outline(transaction));
        }
        seen.extend(numbers.into_iter().map(|number| Seen {
            // Of a stream whose question is lost it is not known who asked.
            asked: range.as_ref().map(|_| number),
            answered: Some(number),
            is_whole: range.is_some(),
            record: transaction,
        }));
    }
    seen
}

/// Databases: the statement has the number of the question, the result its own.
pub(crate) fn database<'a>(events: &'a Events, capture: &'a Capture) -> Vec<Seen<'a>> {
    let id = &capture.connection["meta"]["connectionId"];
    let lines = events
        .iter()
        .filter(|event| event["msg"] == "database transaction" && event["connection_id"] == *id);
    let of = |line: &'a Value| {
        let what = || line.to_string();
        let is_whole = line["outcome"] == "complete" && line["incomplete"].is_null();
        let command = &line["command"];
        let statement = command["query"].as_str().unwrap_or_default();
        let argument = command["args"][0].as_str().unwrap_or_default();
        let asked = number_in(format!("{statement} {argument}").as_bytes(), "answer-");
        let value = line["result"]["value"].as_str().unwrap_or_default();
        // A row is shown with its columns apart and a line end.
        let value = value.trim_end().rsplit(" | ").next().unwrap_or_default();
        let told = answered(value.as_bytes(), is_whole, &what);
        // Logging in, settings and the like have no number.
        (asked.is_some() || told.is_some() || !is_whole).then_some(Seen {
            asked,
            answered: told,
            is_whole,
            record: line,
        })
    };
    lines.filter_map(of).collect()
}

/// Kafka: a message has the number of the question, the offset that the broker gives it is the answer.
pub(crate) fn kafka<'a>(events: &'a Events, capture: &'a Capture) -> Vec<Seen<'a>> {
    let id = &capture.connection["meta"]["connectionId"];
    let requests = events
        .of_type("database_request")
        .filter(|event| event["connectionId"] == *id);
    let of = |request: &'a Value| {
        let statement = request["statement"].as_str().unwrap_or_default();
        if statement != "Produce numbers" {
            return None;
        }
        let lines = request["responseSummary"].as_array();
        let lines = lines.into_iter().flatten().filter_map(Value::as_str);
        let lines = lines.collect::<Vec<_>>().join("\n");
        Some(Seen {
            asked: number_in(lines.as_bytes(), "answer-"),
            answered: number_in(format!("{lines}\n").as_bytes(), "offset="),
            is_whole: request["outcome"] == "complete" && request["incomplete"].is_null(),
            record: request,
        })
    };
    requests.filter_map(of).collect()
}
