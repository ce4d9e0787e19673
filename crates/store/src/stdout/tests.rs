use std::io::{BufRead, BufReader, PipeReader};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use qtap_config::{EventStore as EventSettings, ObjectStore as ObjectSettings, Services, StoreKind};
use qtap_plugin::json::JsonLine;
use qtap_plugin::schema::{ArtifactKind, Content, Provenance, Rendered, Summary, Tags, Timestamp};

use super::*;
use crate::{OutputLimits, build};

fn output() -> (Output, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    (Output::new(writer, OutputLimits::default()).unwrap(), reader)
}

fn json() -> Content {
    Content::Json(JsonLine::of(&serde_json::json!({"a": "\u{e9}\u{7f}\n"})).unwrap())
}

fn artifact(content: Content) -> Artifact {
    artifact_of("r1", content)
}

fn artifact_of(request_id: &str, content: Content) -> Artifact {
    let mut summary = Summary::default();
    summary.text("request_method", "GET");
    summary.number("response_status", 200);
    let provenance = Provenance {
        kind: ArtifactKind::HttpTransaction,
        connection_id: "c1".into(),
        endpoint_id: "example.com".into(),
        request_id: request_id.into(),
        tags: Tags::new(vec!["bin:curl".to_owned()]).into(),
        timestamp: Timestamp(UNIX_EPOCH + Duration::from_secs(1)),
    };
    Artifact {
        provenance: Rendered::new(provenance).unwrap(),
        content,
        summary: JsonLine::of(&summary).unwrap(),
    }
}

fn event(number: usize) -> Event {
    let artifact = artifact_of(&format!("r{number}"), json());
    Event::ArtifactRecord(Box::new(line::record_of(
        artifact,
        "d".into(),
        "stdout://d".into(),
    )))
}

fn first_line(content: Content) -> String {
    let (output, reader) = output();
    StdoutObjects::new(output, None).put(artifact(content));
    BufReader::new(reader).lines().next().unwrap().unwrap()
}

const HEAD: &str = concat!(
    r#"{"type":"artifact","kind":"http_transaction","connectionId":"c1","endpointId":"example.com","requestId":"r1","#,
    r#""tags":["bin:curl"],"timestamp":"1970-01-01T00:00:01.000000000Z","#,
);

#[test]
fn json_is_embedded_as_it_is() {
    assert_eq!(
        first_line(json()),
        format!(
            "{HEAD}{}",
            concat!(
                r#""contentType":"application/json","digest":"ccb735b0e42132a0b43c81d6c26cc2f7aaa2d64c2e2122b9aa04f694e441bb30","#,
                r#""summary":{"request_method":"GET","response_status":200},"data":{"a":"é\u007f\n"}}"#,
            )
        )
    );
}

#[test]
fn other_content_is_base64() {
    let line = first_line(Content::Text(Bytes::from_static(b"two\nlines")));
    assert!(line.ends_with(r#""dataBase64":"dHdvCmxpbmVz"}"#), "{line}");
}

#[test]
fn an_artifact_taken_is_recorded_in_the_event_store_chosen() {
    let (output, reader) = output();
    let events = |kind| EventSettings { id: None, kind };
    let services = Services {
        event_stores: vec![events(StoreKind::Disabled), events(StoreKind::Stdout)],
        object_stores: vec![ObjectSettings {
            id: None,
            kind: StoreKind::Stdout,
            event_store: Some(1),
        }],
    };
    build(&services, &output).objects[0].put(artifact(Content::Text(Bytes::from_static(b"abc"))));
    let lines: Vec<String> = BufReader::new(reader)
        .lines()
        .take(2)
        .map(Result::unwrap)
        .collect();
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert!(
        lines[0].contains(&format!(r#""digest":"{digest}""#)),
        "{}",
        lines[0]
    );
    assert_eq!(
        lines[1],
        format!(
            "{}{digest}{}{digest}{}",
            concat!(
                r#"{"type":"artifact_record","kind":"http_transaction","connectionId":"c1","endpointId":"example.com","#,
                r#""requestId":"r1","tags":["bin:curl"],"timestamp":"1970-01-01T00:00:01.000000000Z","digest":""#,
            ),
            r#"","url":"stdout://"#,
            r#"","summary":{"request_method":"GET","response_status":200}}"#
        )
    );
}

/// The line of a record is put together from its parts: it must be what the type serialises to.
#[test]
fn the_line_of_a_record_is_its_json() {
    let event = event(1);
    let line = String::from_utf8(line::of_event(&event).unwrap()).unwrap();
    assert_eq!(line, format!("{}\n", serde_json::to_string(&event).unwrap()));
}

#[test]
fn a_disabled_record_store_gets_none_and_lists_are_never_empty() {
    let (output, _reader) = output();
    let stores = build(&Services::default(), &output);
    assert!(stores.events[0].discards() && stores.objects[0].discards());
    stores.objects[0].put(artifact(Content::Text(Bytes::from_static(b"abc"))));
    assert_eq!(output.counters().received, 0);
}

#[test]
fn ten_thousand_events_reach_a_fast_reader_in_order_and_without_loss() {
    const EVENTS: usize = 10_000;
    let (output, reader) = output();
    let reading = std::thread::spawn(move || {
        let ids = BufReader::new(reader).lines().take(EVENTS).map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["requestId"].as_str().unwrap().to_owned()
        });
        ids.collect::<Vec<_>>()
    });
    let store = StdoutEvents::new(output.clone());
    for number in 0..EVENTS {
        store.save(event(number));
    }
    let expected: Vec<String> = (0..EVENTS).map(|number| format!("r{number}")).collect();
    assert_eq!(reading.join().unwrap(), expected);
    assert!(output.flush(Duration::from_secs(5)));
    let counters = output.counters();
    assert_eq!(
        (counters.received, counters.emitted, counters.lost_total()),
        (10_000, 10_000, 0)
    );
}
