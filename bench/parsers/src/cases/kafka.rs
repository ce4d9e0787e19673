//! Kafka beside kafka-protocol: a producer's requests and a consumer's fetches, with the records in them.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
    TopicName, fetch_request, fetch_response, produce_request, produce_response,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use qtap_protocol::kafka::{Parser, Topics};
use qtap_protocol::{Detail, Event, Limits, Side};

use crate::exchange::{Case, Exchange, text};

const ROUNDS: u64 = 100;
const RECORDS: i64 = 5;
const PRODUCE: i16 = 7;
const FETCH: i16 = 11;

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("orders"))
}

fn batch() -> anyhow::Result<Bytes> {
    let records: Vec<Record> = (0..RECORDS)
        .map(|number| Record {
            transactional: false,
            control: false,
            partition_leader_epoch: 0,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: number,
            sequence: -1,
            timestamp: 1_700_000_000_000,
            key: Some(Bytes::from(format!("order-{number}"))),
            value: Some(Bytes::from(text(200))),
            headers: IndexMap::new(),
            delete_horizon: false,
        })
        .collect();
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut out, &records, &options)?;
    Ok(out.freeze())
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or_default();
    [&length.to_be_bytes(), body].concat()
}

fn request(key: ApiKey, version: i16, correlation: i32, message: &impl Encodable) -> anyhow::Result<Vec<u8>> {
    let mut out = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("bench")))
        .encode(&mut out, key.request_header_version(version))?;
    message.encode(&mut out, version)?;
    Ok(framed(&out))
}

fn reply(key: ApiKey, version: i16, correlation: i32, message: &impl Encodable) -> anyhow::Result<Vec<u8>> {
    let mut out = BytesMut::new();
    ResponseHeader::default()
        .with_correlation_id(correlation)
        .encode(&mut out, key.response_header_version(version))?;
    message.encode(&mut out, version)?;
    Ok(framed(&out))
}

fn exchange() -> anyhow::Result<Exchange> {
    let mut exchange = Exchange::default();
    let batch = batch()?;
    for round in 0..ROUNDS {
        let id = i32::try_from(round * 2)?;
        let produce = ProduceRequest::default()
            .with_acks(1)
            .with_timeout_ms(1000)
            .with_topic_data(vec![
                produce_request::TopicProduceData::default()
                    .with_name(name())
                    .with_partition_data(vec![
                        produce_request::PartitionProduceData::default().with_records(Some(batch.clone())),
                    ]),
            ]);
        exchange.client(request(ApiKey::Produce, PRODUCE, id, &produce)?);
        let produced = ProduceResponse::default().with_responses(vec![
            produce_response::TopicProduceResponse::default()
                .with_name(name())
                .with_partition_responses(vec![
                    produce_response::PartitionProduceResponse::default()
                        .with_base_offset(i64::from(id) * RECORDS),
                ]),
        ]);
        exchange.server(reply(ApiKey::Produce, PRODUCE, id, &produced)?);
        let fetch = FetchRequest::default().with_max_wait_ms(500).with_topics(vec![
            fetch_request::FetchTopic::default()
                .with_topic(name())
                .with_partitions(vec![fetch_request::FetchPartition::default()]),
        ]);
        exchange.client(request(ApiKey::Fetch, FETCH, id + 1, &fetch)?);
        let fetched = FetchResponse::default().with_responses(vec![
            fetch_response::FetchableTopicResponse::default()
                .with_topic(name())
                .with_partitions(vec![
                    fetch_response::PartitionData::default().with_records(Some(batch.clone())),
                ]),
        ]);
        exchange.server(reply(ApiKey::Fetch, FETCH, id + 1, &fetched)?);
    }
    Ok(exchange)
}

pub(crate) fn case() -> anyhow::Result<Case> {
    let exchange = exchange()?;
    let theirs = exchange.clone();
    let mut events = Vec::new();
    Ok(Case {
        name: "kafka",
        peer: "kafka-protocol 0.18",
        what: "requests and replies, every second with five records,",
        bytes: exchange.bytes(),
        messages: 4 * ROUNDS,
        ours: Box::new(move || {
            let mut parser = Parser::new(
                Limits::default(),
                Detail::default(),
                false,
                Arc::new(Topics::default()),
            );
            exchange.parse(&mut parser, &mut events, |event| {
                matches!(
                    event,
                    Event::Command { .. } | Event::CommandEnd { result: Some(_), .. }
                )
            })
        }),
        theirs: Box::new(move || {
            let mut key = ApiKey::Produce;
            for piece in theirs.pieces() {
                let mut data = piece.data.clone();
                data.advance(4);
                match piece.side {
                    Side::Client => key = ask(&mut data)?,
                    Side::Server => answer(key, &mut data)?,
                }
                ensure!(data.is_empty(), "bytes are left over");
            }
            Ok(theirs.pieces().len() as u64)
        }),
    })
}

fn records(batch: Option<&Bytes>) -> anyhow::Result<()> {
    let sets = RecordBatchDecoder::decode_all(&mut batch.context("no records")?.clone())?;
    let count: usize = sets.iter().map(|set| set.records.len()).sum();
    ensure!(i64::try_from(count)? == RECORDS, "records are missing");
    Ok(())
}

/// The layout of a header depends on the request, which is read ahead.
fn ask(data: &mut Bytes) -> anyhow::Result<ApiKey> {
    let (key, _) = data.split_first_chunk::<2>().context("no key")?;
    let key = if i16::from_be_bytes(*key) == ApiKey::Fetch as i16 {
        ApiKey::Fetch
    } else {
        ApiKey::Produce
    };
    let version = if key == ApiKey::Fetch { FETCH } else { PRODUCE };
    RequestHeader::decode(data, key.request_header_version(version))?;
    if key == ApiKey::Fetch {
        FetchRequest::decode(data, version)?;
        return Ok(key);
    }
    let request = ProduceRequest::decode(data, version)?;
    for partition in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
        records(partition.records.as_ref())?;
    }
    Ok(key)
}

fn answer(key: ApiKey, data: &mut Bytes) -> anyhow::Result<()> {
    if key == ApiKey::Produce {
        ResponseHeader::decode(data, key.response_header_version(PRODUCE))?;
        ProduceResponse::decode(data, PRODUCE)?;
        return Ok(());
    }
    ResponseHeader::decode(data, key.response_header_version(FETCH))?;
    let response = FetchResponse::decode(data, FETCH)?;
    for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
        records(partition.records.as_ref())?;
    }
    Ok(())
}
