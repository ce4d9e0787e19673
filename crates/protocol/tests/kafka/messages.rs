//! Messages as the crate kafka-protocol writes them, and batches of records by hand.

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader,
    ResponseHeader, TopicName, fetch_request, fetch_response, metadata_response, produce_request,
    produce_response,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

pub(crate) const CLIENT: &str = "e2e";

pub(crate) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// A request with its header and length.
pub(crate) fn request(key: ApiKey, version: i16, correlation: i32, message: &impl Encodable) -> Vec<u8> {
    let mut out = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(text(CLIENT)))
        .encode(&mut out, key.request_header_version(version))
        .unwrap();
    message.encode(&mut out, version).unwrap();
    framed(&out)
}

/// A reply with its header and length.
pub(crate) fn reply(key: ApiKey, version: i16, correlation: i32, message: &impl Encodable) -> Vec<u8> {
    let mut out = BytesMut::new();
    ResponseHeader::default()
        .with_correlation_id(correlation)
        .encode(&mut out, key.response_header_version(version))
        .unwrap();
    message.encode(&mut out, version).unwrap();
    framed(&out)
}

/// A frame by hand, of classic layout: header and the bytes of the message.
pub(crate) fn classic(key: i16, version: i16, correlation: i32, message: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(correlation);
    out.put_i16(CLIENT.len() as i16);
    out.put_slice(CLIENT.as_bytes());
    out.put_slice(message);
    framed(&out)
}

/// A reply by hand.
pub(crate) fn classic_reply(correlation: i32, message: &[u8]) -> Vec<u8> {
    framed(&[&correlation.to_be_bytes(), message].concat())
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest & 0x7f | 0x80) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A record: key, value, names of headers.
pub(crate) fn record(key: Option<&str>, value: Option<&str>, headers: &[&str]) -> Vec<u8> {
    let mut fields = vec![0];
    varint(&mut fields, 0);
    varint(&mut fields, 0);
    for part in [key, value] {
        varint(&mut fields, part.map_or(-1, |part| part.len() as i64));
        fields.extend_from_slice(part.unwrap_or_default().as_bytes());
    }
    varint(&mut fields, headers.len() as i64);
    for name in headers {
        varint(&mut fields, name.len() as i64);
        fields.extend_from_slice(name.as_bytes());
        varint(&mut fields, 6);
        fields.extend_from_slice(b"hidden");
    }
    let mut out = Vec::new();
    varint(&mut out, fields.len() as i64);
    out.extend_from_slice(&fields);
    out
}

/// A batch of format 2 with these attributes and this payload.
pub(crate) fn batch(attributes: i16, count: i32, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i64(7);
    out.put_i32(49 + payload.len() as i32);
    out.put_i32(0);
    out.put_i8(2);
    out.put_u32(0xdead_beef);
    out.put_i16(attributes);
    out.put_i32(count - 1);
    out.put_i64(1_700_000_000_000);
    out.put_i64(1_700_000_000_000);
    out.put_i64(-1);
    out.put_i16(-1);
    out.put_i32(-1);
    out.put_i32(count);
    out.put_slice(payload);
    out.to_vec()
}

/// A batch of uncompressed records without keys.
pub(crate) fn values(values: &[&str]) -> Vec<u8> {
    let records: Vec<u8> = values
        .iter()
        .flat_map(|value| record(None, Some(value), &[]))
        .collect();
    batch(0, values.len() as i32, &records)
}

/// A producer's request with one topic and a batch for each partition.
pub(crate) fn produce(version: i16, correlation: i32, acks: i16, name: &str, batches: &[Vec<u8>]) -> Vec<u8> {
    let partitions = batches.iter().enumerate().map(|(index, batch)| {
        produce_request::PartitionProduceData::default()
            .with_index(index as i32)
            .with_records(Some(Bytes::copy_from_slice(batch)))
    });
    let data = produce_request::TopicProduceData::default()
        .with_name(topic(name))
        .with_partition_data(partitions.collect());
    let message = ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(1000)
        .with_topic_data(vec![data]);
    request(ApiKey::Produce, version, correlation, &message)
}

