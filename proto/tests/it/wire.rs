//! What nodes and clients of each release say to each other, as bytes: every later build decodes and encodes it as that
//! release did, and takes what a newer one adds without a panic.
//!
//! `REWRITE_FROZEN=1` writes the samples of the present release that are missing, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use prost::Message;
use prost::encoding::encode_varint;
use spine_proto::{admin, calls, common, internal, pds, records};

use crate::drawn::Types;

/// What is not stored; that has samples of its own, see `frozen.rs`.
const PACKAGES: [&str; 7] = [
    "spine.admin.",
    "spine.calls.",
    "spine.common.",
    "spine.internal.raft.",
    "spine.internal.shard.",
    "spine.pds.",
    "spine.records.",
];
/// A number that no message uses.
const UNKNOWN_FIELD: u64 = 9_999;
/// Where samples come from.
const MAKE: &str = "`REWRITE_FROZEN=1 cargo test -p spine-proto --test it` writes those of this release, \
                    once; those of an earlier one stand in its commit";

/// Decodes, and encodes again.
type Again = fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>;

fn again<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    M::decode(bytes).map(|message| message.encode_to_vec())
}

macro_rules! messages {
    ($($name:literal => $type:ty,)+) => {
        /// Every message of the packages above.
        const MESSAGES: &[(&str, Again)] = &[$(($name, again::<$type>),)+];
    };
}

