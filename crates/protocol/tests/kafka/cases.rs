//! P-K1 to P-K4, P-K7 and P-K8: requests and their replies.

use std::sync::Arc;

use kafka_protocol::messages::*;
use qtap_protocol::kafka::Topics;
use qtap_protocol::{Outcome, ParseError, REDACTED};

use crate::messages::*;
use crate::support::Talk;

#[test]
fn p_k1_api_versions_names_the_client_library() {
    let mut talk = Talk::new();
    let asked = ApiVersionsRequest::default()
        .with_client_software_name(text("librdkafka"))
        .with_client_software_version(text("2.3"));
    talk.client(request(ApiKey::ApiVersions, 3, 1, &asked))
        .server(reply(ApiKey::ApiVersions, 3, 1, &ApiVersionsResponse::default()));
    let done = talk.last();
    assert_eq!(done.statement(), "ApiVersions software=librdkafka/2.3");
    assert_eq!((done.outcome, done.result().kind), (Outcome::Complete, "OK"));
    assert_eq!(done.command.session.client.as_deref(), Some("e2e"));
}

#[test]
fn p_k1_a_broker_that_does_not_know_the_version_answers_in_version_0() {
    let mut talk = Talk::new();
    let answer = ApiVersionsResponse::default()
        .with_error_code(35)
        .with_api_keys(vec![
            api_versions_response::ApiVersion::default().with_max_version(2),
        ]);
    talk.client(request(ApiKey::ApiVersions, 4, 1, &ApiVersionsRequest::default()))
        .server(reply(ApiKey::ApiVersions, 0, 1, &answer))
        .client(request(ApiKey::ApiVersions, 0, 2, &ApiVersionsRequest::default()))
        .server(reply(ApiKey::ApiVersions, 0, 2, &ApiVersionsResponse::default()));
    let done = talk.done();
    assert_eq!(
        (done[0].code(), done[0].outcome),
        ("UNSUPPORTED_VERSION", Outcome::Complete)
    );
    assert_eq!(done[1].result().kind, "OK");
    // As the broker in librdkafka 2.16 says it.
    let other = b"\0\x23\x01\0\x12\0\0\0\x02\0\0\0\0";
    talk.client(request(ApiKey::ApiVersions, 3, 3, &ApiVersionsRequest::default()))
        .server(classic_reply(3, other));
    assert_eq!(talk.last().code(), "UNSUPPORTED_VERSION");
}

#[test]
fn p_k1_a_newer_version_is_read_as_far_as_its_header() {
    let mut talk = Talk::new();
    let mut newer = metadata(13, 1);
    newer[7] = 25;
    talk.client(newer)
        .server(classic_reply(1, b"\0whatever this is"))
        .client(metadata(9, 2))
        .server(described(9, 2, &[("orders", 0, 0)]));
    let done = talk.done();
    assert_eq!(
        (done[0].statement().as_str(), done[0].result().kind),
        ("Metadata", "unread")
    );
    assert_eq!(done[0].command.session.client.as_deref(), Some("e2e"));
    assert_eq!((done[1].result().kind, done[1].result().count), ("OK", Some(1)));
}

#[test]
fn p_k1_an_api_that_is_not_known_has_its_number() {
    let mut talk = Talk::new();
    talk.client(classic(200, 0, 1, b"?"))
        .server(classic_reply(1, b""));
    assert_eq!(
        (talk.last().statement().as_str(), talk.last().result().kind),
        ("API 200", "unread")
    );
}

#[test]
fn p_k2_a_producer_without_acknowledgements_waits_for_nothing() {
    let mut talk = Talk::new();
    talk.client(produce(9, 1, 0, "orders", &[values(&["a", "b"])]));
    let done = talk.last();
    assert_eq!(
        (done.outcome, done.result().kind),
        (Outcome::Complete, "no_reply")
    );
    assert_eq!(done.result().affected, Some(2));
    talk.client(produce(9, 2, 1, "orders", &[values(&["c"])]))
        .server(produced(9, 2, "orders", &[(0, 2)]));
    assert_eq!(talk.last().result().kind, "OK");
    assert_eq!(talk.close().len(), 2);
}

#[test]
fn p_k2_requests_beyond_the_limit_end_as_incomplete() {
    let mut talk = Talk::new();
    for number in 0..4100 {
        talk.client(metadata(1, number));
    }
    let done = talk.done();
    assert_eq!(done.len(), 4);
    assert!(done.iter().all(|done| done.outcome == Outcome::Incomplete));
    talk.expire();
    assert_eq!(talk.done().len(), 4100);
    assert_eq!(talk.last().outcome, Outcome::Timeout);
}

