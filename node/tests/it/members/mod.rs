//! A cluster that changes while callers go on: nodes join, leave, move, lose their disks and are replaced.

mod given_up;
mod lost_majority;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use spine_node::cluster::absence::STEADY;
use spine_node::cluster::join::parse_token;
use spine_node::cluster::rows;
use spine_node::events::EventKind;
use spine_node::node::Inner;
use spine_node::version::Release;
use spine_proto::admin::v1::{
    CreateJoinTokenRequest, NodeState, PlanClusterRequest, ReadReplicaRequest, SetNodeStateRequest,
};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::change_response::Outcome;
use spine_proto::internal::raft::v1::{
    ChangeRequest, ClusterDone, ClusterRefusal, ClusterRequest, Join, cluster_request,
};
use spine_proto::records::v1::mutation::{Kind, Put};
use spine_proto::records::v1::{CommitRequest, Mutation};
use spine_proto::storage::v1::{Member, NodeState as Planned, PlanNode, ReplicaChange};
use spine_storage::disk::Disk as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::level;
use crate::nodes::{Machine, peers, principal, until};

const PATIENCE: Duration = Duration::from_secs(20);

/// So many machines, of which the first three are a cluster.
async fn three_of(count: usize) -> Vec<Machine> {
    three_that_replace_after(0, count).await
}

async fn three_that_replace_after(replace_after_ms: u64, count: usize) -> Vec<Machine> {
    let mut machines = Machine::several(count);
    for machine in &mut machines {
        machine.config.cluster.replace_after_ms = replace_after_ms;
    }
    for machine in &mut machines[..3] {
        machine.start().await.unwrap();
    }
    machines[0].init(&peers(&machines[..3])).await.unwrap();
    until("the cluster has rows", || has_rows(&machines[0].inner())).await;
    machines
}

fn has_rows(node: &Inner) -> bool {
    let meta = node.host.shard(0);
    meta.is_some_and(|shard| {
        shard
            .group
            .store()
            .read(|view| matches!(rows::read(view), Ok(Some(_))))
            .unwrap()
    })
}

async fn token(machine: &Machine, lifetime_ms: u64) -> String {
    let request = CreateJoinTokenRequest { lifetime_ms };
    machine.inner().create_join_token(request).await.unwrap().token
}

/// A node that is not there, with a store and a port of this number.
async fn ask_to_be_let_in(machine: &Machine, token: &str, number: u8) -> Result<ClusterDone, ClusterRefusal> {
    let at = |port: u8| format!("127.0.0.{number}:{port}");
    let node = PlanNode {
        peer_address: at(1),
        grpc_address: at(2),
        admin_address: at(3),
        store_uuid: vec![number; 16].into(),
        ..PlanNode::default()
    };
    let join = Join {
        token: parse_token(token).unwrap().to_vec().into(),
        node: Some(node),
        level_max: None,
    };
    let request = ClusterRequest {
        kind: Some(cluster_request::Kind::Join(join)),
    };
    machine.inner().ask_meta(request, Instant::now() + PATIENCE).await
}

async fn join(machines: &mut [Machine], newcomer: usize) {
    machines[newcomer].config.cluster.join_token = token(&machines[0], 0).await;
    machines[newcomer].start().await.unwrap();
    until("it has joined", || machines[newcomer].inner().running().is_some()).await;
}

async fn set_state(machine: &Machine, node_id: u64, state: NodeState) {
    let request = SetNodeStateRequest {
        node_id,
        state: state.into(),
    };
    machine.inner().set_node_state(request).await.unwrap();
}

/// The nodes of a shard, where nothing moves.
fn hosts(machine: &Machine, shard: usize) -> Vec<u64> {
    let plan = machine.inner().running().unwrap().plan();
    let planned = &plan.shards[shard];
    assert_eq!(usize::try_from(planned.shard), Ok(shard));
    match planned.change {
        Some(_) => Vec::new(),
        None => planned.members.iter().map(|member| member.node_id).collect(),
    }
}

fn is_settled(machine: &Machine) -> bool {
    let plan = machine
        .inner()
        .plan_cluster(&PlanClusterRequest::default())
        .unwrap();
    !plan.balancing && plan.moving.is_empty() && plan.next.is_empty()
}