messages! {
        // admin.v1
        "spine.admin.v1.InitClusterRequest" => admin::v1::InitClusterRequest,
        "spine.admin.v1.InitClusterResponse" => admin::v1::InitClusterResponse,
        "spine.admin.v1.GetClusterStatusRequest" => admin::v1::GetClusterStatusRequest,
        "spine.admin.v1.GetClusterStatusResponse" => admin::v1::GetClusterStatusResponse,
        "spine.admin.v1.NodeSummary" => admin::v1::NodeSummary,
        "spine.admin.v1.ShardSummary" => admin::v1::ShardSummary,
        "spine.admin.v1.ReplicaSummary" => admin::v1::ReplicaSummary,
        "spine.admin.v1.GetNodeStatusRequest" => admin::v1::GetNodeStatusRequest,
        "spine.admin.v1.GetNodeStatusResponse" => admin::v1::GetNodeStatusResponse,
        "spine.admin.v1.NodeEvent" => admin::v1::NodeEvent,
        "spine.admin.v1.PeerSummary" => admin::v1::PeerSummary,
        "spine.admin.v1.ListShardsRequest" => admin::v1::ListShardsRequest,
        "spine.admin.v1.ListShardsResponse" => admin::v1::ListShardsResponse,
        "spine.admin.v1.GetTimeRequest" => admin::v1::GetTimeRequest,
        "spine.admin.v1.GetTimeResponse" => admin::v1::GetTimeResponse,
        "spine.admin.v1.AdvanceTimeRequest" => admin::v1::AdvanceTimeRequest,
        "spine.admin.v1.AdvanceTimeResponse" => admin::v1::AdvanceTimeResponse,
        "spine.admin.v1.TransferLeaderRequest" => admin::v1::TransferLeaderRequest,
        "spine.admin.v1.TransferLeaderResponse" => admin::v1::TransferLeaderResponse,
        "spine.admin.v1.DrainNodeRequest" => admin::v1::DrainNodeRequest,
        "spine.admin.v1.DrainNodeResponse" => admin::v1::DrainNodeResponse,
        "spine.admin.v1.ReadReplicaRequest" => admin::v1::ReadReplicaRequest,
        "spine.admin.v1.ReadReplicaResponse" => admin::v1::ReadReplicaResponse,
        "spine.admin.v1.TamperReplicaRequest" => admin::v1::TamperReplicaRequest,
        "spine.admin.v1.TamperReplicaResponse" => admin::v1::TamperReplicaResponse,
        "spine.admin.v1.CompactReplicaRequest" => admin::v1::CompactReplicaRequest,
        "spine.admin.v1.CompactReplicaResponse" => admin::v1::CompactReplicaResponse,
        "spine.admin.v1.RecoverClusterRequest" => admin::v1::RecoverClusterRequest,
        "spine.admin.v1.RecoverClusterResponse" => admin::v1::RecoverClusterResponse,
        "spine.admin.v1.RecoveredShard" => admin::v1::RecoveredShard,
        "spine.admin.v1.RecoverStepRequest" => admin::v1::RecoverStepRequest,
        "spine.admin.v1.RecoverLook" => admin::v1::RecoverLook,
        "spine.admin.v1.RecoverDecision" => admin::v1::RecoverDecision,
        "spine.admin.v1.RecoverSurvivor" => admin::v1::RecoverSurvivor,
        "spine.admin.v1.ReplicaEnd" => admin::v1::ReplicaEnd,
        "spine.admin.v1.RecoverStepResponse" => admin::v1::RecoverStepResponse,
        "spine.admin.v1.RaiseLevelRequest" => admin::v1::RaiseLevelRequest,
        "spine.admin.v1.RaiseLevelResponse" => admin::v1::RaiseLevelResponse,
        "spine.admin.v1.CreateJoinTokenRequest" => admin::v1::CreateJoinTokenRequest,
        "spine.admin.v1.CreateJoinTokenResponse" => admin::v1::CreateJoinTokenResponse,
        "spine.admin.v1.SetNodeStateRequest" => admin::v1::SetNodeStateRequest,
        "spine.admin.v1.SetNodeStateResponse" => admin::v1::SetNodeStateResponse,
        "spine.admin.v1.BalanceRequest" => admin::v1::BalanceRequest,
        "spine.admin.v1.BalanceResponse" => admin::v1::BalanceResponse,
        "spine.admin.v1.PlanClusterRequest" => admin::v1::PlanClusterRequest,
        "spine.admin.v1.PlanClusterResponse" => admin::v1::PlanClusterResponse,
        "spine.admin.v1.ReplicaMove" => admin::v1::ReplicaMove,
        // records.v1
        "spine.records.v1.RecordKey" => records::v1::RecordKey,
        "spine.records.v1.Record" => records::v1::Record,
        "spine.records.v1.GetRequest" => records::v1::GetRequest,
        "spine.records.v1.GetResponse" => records::v1::GetResponse,
        "spine.records.v1.ListRequest" => records::v1::ListRequest,
        "spine.records.v1.ListResponse" => records::v1::ListResponse,
        "spine.records.v1.Guard" => records::v1::Guard,
        "spine.records.v1.Mutation" => records::v1::Mutation,
        "spine.records.v1.CommitRequest" => records::v1::CommitRequest,
        "spine.records.v1.CommitResponse" => records::v1::CommitResponse,
        "spine.records.v1.OpenSessionRequest" => records::v1::OpenSessionRequest,
        "spine.records.v1.OpenSessionResponse" => records::v1::OpenSessionResponse,
        "spine.records.v1.WatchRequest" => records::v1::WatchRequest,
        "spine.records.v1.WatchResponse" => records::v1::WatchResponse,
        "spine.records.v1.Change" => records::v1::Change,
        "spine.records.v1.Mutation.Put" => records::v1::mutation::Put,
        "spine.records.v1.Mutation.Delete" => records::v1::mutation::Delete,
        // calls.v1
        "spine.calls.v1.CallBatch" => calls::v1::CallBatch,
        "spine.calls.v1.Call" => calls::v1::Call,
        "spine.calls.v1.AnswerBatch" => calls::v1::AnswerBatch,
        "spine.calls.v1.Answer" => calls::v1::Answer,
        "spine.calls.v1.Failure" => calls::v1::Failure,
        // pds.v1
        "spine.pds.v1.Patient" => pds::v1::Patient,
        "spine.pds.v1.RegisterRequest" => pds::v1::RegisterRequest,
        "spine.pds.v1.RegisterResponse" => pds::v1::RegisterResponse,
        "spine.pds.v1.RetrieveRequest" => pds::v1::RetrieveRequest,
        "spine.pds.v1.RetrieveResponse" => pds::v1::RetrieveResponse,
        "spine.pds.v1.UpdateRequest" => pds::v1::UpdateRequest,
        "spine.pds.v1.UpdateResponse" => pds::v1::UpdateResponse,
        "spine.pds.v1.HistoryRequest" => pds::v1::HistoryRequest,
        "spine.pds.v1.HistoryResponse" => pds::v1::HistoryResponse,
        "spine.pds.v1.LoadRequest" => pds::v1::LoadRequest,
        "spine.pds.v1.LoadLine" => pds::v1::LoadLine,
        "spine.pds.v1.LoadResponse" => pds::v1::LoadResponse,
        "spine.pds.v1.LoadError" => pds::v1::LoadError,
        "spine.pds.v1.WatchRequest" => pds::v1::WatchRequest,
        "spine.pds.v1.WatchResponse" => pds::v1::WatchResponse,
        "spine.pds.v1.Organisation" => pds::v1::Organisation,
        "spine.pds.v1.LoadOrganisationsRequest" => pds::v1::LoadOrganisationsRequest,
        "spine.pds.v1.LoadOrganisationsResponse" => pds::v1::LoadOrganisationsResponse,
        "spine.pds.v1.PatchRequest" => pds::v1::PatchRequest,
        "spine.pds.v1.PatchResponse" => pds::v1::PatchResponse,
        "spine.pds.v1.SearchMatch" => pds::v1::SearchMatch,
        "spine.pds.v1.SearchParameter" => pds::v1::SearchParameter,
        "spine.pds.v1.SearchRequest" => pds::v1::SearchRequest,
        "spine.pds.v1.SearchResponse" => pds::v1::SearchResponse,
        "spine.pds.v1.AllocateRequest" => pds::v1::AllocateRequest,
        "spine.pds.v1.AllocateResponse" => pds::v1::AllocateResponse,
        "spine.pds.v1.ClaimRequest" => pds::v1::ClaimRequest,
        "spine.pds.v1.ClaimResponse" => pds::v1::ClaimResponse,
        "spine.pds.v1.ReleaseRequest" => pds::v1::ReleaseRequest,
        "spine.pds.v1.ReleaseResponse" => pds::v1::ReleaseResponse,
        "spine.pds.v1.AlikeRequest" => pds::v1::AlikeRequest,
        "spine.pds.v1.AlikeResponse" => pds::v1::AlikeResponse,
        "spine.pds.v1.CreateRequest" => pds::v1::CreateRequest,
        "spine.pds.v1.CreateResponse" => pds::v1::CreateResponse,
        "spine.pds.v1.VoidRequest" => pds::v1::VoidRequest,
        "spine.pds.v1.VoidResponse" => pds::v1::VoidResponse,
        "spine.pds.v1.MergeRequest" => pds::v1::MergeRequest,
        "spine.pds.v1.MergeResponse" => pds::v1::MergeResponse,
        "spine.pds.v1.AbsorbRequest" => pds::v1::AbsorbRequest,
        "spine.pds.v1.AbsorbResponse" => pds::v1::AbsorbResponse,
        "spine.pds.v1.SupersedeRequest" => pds::v1::SupersedeRequest,
        "spine.pds.v1.SupersedeResponse" => pds::v1::SupersedeResponse,
        "spine.pds.v1.InvalidateRequest" => pds::v1::InvalidateRequest,
        "spine.pds.v1.InvalidateResponse" => pds::v1::InvalidateResponse,
        "spine.pds.v1.SetSensitivityRequest" => pds::v1::SetSensitivityRequest,
        "spine.pds.v1.SetSensitivityResponse" => pds::v1::SetSensitivityResponse,
        "spine.pds.v1.NotifyDeathRequest" => pds::v1::NotifyDeathRequest,
        "spine.pds.v1.NotifyDeathResponse" => pds::v1::NotifyDeathResponse,
        "spine.pds.v1.RelatedPerson" => pds::v1::RelatedPerson,
        "spine.pds.v1.ListRelatedRequest" => pds::v1::ListRelatedRequest,
        "spine.pds.v1.ListRelatedResponse" => pds::v1::ListRelatedResponse,
        "spine.pds.v1.PutRelatedRequest" => pds::v1::PutRelatedRequest,
        "spine.pds.v1.PutRelatedResponse" => pds::v1::PutRelatedResponse,
        // common.v1
        "spine.common.v1.ErrorDetail" => common::v1::ErrorDetail,
        "spine.common.v1.SessionCall" => common::v1::SessionCall,
        "spine.common.v1.Position" => common::v1::Position,
        // internal.raft.v1
        "spine.internal.raft.v1.Hello" => internal::raft::v1::Hello,
        "spine.internal.raft.v1.PeerFrame" => internal::raft::v1::PeerFrame,
        "spine.internal.raft.v1.Refusal" => internal::raft::v1::Refusal,
        "spine.internal.raft.v1.Watch" => internal::raft::v1::Watch,
        "spine.internal.raft.v1.GroupProgress" => internal::raft::v1::GroupProgress,
        "spine.internal.raft.v1.GroupRequest" => internal::raft::v1::GroupRequest,
        "spine.internal.raft.v1.GroupResponse" => internal::raft::v1::GroupResponse,
        "spine.internal.raft.v1.PullSnapshotRequest" => internal::raft::v1::PullSnapshotRequest,
        "spine.internal.raft.v1.PullSnapshotResponse" => internal::raft::v1::PullSnapshotResponse,
        "spine.internal.raft.v1.DigestRequest" => internal::raft::v1::DigestRequest,
        "spine.internal.raft.v1.DigestResponse" => internal::raft::v1::DigestResponse,
        "spine.internal.raft.v1.AppendRequest" => internal::raft::v1::AppendRequest,
        "spine.internal.raft.v1.AppendResponse" => internal::raft::v1::AppendResponse,
        "spine.internal.raft.v1.VoteRequest" => internal::raft::v1::VoteRequest,
        "spine.internal.raft.v1.VoteResponse" => internal::raft::v1::VoteResponse,
        "spine.internal.raft.v1.TransferLeaderRequest" => internal::raft::v1::TransferLeaderRequest,
        "spine.internal.raft.v1.TransferLeaderResponse" => internal::raft::v1::TransferLeaderResponse,
        "spine.internal.raft.v1.SnapshotPart" => internal::raft::v1::SnapshotPart,
        "spine.internal.raft.v1.SnapshotStart" => internal::raft::v1::SnapshotStart,
        "spine.internal.raft.v1.SnapshotResponse" => internal::raft::v1::SnapshotResponse,
        "spine.internal.raft.v1.BootstrapRequest" => internal::raft::v1::BootstrapRequest,
        "spine.internal.raft.v1.BootstrapResponse" => internal::raft::v1::BootstrapResponse,
        "spine.internal.raft.v1.StatusRequest" => internal::raft::v1::StatusRequest,
        "spine.internal.raft.v1.StatusResponse" => internal::raft::v1::StatusResponse,
        "spine.internal.raft.v1.PlanRequest" => internal::raft::v1::PlanRequest,
        "spine.internal.raft.v1.PlanResponse" => internal::raft::v1::PlanResponse,
        "spine.internal.raft.v1.ClusterRequest" => internal::raft::v1::ClusterRequest,
        "spine.internal.raft.v1.Join" => internal::raft::v1::Join,
        "spine.internal.raft.v1.CreateToken" => internal::raft::v1::CreateToken,
        "spine.internal.raft.v1.SetNodeState" => internal::raft::v1::SetNodeState,
        "spine.internal.raft.v1.SetAddresses" => internal::raft::v1::SetAddresses,
        "spine.internal.raft.v1.ReportLost" => internal::raft::v1::ReportLost,
        "spine.internal.raft.v1.Balance" => internal::raft::v1::Balance,
        "spine.internal.raft.v1.ClusterResponse" => internal::raft::v1::ClusterResponse,
        "spine.internal.raft.v1.ClusterDone" => internal::raft::v1::ClusterDone,
        "spine.internal.raft.v1.ClusterRefusal" => internal::raft::v1::ClusterRefusal,
        "spine.internal.raft.v1.MetaElsewhere" => internal::raft::v1::MetaElsewhere,
        "spine.internal.raft.v1.ChangeRequest" => internal::raft::v1::ChangeRequest,
        "spine.internal.raft.v1.ChangeResponse" => internal::raft::v1::ChangeResponse,
        // internal.shard.v1
        "spine.internal.shard.v1.ExecuteRequest" => internal::shard::v1::ExecuteRequest,
        "spine.internal.shard.v1.Principal" => internal::shard::v1::Principal,
        "spine.internal.shard.v1.ExecuteResponse" => internal::shard::v1::ExecuteResponse,
        "spine.internal.shard.v1.Failure" => internal::shard::v1::Failure,
        "spine.internal.shard.v1.BatchOutcome" => internal::shard::v1::BatchOutcome,
        "spine.internal.shard.v1.FeedRequest" => internal::shard::v1::FeedRequest,
        "spine.internal.shard.v1.FeedPage" => internal::shard::v1::FeedPage,
        "spine.internal.shard.v1.FeedVersion" => internal::shard::v1::FeedVersion,
        "spine.internal.shard.v1.ListRequest" => internal::shard::v1::ListRequest,
        "spine.internal.shard.v1.ListPage" => internal::shard::v1::ListPage,
        "spine.internal.shard.v1.ListedPatient" => internal::shard::v1::ListedPatient,
}