#[test]
fn p_k3_every_partition_counts_and_the_worst_error_decides() {
    let mut talk = Talk::new();
    let batches = [values(&["a"]), values(&["b", "c"]), values(&["d"])];
    talk.client(produce(7, 1, -1, "orders", &batches))
        .server(produced(7, 1, "orders", &[(0, 41), (6, -1), (10, -1)]));
    let done = talk.last();
    assert_eq!(done.statement(), "Produce orders");
    assert_eq!(done.code(), "MESSAGE_TOO_LARGE");
    let error = done.result().error.as_ref().unwrap();
    assert_eq!(error.message, "orders/2: MESSAGE_TOO_LARGE, and 1 more");
    assert_eq!(done.result().affected, Some(1));
    assert_eq!(
        done.result().tags[..4],
        [
            "4 messages",
            "orders/0 1 message 69 bytes uncompressed offset=41",
            "orders/1 2 messages 77 bytes uncompressed NOT_LEADER_OR_FOLLOWER (retriable)",
            "orders/2 1 message 69 bytes uncompressed MESSAGE_TOO_LARGE",
        ]
    );
}

#[test]
fn p_k3_partitions_are_capped_and_errors_behind_the_cap_count() {
    let mut talk = Talk::new();
    let batches: Vec<_> = (0..100).map(|_| values(&["x"])).collect();
    let mut told = vec![(0, 1); 100];
    told[99] = (29, -1);
    talk.client(produce(9, 1, 1, "orders", &batches))
        .server(produced(9, 1, "orders", &told));
    let done = talk.last();
    assert_eq!(done.code(), "TOPIC_AUTHORIZATION_FAILED");
    assert!(done.result().truncated);
    assert_eq!(
        done.result()
            .tags
            .iter()
            .filter(|tag| tag.starts_with("orders/"))
            .count(),
        64
    );
}

#[test]
fn p_k3_all_topics_are_named() {
    let mut talk = Talk::new();
    talk.client(fetch(11, 1, (0, 0), &[("a", 0), ("b", 0), ("a", 1)], &[]));
    let names = ["a", "b"].map(|name| {
        create_topics_request::CreatableTopic::default()
            .with_name(topic(name))
            .with_configs(vec![
                create_topics_request::CreatableTopicConfig::default()
                    .with_name(text("x"))
                    .with_value(Some(text("hidden"))),
            ])
    });
    let made = CreateTopicsRequest::default().with_topics(names.to_vec());
    let told = create_topics_response::CreatableTopicResult::default()
        .with_name(topic("b"))
        .with_error_code(36)
        .with_error_message(Some(text("Topic 'b' already exists.")));
    talk.client(request(ApiKey::CreateTopics, 5, 2, &made))
        .server(reply(
            ApiKey::CreateTopics,
            5,
            2,
            &CreateTopicsResponse::default().with_topics(vec![told]),
        ));
    let done = talk.last();
    assert_eq!(done.statement(), "CreateTopics a,b");
    assert_eq!(
        done.result().error.as_ref().unwrap().message,
        "b: TOPIC_ALREADY_EXISTS: Topic 'b' already exists."
    );
    assert_eq!(talk.close()[1].statement(), "Fetch a,b");
}

#[test]
fn p_k4_ids_of_topics_become_names_on_any_connection() {
    let topics = Arc::new(Topics::default());
    let id = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128;
    let mut early = Talk::with(false, Arc::clone(&topics));
    early.client(fetch_by_id(1, id));
    assert_eq!(early.close()[0].statement(), "Fetch ASNFZ4mrze8BI0VniavN7w");
    Talk::with(false, Arc::clone(&topics))
        .client(metadata(12, 1))
        .server(described(12, 1, &[("orders", id, 0)]));
    let mut talk = Talk::with(false, topics);
    talk.client(fetch_by_id(1, id))
        .server(fetched_by_id(1, id, 0, &values(&["hello"])));
    let done = talk.last();
    assert_eq!(done.statement(), "Fetch orders");
    assert_eq!(
        done.result().tags[1..],
        ["orders/0 1 message 73 bytes uncompressed", "[orders/0] hello"]
    );
}

#[test]
fn p_k4_a_session_of_fetches_keeps_its_topics() {
    let mut talk = Talk::new();
    talk.client(fetch(11, 1, (0, 0), &[("a", 0), ("b", 0), ("b", 1)], &[]))
        .server(fetched(11, 1, 77, &[("a", 0, 0, Vec::new())]))
        .client(fetch(11, 2, (77, 1), &[], &[]))
        .server(fetched(11, 2, 77, &[("b", 1, 0, values(&["x"]))]))
        .client(fetch(11, 3, (77, 2), &[("c", 0)], &[("a", 0), ("b", 0)]))
        .server(fetched(11, 3, 77, &[]))
        .client(fetch(11, 4, (77, 3), &[], &[]))
        .server(fetched(11, 4, 0, &[]));
    let statements: Vec<_> = talk.done().iter().map(|done| done.statement()).collect();
    assert_eq!(statements, ["Fetch a,b", "Fetch a,b", "Fetch b,c", "Fetch b,c"]);
    assert_eq!(talk.done()[1].result().count, Some(1));
}

