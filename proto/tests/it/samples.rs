//! One message of every stored kind, every field of it set somewhere.

use bytes::Bytes;
use prost::Message;
use spine_proto::storage::v1::{self as pb, entry, guard, log_entry, mutation};

/// A message as it was written when its file was frozen.
pub(crate) struct Sample {
    /// Name of the message.
    pub(crate) message: &'static str,
    /// What sets it apart from other samples of the message.
    pub(crate) variant: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// Decodes; says whether the result is the sample; encodes again.
    pub(crate) again: Again,
}

type Again = Box<dyn Fn(&[u8]) -> (bool, Vec<u8>)>;

fn sample<M: Message + Default + PartialEq + 'static>(
    message: &'static str,
    variant: &'static str,
    value: M,
) -> Sample {
    Sample {
        message,
        variant,
        bytes: value.encode_to_vec(),
        again: Box::new(move |bytes| {
            let decoded = M::decode(bytes).expect("a frozen sample decodes");
            (decoded == value, decoded.encode_to_vec())
        }),
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// All of them.
pub(crate) fn all() -> Vec<Sample> {
    let mut all = entries();
    all.extend(guards_and_mutations());
    all.extend(rows());
    all.extend(log());
    all.extend(state_and_snapshots());
    all.extend(cluster());
    all
}

fn entry(kind: entry::Kind) -> pb::Entry {
    pb::Entry { kind: Some(kind) }
}

fn entries() -> Vec<Sample> {
    vec![
        sample("Entry", "txn", entry(entry::Kind::Txn(txn()))),
        sample(
            "Entry",
            "level",
            entry(entry::Kind::Level(pb::Level { level: 7 })),
        ),
        sample("Entry", "verify", entry(entry::Kind::Verify(verify()))),
        sample("Entry", "noop", entry(entry::Kind::Noop(pb::Noop {}))),
        sample("Level", "", pb::Level { level: 1 }),
        sample("Verify", "", verify()),
        sample("Noop", "", pb::Noop {}),
        sample("Txn", "", txn()),
        sample("SubTxn", "", sub()),
        sample("RequestKey", "", request()),
        sample("RequestKey", "session", session_call()),
        sample("SessionSequence", "", sequence()),
        sample("SessionRow", "", session_row()),
        sample("SessionDone", "", session_done()),
    ]
}

fn verify() -> pb::Verify {
    pb::Verify {
        index: 300,
        digest: bytes("0123456789abcdef"),
    }
}

fn txn() -> pb::Txn {
    let bare = pb::SubTxn {
        mutations: vec![put()],
        ..pb::SubTxn::default()
    };
    pb::Txn {
        subs: vec![sub(), bare],
        proposed_at_ms: 1_790_000_000_123,
    }
}

fn request() -> pb::RequestKey {
    pb::RequestKey {
        id: bytes("request-id-hash!"),
        body_digest: bytes("body-digest-hash"),
        slot: 16_383,
        session: None,
    }
}

fn session_call() -> pb::RequestKey {
    pb::RequestKey {
        session: Some(sequence()),
        ..request()
    }
}

fn sequence() -> pb::SessionSequence {
    pb::SessionSequence {
        opened_ms: 1_790_000_000_123,
        sequence: 300,
        floor: 298,
    }
}

fn session_row() -> pb::SessionRow {
    pb::SessionRow {
        floor: 298,
        done: vec![session_done()],
    }
}

fn session_done() -> pb::SessionDone {
    pb::SessionDone {
        sequence: 299,
        body_digest: bytes("body-digest-hash"),
        revision: 7_000,
        outcome: bytes("outcome"),
        slot: 16_383,
    }
}

fn sub() -> pb::SubTxn {
    pb::SubTxn {
        request: Some(request()),
        guards: vec![revision_is(), absent(), range_unchanged()],
        mutations: vec![put(), delete(), delete_range(), append()],
        outcome: bytes("outcome"),
    }
}

fn guarded(kind: guard::Kind) -> pb::Guard {
    pb::Guard { kind: Some(kind) }
}

fn revision_is() -> pb::Guard {
    guarded(guard::Kind::RevisionIs(pb::RevisionIs {
        key: bytes("key"),
        revision: u64::MAX,
    }))
}

fn absent() -> pb::Guard {
    guarded(guard::Kind::Absent(pb::Absent { key: bytes("key") }))
}

fn unchanged() -> pb::RangeUnchanged {
    pb::RangeUnchanged {
        prefix: bytes("prefix"),
        count: 1_024,
        max_revision: 5,
    }
}

fn range_unchanged() -> pb::Guard {
    guarded(guard::Kind::RangeUnchanged(unchanged()))
}

fn mutated(kind: mutation::Kind) -> pb::Mutation {
    pb::Mutation { kind: Some(kind) }
}

fn put() -> pb::Mutation {
    mutated(mutation::Kind::Put(pb::Put {
        key: bytes("key"),
        value: bytes("value"),
        schema: 3,
    }))
}

fn delete() -> pb::Mutation {
    mutated(mutation::Kind::Delete(pb::Delete { key: bytes("key") }))
}

fn delete_range() -> pb::Mutation {
    mutated(mutation::Kind::DeleteRange(pb::DeleteRange {
        prefix: bytes("prefix"),
        limit: 9,
    }))
}

fn appended() -> pb::Append {
    pb::Append {
        stream: bytes("stream"),
        value: bytes("value"),
        schema: 4,
        chained: true,
    }
}

fn append() -> pb::Mutation {
    mutated(mutation::Kind::Append(appended()))
}

fn guards_and_mutations() -> Vec<Sample> {
    vec![
        sample("Guard", "revision_is", revision_is()),
        sample("Guard", "absent", absent()),
        sample("Guard", "range_unchanged", range_unchanged()),
        sample(
            "RevisionIs",
            "",
            pb::RevisionIs {
                key: bytes("key"),
                revision: 1,
            },
        ),
        sample("Absent", "", pb::Absent { key: bytes("key") }),
        sample("RangeUnchanged", "", unchanged()),
        sample("Mutation", "put", put()),
        sample("Mutation", "delete", delete()),
        sample("Mutation", "delete_range", delete_range()),
        sample("Mutation", "append", append()),
        sample(
            "Put",
            "",
            pb::Put {
                key: bytes("key"),
                value: bytes("value"),
                schema: 3,
            },
        ),
        sample("Delete", "", pb::Delete { key: bytes("key") }),
        sample(
            "DeleteRange",
            "",
            pb::DeleteRange {
                prefix: bytes("prefix"),
                limit: 9,
            },
        ),
        sample("Append", "", appended()),
    ]
}

fn rows() -> Vec<Sample> {
    let stored = pb::StoredRecord {
        schema: 2,
        revision: 77,
        value: bytes("frame"),
    };
    let row = pb::RequestRow {
        body_digest: bytes("body-digest-hash"),
        revision: 77,
        outcome: bytes("outcome"),
        at_ms: 1_790_000_000_123,
        slot: 16_383,
    };
    let patient = pb::PatientRow {
        version_id: 3,
        fhir_json: bytes("{\"resourceType\":\"Patient\"}"),
        ..pb::PatientRow::default()
    };
    let merged = pb::PatientRow {
        allocated: Some(allocated()),
        superseded_by: "9990000026".to_owned(),
        replaces: vec!["9990000034".to_owned()],
        ..patient.clone()
    };
    let claim = pb::ClaimRow {
        holder: bytes("holder-16-bytes!"),
        nhs_number: "9990000018".to_owned(),
    };
    let related = pb::RelatedRow {
        version_id: 2,
        fhir_json: bytes("{\"resourceType\":\"RelatedPerson\"}"),
    };
    vec![
        sample("StoredRecord", "", stored),
        sample("RequestRow", "", row),
        sample(
            "SlotRange",
            "",
            pb::SlotRange {
                first: 2_048,
                last: 4_095,
            },
        ),
        sample("PatientRow", "", patient),
        sample("PatientRow", "merged", merged),
        sample("Allocated", "", allocated()),
        sample("ClaimRow", "", claim),
        sample("RelatedRow", "", related),
        sample(
            "OrganisationRow",
            "",
            pb::OrganisationRow {
                name: "Practice".to_owned(),
                roles: vec![1, 2],
                closed: true,
            },
        ),
    ]
}

fn allocated() -> pb::Allocated {
    pb::Allocated {
        holder: bytes("holder-16-bytes!"),
        body: bytes("body-of-16-bytes"),
    }
}

fn log_id() -> pb::LogId {
    pb::LogId {
        term: 4,
        leader: 1 << 48 | 2,
        index: 300,
    }
}

fn member(replica_id: u64) -> pb::Member {
    pb::Member {
        replica_id,
        node_id: replica_id + 100,
    }
}

fn membership() -> pb::Membership {
    pb::Membership {
        configs: vec![
            pb::VoterSet {
                replica_ids: vec![1, 2, 3],
            },
            pb::VoterSet {
                replica_ids: vec![2, 3, 1 << 48 | 4],
            },
        ],
        members: vec![member(1), member(2), member(3)],
    }
}

fn log_entry(payload: log_entry::Payload) -> pb::LogEntry {
    pb::LogEntry {
        log_id: Some(log_id()),
        payload: Some(payload),
    }
}

fn log() -> Vec<Sample> {
    vec![
        sample("LogId", "", log_id()),
        sample(
            "Vote",
            "",
            pb::Vote {
                term: 4,
                leader: 1 << 48 | 2,
                committed: true,
            },
        ),
        sample("Member", "", member(1)),
        sample(
            "VoterSet",
            "",
            pb::VoterSet {
                replica_ids: vec![1, 2, 300],
            },
        ),
        sample("Membership", "", membership()),
        sample("Blank", "", pb::Blank {}),
        sample(
            "LogEntry",
            "blank",
            log_entry(log_entry::Payload::Blank(pb::Blank {})),
        ),
        sample(
            "LogEntry",
            "membership",
            log_entry(log_entry::Payload::Membership(membership())),
        ),
        sample(
            "LogEntry",
            "entry",
            log_entry(log_entry::Payload::Entry(bytes("encoded entry"))),
        ),
    ]
}

fn bucket() -> pb::RequestBucket {
    pb::RequestBucket {
        first_index: 200,
        first_ms: 1_790_000_000_000,
        rows: 12,
        opened_ms: 0,
    }
}

fn bucket_with_sessions() -> pb::RequestBucket {
    pb::RequestBucket {
        opened_ms: 1_790_000_000_100,
        ..bucket()
    }
}

fn window_with_sessions() -> pb::RequestWindow {
    pb::RequestWindow {
        buckets: vec![bucket_with_sessions()],
        session_floor_ms: 1_789_999_000_000,
        ..window()
    }
}

fn window() -> pb::RequestWindow {
    pb::RequestWindow {
        floor: 200,
        buckets: vec![
            bucket(),
            pb::RequestBucket {
                first_index: 250,
                ..bucket()
            },
        ],
        stored_rows: 30,
        cursor: bytes("cursor"),
        work: 5,
        session_floor_ms: 0,
        by_bucket_after: 0,
        by_bucket_cursor: bytes(""),
    }
}

fn window_by_bucket() -> pb::RequestWindow {
    pb::RequestWindow {
        by_bucket_after: 190,
        by_bucket_cursor: bytes("row"),
        ..window()
    }
}

fn state() -> pb::ReplicaState {
    pb::ReplicaState {
        applied: Some(log_id()),
        membership_log_id: Some(pb::LogId { index: 1, ..log_id() }),
        membership: Some(membership()),
        digest: bytes("0123456789abcdef"),
        record_count: 10_000,
        level: 1,
        log_time_ms: 1_790_000_000_123,
        requests: Some(window()),
    }
}

fn state_and_snapshots() -> Vec<Sample> {
    let record = pb::SnapshotRecord {
        key: bytes("key"),
        stored: bytes("stored"),
    };
    let chunk = pb::SnapshotChunk {
        sequence: 9,
        records: vec![record.clone(), record.clone()],
    };
    vec![
        sample("ReplicaState", "", state()),
        sample("RequestWindow", "", window()),
        sample("RequestWindow", "sessions", window_with_sessions()),
        sample("RequestWindow", "by-bucket", window_by_bucket()),
        sample("RequestBucket", "", bucket()),
        sample("RequestBucket", "sessions", bucket_with_sessions()),
        sample(
            "SnapshotHeader",
            "",
            pb::SnapshotHeader {
                format: 1,
                shard: 2,
                state: Some(state()),
            },
        ),
        sample("SnapshotRecord", "", record),
        sample("SnapshotChunk", "", chunk),
        sample(
            "SnapshotEnd",
            "",
            pb::SnapshotEnd {
                record_count: 10_000,
                digest: bytes("0123456789abcdef"),
            },
        ),
    ]
}

fn cluster() -> Vec<Sample> {
    let identity = pb::NodeIdentity {
        format: 1,
        cluster_id: bytes("cluster id 16 B."),
        node_id: 2,
        store_uuid: bytes("store uuid 16 B."),
        engine: "sled".to_string(),
    };
    let node = pb::PlanNode {
        node_id: 2,
        peer_address: "127.0.0.1:1".to_string(),
        grpc_address: "127.0.0.1:2".to_string(),
        admin_address: "127.0.0.1:3".to_string(),
        ..pb::PlanNode::default()
    };
    let shard = pb::PlanShard {
        shard: 8,
        slot_first: 14_336,
        slot_last: 16_383,
        members: vec![member(1)],
        change: None,
    };
    let plan = pb::ClusterPlan {
        format: 1,
        cluster_id: bytes("cluster id 16 B."),
        incarnation: 1,
        nodes: vec![node.clone()],
        shards: vec![pb::PlanShard::default(), shard.clone()],
        subject_key: bytes("subject key 16 B"),
        ..pb::ClusterPlan::default()
    };
    let change = pb::ReplicaChange {
        joining: Some(member(7)),
        leaving: 1,
        created: true,
        lost: false,
    };
    let joined = pb::PlanNode {
        zone: "hall 2".to_string(),
        state: pb::NodeState::Leaving.into(),
        store_uuid: bytes("store uuid 16 B."),
        ..node.clone()
    };
    let moving = pb::PlanShard {
        change: Some(change),
        ..shard.clone()
    };
    let changed = pb::ClusterPlan {
        nodes: vec![joined.clone()],
        shards: vec![moving.clone()],
        epoch: 41,
        replicas: 3,
        last_replica_id: 0x1_0000_0000_0007,
        balancing: true,
        ..plan.clone()
    };
    let token = pb::JoinTokenRow {
        expires_at_ms: 1_774_000_000_000,
        node_id: 4,
        store_uuid: bytes("store uuid 16 B."),
    };
    vec![
        sample("PlanNode", "joined", joined),
        sample("PlanShard", "moving", moving),
        sample("ClusterPlan", "changed", changed),
        sample("ClusterPlan", "level", at_level(&plan)),
        sample("ReplicaChange", "", change),
        sample(
            "ReplicaChange",
            "lost",
            pb::ReplicaChange { lost: true, ..change },
        ),
        sample("JoinTokenRow", "", token),
        sample("NodeIdentity", "", identity),
        sample("StoreMark", "", store_mark(2)),
        sample(
            "PeerMark",
            "",
            pb::PeerMark {
                node_id: 3,
                mark: Some(store_mark(1)),
            },
        ),
        sample("StoreHistory", "", store_history()),
        sample("StoreHistory", "outlived", outlived()),
        sample("PlanNode", "", node),
        sample("PlanShard", "", shard),
        sample("ClusterPlan", "", plan),
    ]
}

fn store_mark(log_number: u32) -> pb::StoreMark {
    pb::StoreMark {
        log_number,
        starts: 7,
        boot: 0x0123_4567_89ab_cdef,
        segment: 300,
        offset: 4_096,
    }
}

fn store_history() -> pb::StoreHistory {
    pb::StoreHistory {
        format: 1,
        own: Some(store_mark(2)),
        peers: vec![pb::PeerMark {
            node_id: 3,
            mark: Some(store_mark(1)),
        }],
        condemned: vec![(1 << 48) + 5, (1 << 48) + 6],
        outlived_by: 0,
    }
}

/// A history of a node that the cluster went on without.
fn outlived() -> pb::StoreHistory {
    pb::StoreHistory {
        outlived_by: 2,
        ..store_history()
    }
}

/// A plan that begins at a level.
fn at_level(plan: &pb::ClusterPlan) -> pb::ClusterPlan {
    pb::ClusterPlan {
        first_level: 2,
        ..plan.clone()
    }
}
