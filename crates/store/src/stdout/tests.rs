use std::io::{BufRead, BufReader, PipeReader};
use std::time::Duration;

use qtap_config::{EventStore as EventSettings, ObjectStore as ObjectSettings, Services, StoreKind};
use qtap_plugin::schema::Content;

use super::*;
use crate::{OutputLimits, build};

const SUMMARY: &[u8] = br#"{"request_method":"GET","response_status":200}"#;
const JSON: Content<'_> = Content::Json("{\"a\":\"\u{e9}\\u007f\\n\"}".as_bytes());
const ABC: Content<'_> = Content::Text(b"abc");

fn output() -> (Output, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    (Output::new(writer, OutputLimits::default()).unwrap(), reader)
}

fn provenance(request_id: &str) -> String {
    format!(
        "{}\"{request_id}\"{}",
        r#""kind":"http_transaction","connectionId":"c1","endpointId":"example.com","requestId":"#,
        r#","tags":["bin:curl"],"timestamp":"1970-01-01T00:00:01.000000000Z""#
    )
}

/// Stores an artifact with `content`.
fn put(store: &dyn ObjectStore, content: Content<'_>) {
    store.put(&Artifact {
        provenance: provenance("r1").as_bytes(),
        content,
        summary: SUMMARY,
    });
}

fn first_line(content: Content<'_>) -> String {
    let (output, reader) = output();
    put(&StdoutObjects::new(output, None), content);
    BufReader::new(reader).lines().next().unwrap().unwrap()
}

const HEAD: &str = concat!(
    r#"{"type":"artifact","kind":"http_transaction","connectionId":"c1","endpointId":"example.com","requestId":"r1","#,
    r#""tags":["bin:curl"],"timestamp":"1970-01-01T00:00:01.000000000Z","#,
);

#[test]
fn json_is_embedded_as_it_is() {
    assert_eq!(
        first_line(JSON),
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
    let line = first_line(Content::Text(b"two\nlines"));
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
    put(&*build(&services, &output).objects[0], ABC);
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

#[test]
fn a_summary_without_entries_is_left_out() {
    let (output, reader) = output();
    let records: Arc<dyn EventStore> = Arc::new(StdoutEvents::new(output.clone()));
    StdoutObjects::new(output, Some(records)).put(&Artifact {
        provenance: b"\"kind\":\"http_transaction\"",
        content: JSON,
        summary: b"{}",
    });
    for line in BufReader::new(reader).lines().take(2).map(Result::unwrap) {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(
            line["digest"].is_string() && line.get("summary").is_none(),
            "{line}"
        );
    }
}

#[test]
fn a_disabled_record_store_gets_none_and_lists_are_never_empty() {
    let (output, _reader) = output();
    let stores = build(&Services::default(), &output);
    assert!(stores.events[0].discards() && stores.objects[0].discards());
    put(&*stores.objects[0], ABC);
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
    let artifact = Artifact {
        provenance: b"",
        content: ABC,
        summary: b"",
    };
    let digest = artifact.digest();
    for number in 0..EVENTS {
        store.record(&ArtifactRecord {
            provenance: provenance(&format!("r{number}")).as_bytes(),
            digest,
            scheme: "stdout",
            summary: SUMMARY,
        });
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