fn frozen() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/frozen")
}

/// Every release, the present one last.
fn releases() -> Vec<&'static str> {
    let lines = include_str!("../../testdata/releases.txt").lines();
    lines.filter(|line| !line.starts_with('#')).collect()
}

fn by_name(name: &str) -> Again {
    let found = MESSAGES.iter().find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| panic!("{name} is in no table: it is not checked"))
        .1
}

/// Of this build: name of a file, name of the message, bytes.
fn drawn() -> Vec<(String, String, Vec<u8>)> {
    let types = Types::of_this_release();
    let mut drawn = Vec::new();
    for message in types.messages_of(&PACKAGES) {
        for variant in types.variants(&message) {
            let file = match variant {
                Some(number) => format!("{message}-{number}.bin"),
                None => format!("{message}.bin"),
            };
            drawn.push((file, message.clone(), types.draw(&message, variant)));
        }
    }
    drawn
}

#[test]
fn every_message_is_in_the_table() {
    let known: BTreeSet<&str> = MESSAGES.iter().map(|(name, _)| *name).collect();
    let all = Types::of_this_release().messages_of(&PACKAGES);
    let all: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(known, all);
}

#[test]
fn what_is_drawn_is_what_prost_encodes() {
    for (file, message, bytes) in drawn() {
        assert_eq!(by_name(&message)(&bytes).unwrap(), bytes, "{file}");
    }
}