#[test]
fn p_k7_a_fetch_tells_how_long_it_waited_for_data() {
    let mut talk = Talk::new();
    talk.client(fetch(11, 1, (0, -1), &[("a", 0)], &[]))
        .wait_ms(400)
        .server(fetched(11, 1, 0, &[]))
        .client(fetch(11, 2, (0, -1), &[("a", 0)], &[]))
        .wait_ms(700)
        .server(fetched(11, 2, 0, &[]))
        .client(metadata(1, 3))
        .wait_ms(300)
        .server(described(1, 3, &[]));
    let waited: Vec<_> = talk.done().iter().map(|done| done.result().waited_ns).collect();
    assert_eq!(waited[1..], [Some(500_000_000), None]);
    assert_eq!(waited[0].unwrap() / 1_000_000, 400);
}

#[test]
fn p_k8_throttling_and_the_coordinators_node_are_told() {
    let mut talk = Talk::new();
    let found = FindCoordinatorResponse::default()
        .with_throttle_time_ms(250)
        .with_node_id(BrokerId(3))
        .with_host(text("broker"));
    talk.client(request(
        ApiKey::FindCoordinator,
        3,
        1,
        &FindCoordinatorRequest::default().with_key(text("readers")),
    ))
    .server(reply(ApiKey::FindCoordinator, 3, 1, &found));
    let done = talk.last();
    assert_eq!(done.statement(), "FindCoordinator group=readers");
    assert_eq!(
        (done.result().throttle_ms, done.result().tags.as_slice()),
        (Some(250), ["node=3".to_owned()].as_slice())
    );
    let leader = produce_response::LeaderIdAndEpoch::default()
        .with_leader_id(BrokerId(5))
        .with_leader_epoch(2);
    let partition = produce_response::PartitionProduceResponse::default()
        .with_error_code(6)
        .with_current_leader(leader);
    let told = produce_response::TopicProduceResponse::default()
        .with_name(topic("orders"))
        .with_partition_responses(vec![partition]);
    talk.client(produce(10, 2, 1, "orders", &[values(&["x"])]))
        .server(reply(
            ApiKey::Produce,
            10,
            2,
            &ProduceResponse::default().with_responses(vec![told]),
        ));
    assert!(talk.last().result().tags[1].ends_with("NOT_LEADER_OR_FOLLOWER (retriable) node=5"));
}

#[test]
fn groups_are_named_and_their_errors_told() {
    let mut talk = Talk::new();
    let group = || GroupId(text("readers"));
    talk.client(request(
        ApiKey::JoinGroup,
        5,
        1,
        &JoinGroupRequest::default().with_group_id(group()),
    ))
    .server(reply(
        ApiKey::JoinGroup,
        5,
        1,
        &JoinGroupResponse::default().with_error_code(79),
    ))
    .client(request(
        ApiKey::SyncGroup,
        5,
        2,
        &SyncGroupRequest::default().with_group_id(group()),
    ))
    .server(reply(ApiKey::SyncGroup, 5, 2, &SyncGroupResponse::default()))
    .client(request(
        ApiKey::Heartbeat,
        4,
        3,
        &HeartbeatRequest::default().with_group_id(group()),
    ))
    .server(reply(
        ApiKey::Heartbeat,
        4,
        3,
        &HeartbeatResponse::default().with_error_code(27),
    ))
    .client(request(
        ApiKey::LeaveGroup,
        2,
        4,
        &LeaveGroupRequest::default().with_group_id(group()),
    ))
    .server(reply(ApiKey::LeaveGroup, 2, 4, &LeaveGroupResponse::default()));
    let seen: Vec<_> = talk
        .done()
        .iter()
        .map(|done| (done.statement(), done.code().to_owned()))
        .collect();
    let seen: Vec<_> = seen
        .iter()
        .map(|(statement, code)| (statement.as_str(), code.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("JoinGroup group=readers", "MEMBER_ID_REQUIRED"),
            ("SyncGroup group=readers", ""),
            ("Heartbeat group=readers", "REBALANCE_IN_PROGRESS"),
            ("LeaveGroup group=readers", ""),
        ]
    );
}

