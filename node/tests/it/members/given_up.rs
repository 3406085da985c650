//! Changes of nodes that are given up half way.

use std::time::Duration;

use spine_proto::internal::raft::v1::ChangeRequest;
use spine_proto::internal::raft::v1::change_response::Outcome;
use spine_proto::storage::v1::{Member, ReplicaChange};
use tokio::time::Instant;

use super::{PATIENCE, three_of};
use crate::nodes::{Machine, until};

/// Asks whoever leads for the next step of a change, as the mover does, until it has come to an end.
async fn until_done(machines: &[Machine], request: &ChangeRequest) -> (bool, Vec<String>) {
    let end = Instant::now() + PATIENCE;
    let mut waited = Vec::new();
    loop {
        for machine in machines {
            match machine.inner().change_step(*request).await.outcome {
                Some(Outcome::Done(done)) => return (done, waited),
                Some(Outcome::Waits(why)) => waited.push(why),
                Some(Outcome::LeaderNode(_)) | None => {}
            }
        }
        assert!(Instant::now() < end, "{waited:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn member_on(machine: &Machine, shard: usize, node_id: u64) -> Member {
    let plan = machine.inner().running().unwrap().plan();
    let members = &plan.shards[shard].members;
    *members.iter().find(|member| member.node_id == node_id).unwrap()
}

fn giving_up(joining: Member, leaving: u64) -> ChangeRequest {
    ChangeRequest {
        shard: 1,
        change: Some(ReplicaChange {
            joining: Some(joining),
            leaving,
            created: true,
            ..ReplicaChange::default()
        }),
        abandon: true,
        ..ChangeRequest::default()
    }
}

async fn voters_are(machines: &[Machine], nodes: &[u64]) {
    until("the voters are these", || {
        machines.iter().any(|machine| {
            let shard = machine.inner().host.shard(1);
            shard.is_some_and(|shard| {
                let mut voters: Vec<u64> = shard.group.voters().iter().map(|(_, node)| *node).collect();
                voters.sort_unstable();
                shard.group.status().leading && !shard.group.is_changing() && voters == nodes
            })
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_given_up_while_the_joiner_only_follows_is_taken_back() {
    let machines = three_of(3).await;
    let joiner = Member {
        replica_id: 1 << 40,
        node_id: 3,
    };
    let request = giving_up(joiner, member_on(&machines[0], 1, 3).replica_id);
    let forth = ChangeRequest {
        abandon: false,
        ..request
    };
    let follows = || {
        machines.iter().any(|machine| {
            let shard = machine.inner().host.shard(1);
            shard.is_some_and(|shard| shard.group.roster().learners.contains(&(1 << 40, 3)))
        })
    };
    let end = Instant::now() + PATIENCE;
    while !follows() {
        assert!(Instant::now() < end, "it is not told to follow");
        for machine in &machines {
            machine.inner().change_step(forth).await;
        }
    }
    let (done, _) = until_done(&machines, &request).await;
    assert!(done, "the joiner is out again");
    assert!(!follows());
    voters_are(&machines, &[1, 2, 3]).await;
}

/// Taking it out again would need the majority that it is part of; and who was to leave may be gone by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_given_up_after_the_joiner_votes_goes_on_to_its_end() {
    let machines = three_of(3).await;
    let leading = || {
        machines.iter().position(|machine| {
            let shard = machine.inner().host.shard(1);
            shard.is_some_and(|shard| shard.group.status().leading)
        })
    };
    until("somebody leads", || leading().is_some()).await;
    // The leader is the one that is to leave: it hands over on the way.
    let leaver = u64::try_from(leading().unwrap()).unwrap() + 1;
    let joiner = member_on(&machines[0], 1, leaver % 3 + 1);
    let request = giving_up(joiner, member_on(&machines[0], 1, leaver).replica_id);
    let (done, waited) = until_done(&machines, &request).await;
    assert!(!done, "the joiner stays: {waited:?}");
    let said = |what: &str| waited.iter().any(|why| why.contains(what));
    assert!(said("leadership is handed over"), "{waited:?}");
    assert!(said("the new voters are being committed"), "{waited:?}");
    let stay: Vec<u64> = (1..=3).filter(|node| *node != leaver).collect();
    voters_are(&machines, &stay).await;
    // Asked again, it is as it was.
    assert_eq!(until_done(&machines, &request).await, (false, Vec::new()));
}