/// Every release has a folder of its own, and none of it ever changes.
#[test]
fn what_every_release_says_is_understood_and_said_in_the_same_way() {
    let own = frozen().join(env!("CARGO_PKG_VERSION")).join("wire");
    if std::env::var_os("REWRITE_FROZEN").is_some_and(|value| value == "1") {
        fs::create_dir_all(&own).unwrap();
        for (file, _, bytes) in drawn().into_iter().filter(|(file, ..)| !own.join(file).exists()) {
            fs::write(own.join(file), bytes).unwrap();
        }
    }
    let missing: Vec<String> = drawn()
        .into_iter()
        .map(|(file, ..)| file)
        .filter(|file| !own.join(file).exists())
        .collect();
    assert!(
        missing.is_empty(),
        "this release has no samples of {missing:?}: {MAKE}"
    );
    for release in releases() {
        let wire = frozen().join(release).join("wire");
        let samples = fs::read_dir(&wire);
        let samples: Vec<_> = samples
            .unwrap_or_else(|error| panic!("{}: {error}: {MAKE}", wire.display()))
            .collect();
        assert!(!samples.is_empty(), "{} is empty: {MAKE}", wire.display());
        for sample in samples {
            let path = sample.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let message = name.split_once('-').map_or(name, |(message, _)| message);
            let bytes = fs::read(&path).unwrap();
            let said = by_name(message)(&bytes).unwrap();
            assert_eq!(said, bytes, "{}", path.display());
        }
    }
}