/// Somebody who writes one number after the other through a node until told to stop; how many there were.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: JoinHandle<u64>,
}

impl Writer {
    fn through(machine: &Machine) -> Self {
        let dispatcher = Arc::clone(&machine.inner().running().unwrap().dispatcher);
        let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (told, count) = (Arc::clone(&stop), Arc::clone(&written));
        let task = tokio::spawn(async move {
            while !told.load(Ordering::Acquire) {
                let number = count.load(Ordering::Acquire) + 1;
                let done = dispatcher
                    .call(
                        "records.commit",
                        put(number),
                        &principal().into(),
                        Instant::now() + PATIENCE,
                    )
                    .await;
                assert!(done.is_ok(), "write {number}: {:?}", done.err());
                count.store(number, Ordering::Release);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            count.load(Ordering::Acquire)
        });
        Self { stop, written, task }
    }

    async fn some(&self) {
        let before = self.written.load(Ordering::Acquire);
        until("writes go on", || {
            self.written.load(Ordering::Acquire) > before + 20
        })
        .await;
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.task.await.unwrap()
    }
}

fn put(number: u64) -> Bytes {
    let put = Put {
        suffix: number.to_be_bytes().to_vec().into(),
        value: number.to_be_bytes().to_vec().into(),
    };
    let request = CommitRequest {
        routing_key: "key".to_owned(),
        mutations: vec![Mutation {
            kind: Some(Kind::Put(put)),
        }],
        request_id: format!("{number:032x}"),
        ..CommitRequest::default()
    };
    request.encode_to_vec().into()
}

/// Whether the node's own replica has the number.
fn has(machine: &Machine, number: u64) -> bool {
    let request = ReadReplicaRequest {
        routing_key: "key".to_owned(),
        suffix: number.to_be_bytes().to_vec().into(),
    };
    machine
        .inner()
        .read_replica(&request)
        .is_ok_and(|answer| answer.found)
}

async fn has_all(machine: &Machine, count: u64) {
    until("the last write is there", || has(machine, count)).await;
    assert!((1..=count).all(|number| has(machine, number)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_lets_one_node_in() {
    let mut machines = three_of(5).await;
    join(&mut machines, 3).await;
    assert_eq!(machines[3].inner().running().unwrap().node_id, 4);
    until("everybody knows it", || {
        machines[..4]
            .iter()
            .all(|machine| machine.inner().running().unwrap().plan().nodes.len() == 4)
    })
    .await;
    // The same token again, one that nobody gave out, and one whose time is over.
    let used = machines[3].config.cluster.join_token.clone();
    let expired = token(&machines[1], 1).await;
    for wrong in [used, "0".repeat(32), expired] {
        machines[4].config.cluster.join_token = wrong;
        machines[4].start().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(machines[4].inner().running().is_none());
        machines[4].stop().await;
    }
    let made_up = "0".repeat(32);
    let expired = token(&machines[1], 1).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    for (secret, reason) in [
        (&machines[3].config.cluster.join_token, "TOKEN_USED"),
        (&made_up, "TOKEN_UNKNOWN"),
        (&expired, "TOKEN_EXPIRED"),
    ] {
        let refused = ask_to_be_let_in(&machines[1], secret, 9).await.err().unwrap();
        assert_eq!(refused.reason, reason);
    }
    // Of two who ask at once with one token one is let in.
    let token = token(&machines[0], 0).await;
    let (one, other) = tokio::join!(
        ask_to_be_let_in(&machines[0], &token, 7),
        ask_to_be_let_in(&machines[2], &token, 8),
    );
    let refused: Vec<ClusterRefusal> = [one, other].into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].reason, "TOKEN_USED");
    // A node that has joined needs no token any more.
    machines[3].stop().await;
    machines[3].start().await.unwrap();
    assert_eq!(machines[3].inner().running().unwrap().node_id, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_does_not_know_the_level_is_not_let_in_and_leaves_the_token_unused() {
    let mut machines = three_of(4).await;
    level::raise(&machines[..3], level::META, level::LEVEL)
        .await
        .unwrap();
    machines[3].config.cluster.join_token = token(&machines[0], 0).await;
    machines[3].release = Release::previous();
    machines[3].start().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(machines[3].inner().running().is_none());
    machines[3].stop().await;
    machines[3].release = Release::this();
    machines[3].start().await.unwrap();
    until("it has joined", || machines[3].inner().running().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_and_its_replicas_move_while_callers_go_on() {
    let mut machines = three_of(4).await;
    let writer = Writer::through(&machines[1]);
    writer.some().await;
    join(&mut machines, 3).await;
    assert_eq!(hosts(&machines[0], 1), [1, 2, 3], "nothing moves by itself");
    set_state(&machines[2], 1, NodeState::Leaving).await;
    until("it is let go", || {
        let plan = machines[1].inner().running().unwrap().plan();
        plan.nodes[0].state() == Planned::Removed
    })
    .await;
    for shard in 0..2 {
        assert_eq!(hosts(&machines[1], shard), [2, 3, 4]);
    }
    // Who went has nothing left of it, on its disk either.
    until("it has forgotten", || {
        machines[0].inner().host.all().is_empty()
            && machines[0].inner().running().unwrap().wal.replicas().is_empty()
            && machines[0]
                .disk
                .list(Path::new("/data/replicas"))
                .unwrap()
                .is_empty()
    })
    .await;
    machines[0].stop().await;
    writer.some().await;
    let count = writer.end().await;
    for machine in &machines[1..] {
        has_all(machine, count).await;
    }
}

/// Whether every replica of a node moves, or has moved.
fn is_on_its_way(machine: &Machine, node_id: u64) -> bool {
    let plan = machine.inner().running().unwrap().plan();
    let is_here = |member: &Member| member.node_id == node_id;
    let mut shards = plan.shards.iter();
    shards.all(|shard| shard.change.is_some() || !shard.members.iter().any(is_here))
}

/// What is under way stands in the plan, and the next who leads the meta group goes on with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_though_who_moves_its_replicas_dies_in_the_middle() {
    let mut machines = three_of(4).await;
    join(&mut machines, 3).await;
    // Through the one that neither leaves nor dies.
    let writer = Writer::through(&machines[3]);
    writer.some().await;
    // The first of the three is to lead the meta group, the third is its last choice.
    set_state(&machines[0], 3, NodeState::Leaving).await;
    let moves = |at: &usize| {
        let meta = machines[*at].inner().host.shard(0);
        meta.is_some_and(|meta| meta.group.status().leading)
    };
    until("its replicas move, and somebody else sees to it", || {
        let plan = machines[3].inner().running().unwrap().plan();
        let is_moving = plan.shards.iter().any(|shard| shard.change.is_some());
        is_on_its_way(&machines[3], 3) && is_moving && [0, 1].iter().any(moves)
    })
    .await;
    let dying = (0..2).max_by_key(moves).unwrap();
    // Nobody is told: it is silent from now on.
    machines[dying].cut.whole();
    until("the node is let go", || {
        let plan = machines[3].inner().running().unwrap().plan();
        plan.nodes[2].state() == Planned::Removed
    })
    .await;
    for shard in 0..2 {
        assert_eq!(hosts(&machines[3], shard), [1, 2, 4]);
    }
    writer.some().await;
    let count = writer.end().await;
    for machine in [&machines[1 - dying], &machines[3]] {
        has_all(machine, count).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_replaced_for_good() {
    let mut machines = three_of(4).await;
    let writer = Writer::through(&machines[0]);
    writer.some().await;
    machines[1].stop().await;
    join(&mut machines, 3).await;
    is_missed(&[&machines[0], &machines[2]], 2).await;
    set_state(&machines[0], 2, NodeState::Removed).await;
    // Whoever has had no answer asks again.
    set_state(&machines[0], 2, NodeState::Removed).await;
    until("others have what it had", || {
        (0..2).all(|shard| hosts(&machines[0], shard) == [1, 3, 4])
    })
    .await;
    let refused = machines[0]
        .inner()
        .set_node_state(SetNodeStateRequest {
            node_id: 2,
            state: NodeState::Serving.into(),
        })
        .await;
    assert_eq!(
        refused.err().map(|error| error.reason),
        Some("NODE_REMOVED".into())
    );
    // It comes back, and nobody talks to it.
    machines[1].start().await.unwrap();
    writer.some().await;
    has_all(&machines[3], writer.end().await).await;
    assert_eq!(hosts(&machines[0], 1), [1, 3, 4]);
}

/// By each of these.
async fn is_missed(machines: &[&Machine], node_id: u64) {
    until("the node is missed", || {
        let mut all = machines.iter();
        all.all(|machine| machine.inner().peers.is_gone(NodeId(node_id)))
    })
    .await;
}

/// It may have been level when it died, and in a group that nobody writes to it stays so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_living_replica_leaves_for_one_whose_node_is_silent() {
    let mut machines = three_of(4).await;
    join(&mut machines, 3).await;
    machines[3].stop().await;
    let leads = |machine: &&Machine| {
        let shard = machine.inner().host.shard(1);
        shard.is_some_and(|shard| shard.group.status().leading)
    };
    until("somebody leads", || {
        machines[..3].iter().any(|machine| leads(&machine))
    })
    .await;
    let leader = machines[..3].iter().find(leads).unwrap();
    until("the node is not heard", || {
        let seen = leader.inner().peers.links().liveness().borrow().clone();
        // A leader that has not yet learnt of the new node does not hear it either.
        let peer = seen.peers.get(&NodeId(4));
        peer.is_none_or(|peer| peer.silent_since.is_some() || peer.evidence.is_some())
    })
    .await;
    let voters = leader.inner().host.shard(1).unwrap().group.voters();
    let change = ReplicaChange {
        joining: Some(Member {
            replica_id: 99,
            node_id: 4,
        }),
        leaving: voters[0].0,
        created: true,
        ..ReplicaChange::default()
    };
    let request = ChangeRequest {
        shard: 1,
        change: Some(change),
        ..ChangeRequest::default()
    };
    let Some(Outcome::Waits(why)) = leader.inner().change_step(request).await.outcome else {
        panic!("it goes on");
    };
    assert_eq!(why, "the node of the joining replica is silent");
    assert_eq!(leader.inner().host.shard(1).unwrap().group.voters(), voters);
}

/// The wrong number: two nodes of three would be given up, of which one lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lives_is_not_replaced_while_another_one_is_dead() {
    let mut machines = three_of(3).await;
    machines[1].stop().await;
    is_missed(&[&machines[0], &machines[2]], 2).await;
    let living = SetNodeStateRequest {
        node_id: 3,
        state: NodeState::Removed.into(),
    };
    let refused = machines[0].inner().set_node_state(living).await.err().unwrap();
    assert_eq!(refused.reason, "NODE_HEARD");
    assert!(refused.message.contains("decommission 3"), "{}", refused.message);
    set_state(&machines[0], 2, NodeState::Removed).await;
    let writer = Writer::through(&machines[0]);
    writer.some().await;
    writer.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_while_it_leaves_is_replaced() {
    let mut machines = three_that_replace_after(2_000, 4).await;
    join(&mut machines, 3).await;
    machines[2].stop().await;
    set_state(&machines[0], 3, NodeState::Leaving).await;
    until("others have what it had", || {
        (0..2).all(|shard| hosts(&machines[0], shard) == [1, 2, 4])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_silent_too_long_is_replaced_and_taken_back() {
    let mut machines = three_of(4).await;
    join(&mut machines, 3).await;
    for machine in &mut machines {
        machine.stop().await;
        machine.config.cluster.replace_after_ms = 700;
        machine.start().await.unwrap();
    }
    machines[2].stop().await;
    until("others have what it had", || {
        (0..2).all(|shard| hosts(&machines[0], shard) == [1, 2, 4])
    })
    .await;
    let state = |node: usize| machines[0].inner().running().unwrap().plan().nodes[node].state();
    assert!(state(2) == Planned::Lost);
    let began = Instant::now();
    machines[2].start().await.unwrap();
    until("it serves again", || {
        machines[0].inner().running().unwrap().plan().nodes[2].state() == Planned::Serving
    })
    .await;
    assert!(began.elapsed() >= STEADY, "heard for a while first");
    until("it has forgotten what it had", || {
        machines[2].inner().host.all().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_becomes_even_when_asked() {
    let mut machines = three_of(4).await;
    join(&mut machines, 3).await;
    machines[3].inner().balance().await.unwrap();
    until("nothing moves any more", || is_settled(&machines[0])).await;
    // Two groups of three on four nodes: no node has two more than another.
    let count = |node: u64| {
        (0..2)
            .filter(|shard| hosts(&machines[0], *shard).contains(&node))
            .count()
    };
    let counts: Vec<usize> = (1..=4).map(count).collect();
    assert_eq!(counts.iter().sum::<usize>(), 6);
    assert!(counts.iter().all(|count| (1..=2).contains(count)), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_found_under_another_address() {
    let mut machines = three_of(4).await;
    let elsewhere = machines[3].config.listen.clone();
    machines[2].stop().await;
    machines[2].config.listen = elsewhere.clone();
    machines[2].start().await.unwrap();
    until("everybody knows where it is", || {
        machines[..3].iter().all(|machine| {
            let plan = machine.inner().running().unwrap().plan();
            plan.nodes[2].peer_address == elsewhere.peer && plan.nodes[2].grpc_address == elsewhere.grpc
        })
    })
    .await;
    let writer = Writer::through(&machines[2]);
    writer.some().await;
    let count = writer.end().await;
    for machine in &machines[..3] {
        has_all(machine, count).await;
    }
}

/// A replica without its log may have voted: it takes part no more, and a new one comes in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_log_gets_new_replicas() {
    let mut machines = three_of(3).await;
    let writer = Writer::through(&machines[0]);
    writer.some().await;
    let replicas = |machine: &Machine| -> Vec<u64> {
        let all = machine.inner().host.all();
        all.iter()
            .map(|shard| shard.group.identity().replica_id)
            .collect()
    };
    let before = replicas(&machines[2]);
    machines[2].stop().await;
    machines[2].disk.remove_dir_all(Path::new("/data/wal")).unwrap();
    machines[2].start().await.unwrap();
    until("it has new replicas", || {
        let now = replicas(&machines[2]);
        now.len() == 2 && now.iter().all(|replica| !before.contains(replica))
    })
    .await;
    until("they vote", || {
        (0..2).all(|shard| hosts(&machines[0], shard) == [1, 2, 3])
    })
    .await;
    let count = writer.end().await;
    has_all(&machines[2], count).await;
}

/// A disk that goes back may have forgotten votes. Nothing on it tells; the peers do, and where only one of two does, the
/// node neither votes nor gives anything up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_got_an_older_disk_back_does_not_vote_and_gets_new_replicas() {
    let mut machines = three_of(3).await;
    let writer = Writer::through(&machines[0]);
    writer.some().await;
    machines[2].stop().await;
    let image = machines[2].disk.image();
    machines[2].start().await.unwrap();
    let replicas = |machine: &Machine| -> Vec<u64> {
        let all = machine.inner().host.all();
        all.iter()
            .map(|shard| shard.group.identity().replica_id)
            .collect()
    };
    until("it runs", || replicas(&machines[2]).len() == 2).await;
    let before = replicas(&machines[2]);
    let count = writer.end().await;
    has_all(&machines[2], count).await;
    // Peers keep that they have heard of this start.
    tokio::time::sleep(Duration::from_secs(1)).await;
    machines[2].stop().await;
    machines[1].stop().await;
    machines[2].disk.put_back(&image);
    machines[2].start().await.unwrap();
    until("its replicas are closed", || {
        let inner = machines[2].inner();
        inner.host.all().is_empty() && inner.host.absent().len() == 2
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        machines[2].inner().host.all().is_empty(),
        "one peer is no majority"
    );
    let told = |node: &Inner| {
        node.events
            .all()
            .iter()
            .any(|event| event.kind == EventKind::OldCopyFound)
    };
    assert!(!told(&machines[2].inner()), "nothing is given up");
    machines[1].start().await.unwrap();
    until("it has new replicas", || {
        let now = replicas(&machines[2]);
        now.len() == 2 && now.iter().all(|replica| !before.contains(replica))
    })
    .await;
    assert!(told(&machines[2].inner()));
    has_all(&machines[2], count).await;
}