/// Its reply: an error code and an offset for each partition.
pub(crate) fn produced(version: i16, correlation: i32, name: &str, partitions: &[(i16, i64)]) -> Vec<u8> {
    let partitions = partitions.iter().enumerate().map(|(index, (error, offset))| {
        produce_response::PartitionProduceResponse::default()
            .with_index(index as i32)
            .with_error_code(*error)
            .with_base_offset(*offset)
    });
    let told = produce_response::TopicProduceResponse::default()
        .with_name(topic(name))
        .with_partition_responses(partitions.collect());
    let message = ProduceResponse::default().with_responses(vec![told]);
    reply(ApiKey::Produce, version, correlation, &message)
}

/// A consumer's request: of a session, for partitions of topics by name.
pub(crate) fn fetch(
    version: i16,
    correlation: i32,
    session: (i32, i32),
    topics: &[(&str, i32)],
    forgotten: &[(&str, i32)],
) -> Vec<u8> {
    let topics = topics.iter().map(|(name, partition)| {
        fetch_request::FetchTopic::default()
            .with_topic(topic(name))
            .with_partitions(vec![
                fetch_request::FetchPartition::default().with_partition(*partition),
            ])
    });
    let forgotten = forgotten.iter().map(|(name, partition)| {
        fetch_request::ForgottenTopic::default()
            .with_topic(topic(name))
            .with_partitions(vec![*partition])
    });
    let message = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_session_id(session.0)
        .with_session_epoch(session.1)
        .with_topics(topics.collect())
        .with_forgotten_topics_data(forgotten.collect());
    request(ApiKey::Fetch, version, correlation, &message)
}

/// Its reply.
pub(crate) fn fetched(
    version: i16,
    correlation: i32,
    session: i32,
    topics: &[(&str, i32, i16, Vec<u8>)],
) -> Vec<u8> {
    let responses = topics.iter().map(|(name, partition, error, batches)| {
        let data = fetch_response::PartitionData::default()
            .with_partition_index(*partition)
            .with_error_code(*error)
            .with_records(Some(Bytes::copy_from_slice(batches)));
        fetch_response::FetchableTopicResponse::default()
            .with_topic(topic(name))
            .with_partitions(vec![data])
    });
    let message = FetchResponse::default()
        .with_session_id(session)
        .with_responses(responses.collect());
    reply(ApiKey::Fetch, version, correlation, &message)
}

/// A request for the first partition of a topic by its id.
pub(crate) fn fetch_by_id(correlation: i32, id: u128) -> Vec<u8> {
    session_by_id(correlation, (0, -1), &[id])
}

/// The same of a session, and for more topics.
pub(crate) fn session_by_id(correlation: i32, (session, epoch): (i32, i32), ids: &[u128]) -> Vec<u8> {
    let wanted = ids.iter().map(|id| {
        fetch_request::FetchTopic::default()
            .with_topic_id(format!("{id:032x}").parse().unwrap())
            .with_partitions(vec![fetch_request::FetchPartition::default()])
    });
    let message = FetchRequest::default()
        .with_session_id(session)
        .with_session_epoch(epoch)
        .with_topics(wanted.collect());
    request(ApiKey::Fetch, 13, correlation, &message)
}

/// Its reply.
pub(crate) fn fetched_by_id(correlation: i32, id: u128, error: i16, batches: &[u8]) -> Vec<u8> {
    let data = fetch_response::PartitionData::default()
        .with_error_code(error)
        .with_records(Some(Bytes::copy_from_slice(batches)));
    let told = fetch_response::FetchableTopicResponse::default()
        .with_topic_id(format!("{id:032x}").parse().unwrap())
        .with_partitions(vec![data]);
    let message = FetchResponse::default().with_responses(vec![told]);
    reply(ApiKey::Fetch, 13, correlation, &message)
}

/// A request for metadata of all topics.
pub(crate) fn metadata(version: i16, correlation: i32) -> Vec<u8> {
    let message = kafka_protocol::messages::MetadataRequest::default().with_topics(None);
    request(ApiKey::Metadata, version, correlation, &message)
}

/// A reply of metadata: names, ids and error codes of topics.
pub(crate) fn described(version: i16, correlation: i32, topics: &[(&str, u128, i16)]) -> Vec<u8> {
    let topics = topics.iter().map(|(name, id, error)| {
        metadata_response::MetadataResponseTopic::default()
            .with_name(Some(topic(name)))
            .with_topic_id(format!("{id:032x}").parse().unwrap())
            .with_error_code(*error)
    });
    let message = MetadataResponse::default().with_topics(topics.collect());
    reply(ApiKey::Metadata, version, correlation, &message)
}