/// One that is left out, or goes, would be checked by nobody.
#[test]
fn every_release_is_in_the_list() {
    let listed = releases();
    let present = env!("CARGO_PKG_VERSION");
    assert_eq!(
        listed.last(),
        Some(&present),
        "proto/testdata/releases.txt ends with the release of the workspace"
    );
    for dir in fs::read_dir(frozen()).unwrap() {
        let dir = dir.unwrap().path();
        let name = dir.file_name().unwrap().to_str().unwrap();
        assert!(
            !dir.join("wire").exists() || listed.contains(&name),
            "{name} has samples and is not in proto/testdata/releases.txt"
        );
    }
    let changelog = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../CHANGELOG.md");
    let changelog = fs::read_to_string(changelog).unwrap();
    let titles = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    let told: Vec<&str> = titles
        .filter(|title| title.starts_with(|first: char| first.is_ascii_digit()))
        .filter_map(|title| title.split_whitespace().next())
        .collect();
    for release in &told {
        assert!(
            listed.contains(release),
            "CHANGELOG.md tells of {release}, which is not in proto/testdata/releases.txt"
        );
    }
    for release in listed.iter().filter(|release| **release != present) {
        assert!(told.contains(release), "CHANGELOG.md does not tell of {release}");
    }
}

/// A newer peer or client sends fields that this build does not have: they are passed over.
#[test]
fn unknown_fields_are_passed_over() {
    for (file, message, bytes) in drawn() {
        let mut later = bytes.clone();
        encode_varint(UNKNOWN_FIELD << 3, &mut later);
        encode_varint(7, &mut later);
        encode_varint(UNKNOWN_FIELD << 3 | 2, &mut later);
        encode_varint(3, &mut later);
        later.extend_from_slice(b"new");
        assert_eq!(by_name(&message)(&later).unwrap(), bytes, "{file}");
    }
}