#[test]
fn offsets_are_committed_fetched_and_listed() {
    let mut talk = Talk::new();
    let commit = offset_commit_request::OffsetCommitRequestPartition::default()
        .with_partition_index(1)
        .with_committed_offset(42);
    let commits = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(topic("orders"))
        .with_partitions(vec![commit]);
    let told = offset_commit_response::OffsetCommitResponseTopic::default()
        .with_name(topic("orders"))
        .with_partitions(vec![
            offset_commit_response::OffsetCommitResponsePartition::default().with_partition_index(1),
        ]);
    talk.client(request(
        ApiKey::OffsetCommit,
        8,
        1,
        &OffsetCommitRequest::default()
            .with_group_id(GroupId(text("readers")))
            .with_topics(vec![commits]),
    ))
    .server(reply(
        ApiKey::OffsetCommit,
        8,
        1,
        &OffsetCommitResponse::default().with_topics(vec![told]),
    ));
    let listed = list_offsets_response::ListOffsetsPartitionResponse::default()
        .with_partition_index(1)
        .with_offset(99);
    let listed = list_offsets_response::ListOffsetsTopicResponse::default()
        .with_name(topic("orders"))
        .with_partitions(vec![listed]);
    talk.client(request(ApiKey::ListOffsets, 5, 2, &ListOffsetsRequest::default()))
        .server(reply(
            ApiKey::ListOffsets,
            5,
            2,
            &ListOffsetsResponse::default().with_topics(vec![listed]),
        ));
    let done = talk.done();
    assert_eq!(done[0].statement(), "OffsetCommit orders group=readers");
    assert_eq!(done[0].result().tags, ["orders/1 offset=42"]);
    assert_eq!(done[1].result().tags, ["orders/1 offset=99"]);
}

#[test]
fn pipelined_requests_each_have_their_reply() {
    let mut talk = Talk::new();
    let all: Vec<u8> = (1..=5).flat_map(|number| metadata(1, number)).collect();
    talk.client(all);
    for number in 1..=5 {
        let topics: Vec<_> = (0..number).map(|_| ("t", 0, 0)).collect();
        talk.server(described(1, number, &topics));
    }
    let counts: Vec<_> = talk.done().iter().map(|done| done.result().count).collect();
    assert_eq!(counts, [1, 2, 3, 4, 5].map(Some));
    let bytes = metadata(1, 1).len() as u64;
    assert!(
        talk.done()
            .iter()
            .all(|done| done.traffic.request.total() == bytes)
    );
}

#[test]
fn p_d4_what_is_no_kafka_at_all_is_given_up() {
    let mut talk = Talk::new();
    talk.client(classic(5000, 1, 1, b"nothing of the kind"));
    for _ in 0..250 {
        talk.client([0xff; 1024]);
    }
    assert!(talk.done().is_empty());
    assert!(matches!(talk.result, Err(ParseError::NotThisProtocol { .. })));
}

#[test]
fn a_byte_behind_a_message_is_passed_over() {
    // As the broker in librdkafka 2.16 writes replies of metadata.
    let mut told = described(12, 1, &[("orders", 1, 0)]);
    told.push(0);
    told[3] += 1;
    let mut talk = Talk::new();
    talk.client(metadata(12, 1)).server(told);
    assert_eq!(
        (talk.last().result().kind, talk.last().result().count),
        ("OK", Some(1))
    );
}

#[test]
fn bad_bytes_are_passed_over_to_the_next_request() {
    let mut talk = Talk::new();
    talk.client(metadata(1, 1))
        .server(described(1, 1, &[]))
        .client([0xff; 50])
        .client(metadata(1, 2))
        .server(described(1, 2, &[]));
    assert_eq!((talk.done().len(), talk.resyncs()), (2, 1));
    assert_eq!(talk.last().outcome, Outcome::Complete);
}

#[test]
fn what_is_secret_in_other_requests_is_never_kept() {
    let mut talk = Talk::new();
    let configs = incremental_alter_configs_request::AlterableConfig::default()
        .with_name(text("sasl.jaas.config"))
        .with_value(Some(text("hunter2")));
    let resource = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_name(text("broker-1"))
        .with_configs(vec![configs]);
    let scram = alter_user_scram_credentials_request::ScramCredentialUpsertion::default()
        .with_name(text("alice"))
        .with_salt("hunter2".into())
        .with_salted_password("hunter2".into());
    talk.client(request(
        ApiKey::IncrementalAlterConfigs,
        1,
        1,
        &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]),
    ))
    .client(request(
        ApiKey::AlterUserScramCredentials,
        0,
        2,
        &AlterUserScramCredentialsRequest::default().with_upsertions(vec![scram]),
    ))
    .client(request(
        ApiKey::SaslAuthenticate,
        2,
        3,
        &SaslAuthenticateRequest::default().with_auth_bytes("\0alice\0hunter2".into()),
    ));
    let statements: Vec<_> = talk.close().iter().map(|done| done.statement()).collect();
    assert_eq!(
        statements,
        [
            "IncrementalAlterConfigs broker-1".to_owned(),
            "AlterUserScramCredentials".to_owned(),
            format!("SaslAuthenticate {REDACTED}"),
        ]
    );
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
}
