//! A leader that slept through its own replacement.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use spine_client::{Commit, SpineClient};
use spine_proto::records::v1::guard::Condition;
use spine_proto::records::v1::records_service_client::RecordsServiceClient;
use spine_proto::records::v1::{CommitRequest, GetRequest, Guard, Mutation, RecordKey, mutation};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use super::support::{block_on, cluster};
use crate::processes::{Cluster, ClusterError};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "stale-leader",
    issue: 2,
    claim: "a leader that was paused while another took over never answers old data, neither reads nor rejections",
    target: "20 rounds, 0 old answers",
    run,
};

const ROUNDS: u32 = 20;
const ROUNDS_QUICK: u32 = 4;
/// Questions that wait in the sleeping node's sockets, of each kind.
const QUESTIONS: u32 = 8;
const SETTLE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(15);

#[derive(Default, Serialize)]
struct Measured {
    rounds: u32,
    old_reads: u32,
    old_rejections: u32,
    fresh: u32,
    /// Refused or unavailable: safe.
    declined: u32,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds, {} old reads, {} old rejections ({} answers fresh, {} declined)",
            self.rounds, self.old_reads, self.old_rejections, self.fresh, self.declined
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.old_reads == 0 && self.old_rejections == 0 && self.rounds > 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    block_on(async move {
        let mut cluster = cluster(context).await?;
        let mut measured = Measured::default();
        for round in 0..rounds {
            one_round(&mut cluster, round, &mut measured).await?;
            measured.rounds += 1;
            cluster.wait_healthy(SETTLE).await?;
        }
        Finding::of(&measured)
    })
}

async fn one_round(cluster: &mut Cluster, round: u32, measured: &mut Measured) -> Result<(), RowError> {
    let routing = format!("stale-{round}");
    let client = cluster.client(DEADLINE)?;
    let old = client
        .records()
        .commit(Commit::new(&routing).put("", "old"))
        .await?;
    let ask = usize::try_from(round).unwrap_or(0) % cluster.nodes();
    let leader = cluster
        .leader_of(old.position.shard, ask)
        .await?
        .ok_or_else(|| RowError::because("the shard shows no leader"))?;
    // Connected while it is awake, so that questions reach its sockets while it sleeps.
    let direct = direct(cluster, leader).await?;
    cluster.pause(leader)?;
    let others = others(cluster, leader)?;
    let all = (0..QUESTIONS).fold(Commit::new(&routing).put("", "new"), |commit, question| {
        commit.put(question.to_string(), "new")
    });
    let new = others.records().commit(all).await?;
    let mut questions = JoinSet::new();
    for question in 0..QUESTIONS {
        questions.spawn(read(direct.clone(), routing.clone(), new.revision));
        questions.spawn(change(direct.clone(), routing.clone(), new.revision, question));
    }
    // The questions are in its sockets before it wakes.
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.resume(leader)?;
    while let Some(answer) = questions.join_next().await {
        match answer.map_err(|error| RowError::because(error.to_string()))? {
            Answer::Old => measured.old_reads += 1,
            Answer::Rejected => measured.old_rejections += 1,
            Answer::Fresh => measured.fresh += 1,
            Answer::Declined => measured.declined += 1,
        }
    }
    Ok(())
}

fn others(cluster: &Cluster, without: usize) -> Result<SpineClient, ClusterError> {
    cluster.client_of((0..cluster.nodes()).filter(|node| *node != without), DEADLINE)
}

async fn direct(cluster: &Cluster, node: usize) -> Result<RecordsServiceClient<Channel>, RowError> {
    let uri = format!("http://{}", cluster.grpc(node));
    let endpoint = Channel::from_shared(uri).map_err(|error| RowError::because(error.to_string()))?;
    let channel = endpoint.timeout(DEADLINE).connect().await;
    Ok(RecordsServiceClient::new(
        channel.map_err(|error| RowError::because(error.to_string()))?,
    ))
}

enum Answer {
    Old,
    Fresh,
    Rejected,
    Declined,
}

async fn read(mut node: RecordsServiceClient<Channel>, routing_key: String, newest: u64) -> Answer {
    let key = RecordKey {
        routing_key,
        suffix: bytes::Bytes::new(),
    };
    match node.get(GetRequest { key: Some(key) }).await {
        Ok(answer) => match answer.into_inner().record {
            Some(record) if record.revision >= newest => Answer::Fresh,
            _ => Answer::Old,
        },
        Err(_) => Answer::Declined,
    }
}

/// A change of a record that only this question changes, guarded by its newest revision: whoever refuses it as
/// stale has not seen that revision.
async fn change(
    mut node: RecordsServiceClient<Channel>,
    routing_key: String,
    newest: u64,
    question: u32,
) -> Answer {
    let suffix = bytes::Bytes::from(question.to_string());
    let request_id = format!("{routing_key}-{question}");
    let put = mutation::Put {
        suffix: suffix.clone(),
        value: "newer".into(),
    };
    let request = CommitRequest {
        routing_key,
        guards: vec![Guard {
            suffix,
            condition: Some(Condition::RevisionIs(newest)),
        }],
        mutations: vec![Mutation {
            kind: Some(mutation::Kind::Put(put)),
        }],
        request_id,
        session: None,
    };
    match node.commit(request).await {
        Ok(_) => Answer::Fresh,
        Err(status) if status.code() == Code::Aborted => Answer::Rejected,
        Err(_) => Answer::Declined,
    }
}
