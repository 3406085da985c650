//! Raising the level, against a cluster in memory that is as slow, forgetful and divided as a test wants it.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::Path;
use std::time::Duration;

use spine_proto::admin::v1::{GetClusterStatusResponse, GetNodeStatusResponse, NodeSummary};
use tokio::time::timeout;

use super::check::Refusal;
use super::check::tests::sound;
use super::finalize::{Finalize, FinalizeError, Raised};
use super::roll::{Fleet, Timings};
use crate::error::{Error, ErrorKind, Result};

struct Nodes {
    cluster: GetClusterStatusResponse,
    said: BTreeMap<u64, GetNodeStatusResponse>,
    /// Orders in the order in which they came.
    orders: Vec<u32>,
    /// Calls until the process that finalizes is no more.
    calls_left: usize,
    /// Orders that are carried out without an answer.
    unheard: usize,
    /// Orders that are refused because somebody else leads by now.
    moved: usize,
    /// The replica of this node applies nothing.
    stuck: Option<u64>,
}

impl Nodes {
    /// The meta group and two shards at level 0; programs that know 0 to 2.
    fn new() -> Self {
        let (mut cluster, said) = sound();
        let shard = cluster.shards[0].clone();
        cluster.shards = [2, 0, 1]
            .map(|number| {
                let mut shard = shard.clone();
                (shard.shard, shard.leader_node_id) = (number, u64::from(number) + 1);
                shard
            })
            .into();
        Self {
            cluster,
            said,
            orders: Vec::new(),
            calls_left: usize::MAX,
            unheard: 0,
            moved: 0,
            stuck: None,
        }
    }

    async fn call(&mut self) {
        match self.calls_left.checked_sub(1) {
            Some(left) => self.calls_left = left,
            None => pending().await,
        }
    }

    fn levels(&self) -> BTreeMap<u32, u32> {
        let shards = self.cluster.shards.iter();
        shards.map(|shard| (shard.shard, shard.level)).collect()
    }
}

fn unavailable(reason: &'static str) -> Error {
    Error::local(ErrorKind::Unavailable, reason, "not now")
}

impl Fleet for Nodes {
    async fn cluster(&mut self) -> Result<GetClusterStatusResponse> {
        self.call().await;
        Ok(self.cluster.clone())
    }

    async fn node(&mut self, address: &str) -> Result<GetNodeStatusResponse> {
        self.call().await;
        let mut nodes = self.cluster.nodes.iter();
        let node = nodes.find(|node| node.grpc_address == address).expect("a node");
        let said = self.said.get(&node.node_id).cloned();
        said.ok_or_else(|| unavailable("NODE_UNREACHABLE"))
    }

    async fn raise_level(&mut self, address: &str, shard: u32, level: u32) -> Result<u32> {
        self.call().await;
        let stuck = self.stuck;
        if let Some(left) = self.moved.checked_sub(1) {
            self.moved = left;
            return Err(unavailable("NOT_LEADER"));
        }
        let meta = self.levels()[&0];
        assert!(shard == 0 || meta >= level, "the meta group goes first");
        self.orders.push(shard);
        let mut shards = self.cluster.shards.iter_mut();
        let found = shards.find(|found| found.shard == shard).expect("a shard");
        assert_eq!(
            format!("n{}:1", found.leader_node_id),
            address,
            "its leader is asked"
        );
        found.level = level;
        for replica in &mut found.replicas {
            if Some(replica.node_id) != stuck {
                (replica.level, replica.checkpoint_level) = (level, level);
            }
        }
        // Or the tool ends when it is done, before it hears of it.
        self.call().await;
        if let Some(left) = self.unheard.checked_sub(1) {
            self.unheard = left;
            return Err(unavailable("NODE_UNREACHABLE"));
        }
        Ok(level)
    }

    async fn drain(&mut self, _: &str, _: bool) -> Result<u32> {
        unreachable!("nothing is drained")
    }

    async fn restart(&mut self, _: &NodeSummary, _: &Path) -> std::result::Result<(), String> {
        unreachable!("nothing is restarted")
    }

    async fn canary(&mut self, _: &str, _: bool) -> Result<()> {
        unreachable!("nothing is written")
    }
}

async fn finalize(nodes: &mut Nodes) -> std::result::Result<Raised, FinalizeError> {
    let mut finalize = Finalize {
        fleet: nodes,
        timings: Timings::default(),
        tell: &mut |_| (),
    };
    finalize.run().await
}