/// Values of an enum that this build does not have come through as they are; whoever reads them gets none.
#[test]
fn unknown_values_of_an_enum_are_no_error() {
    let newer = 999;
    let hello = internal::raft::v1::Hello {
        lane: newer,
        ..Default::default()
    };
    let hello = internal::raft::v1::Hello::decode(hello.encode_to_vec().as_slice()).unwrap();
    assert!(internal::raft::v1::Lane::try_from(hello.lane).is_err());
    assert!(hello.lane() == internal::raft::v1::Lane::Unspecified);
    let detail = common::v1::ErrorDetail {
        advice: newer,
        ..Default::default()
    };
    let detail = common::v1::ErrorDetail::decode(detail.encode_to_vec().as_slice()).unwrap();
    assert!(detail.advice() == common::v1::Advice::Unspecified);
    let status = admin::v1::GetClusterStatusResponse {
        health: newer,
        ..Default::default()
    };
    let status = admin::v1::GetClusterStatusResponse::decode(status.encode_to_vec().as_slice()).unwrap();
    assert!(status.health() == admin::v1::Health::Unspecified);
}

/// A kind of request that this build does not have is seen as none, so that it can be answered by name.
#[test]
fn unknown_kinds_are_seen_as_none() {
    let mut frame = Vec::new();
    encode_varint(1 << 3, &mut frame);
    encode_varint(5, &mut frame);
    encode_varint(UNKNOWN_FIELD << 3 | 2, &mut frame);
    encode_varint(0, &mut frame);
    let frame = internal::raft::v1::PeerFrame::decode(frame.as_slice()).unwrap();
    assert!(frame.call_id == 5 && frame.body.is_none());
}

/// Bytes that are cut short or changed are an error or another message, and never a panic.
#[test]
fn damaged_bytes_are_no_panic() {
    for (_, message, bytes) in drawn() {
        for cut in 0..bytes.len() {
            let _ = by_name(&message)(&bytes[..cut]);
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let _ = by_name(&message)(&changed);
        }
    }
}