fn all_at(level: u32) -> BTreeMap<u32, u32> {
    [(0, level), (1, level), (2, level)].into()
}

#[tokio::test(start_paused = true)]
async fn the_meta_group_is_first_and_again_changes_nothing() {
    let mut nodes = Nodes::new();
    let (level, shards) = (2, vec![0, 1, 2]);
    assert_eq!(
        finalize(&mut nodes).await.expect("done"),
        Raised { level, shards }
    );
    assert_eq!((nodes.levels(), &nodes.orders), (all_at(2), &vec![0, 1, 2]));
    let shards = Vec::new();
    assert_eq!(
        finalize(&mut nodes).await.expect("done"),
        Raised { level, shards }
    );
    assert_eq!(nodes.orders, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_ready_is_refused_and_nothing_is_done() {
    type Change = fn(&mut Nodes);
    let table: [(&str, Change); 5] = [
        ("node 2 does not answer", |nodes| drop(nodes.said.remove(&2))),
        ("knows levels 0 to 1, not 2", |nodes| {
            nodes.said.entry(3).and_modify(|said| said.level_max = 1);
        }),
        ("run different programs", |nodes| {
            nodes.said.entry(3).and_modify(|said| said.release = "3".into());
        }),
        ("why", |nodes| {
            nodes.cluster.health = spine_proto::admin::v1::Health::Degraded.into();
            nodes.cluster.reasons = vec!["why".into()];
        }),
        ("the replica on node 2 is not up", |nodes| {
            nodes.cluster.shards[1].replicas[1].state = "stopped".into();
        }),
    ];
    for (expected, change) in table {
        let mut nodes = Nodes::new();
        change(&mut nodes);
        match finalize(&mut nodes).await {
            Err(FinalizeError::Refused(why)) => {
                assert!(
                    why.iter().any(|why| why.to_string().contains(expected)),
                    "{why:?}"
                );
            }
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!((nodes.levels(), nodes.orders), (all_at(0), Vec::new()));
    }
}

/// Nodes of before the level could be raised name no levels at all.
#[tokio::test(start_paused = true)]
async fn nodes_that_know_of_no_level_are_refused() {
    let mut nodes = Nodes::new();
    nodes.said.values_mut().for_each(|said| said.level_max = 0);
    let refused = finalize(&mut nodes).await;
    let all_three = |why: &[Refusal]| {
        let unknown = |why: &&Refusal| matches!(why, Refusal::NodeLevel { level: 1, .. });
        why.iter().filter(unknown).count() == 3
    };
    assert!(matches!(refused, Err(FinalizeError::Refused(why)) if all_three(&why)));
}

#[tokio::test(start_paused = true)]
async fn it_may_end_anywhere_and_goes_on_from_there() {
    for calls in 0.. {
        let mut nodes = Nodes::new();
        nodes.calls_left = calls;
        let ended = timeout(Duration::from_secs(3_600), finalize(&mut nodes)).await;
        nodes.calls_left = usize::MAX;
        let raised = finalize(&mut nodes).await.expect("done");
        assert_eq!(
            (nodes.levels(), raised.level),
            (all_at(2), 2),
            "ended at call {calls}"
        );
        assert_eq!(nodes.orders, [0, 1, 2], "ended at call {calls}");
        if ended.is_ok() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_moved_leaders_are_asked_again() {
    let mut nodes = Nodes::new();
    (nodes.unheard, nodes.moved) = (2, 3);
    let raised = finalize(&mut nodes).await.expect("done");
    assert_eq!(raised.shards, [0, 1, 2]);
    assert_eq!((nodes.levels(), nodes.orders), (all_at(2), vec![0, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn it_ends_only_when_every_replica_has_a_checkpoint_there() {
    let mut nodes = Nodes::new();
    nodes.stuck = Some(3);
    match finalize(&mut nodes).await {
        Err(FinalizeError::Stopped(why)) => {
            assert!(why.contains("on node 3 has no checkpoint at level 2"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    nodes.moved = usize::MAX;
    nodes.cluster.shards[0].level = 0;
    let stopped = finalize(&mut nodes).await;
    assert!(matches!(stopped, Err(FinalizeError::Stopped(why)) if why.starts_with("shard 2: ")));
}
