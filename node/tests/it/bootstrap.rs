//! Beginning a cluster: once, again, interrupted, and never over other data.

use std::path::Path;
use std::sync::atomic::Ordering;

use spine_node::data_dir;
use spine_storage::disk::Disk as _;

use crate::nodes::{Machine, cluster, leader, peers, until};

fn cluster_id(machine: &Machine) -> Vec<u8> {
    machine.inner().running().unwrap().plan().cluster_id.to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_begins_once_whoever_is_asked_again() {
    let machines = cluster(3).await;
    let first = cluster_id(&machines[0]);
    for machine in &machines {
        let again = machine.init(&peers(&machines)).await.unwrap();
        assert!(again.already);
        assert_eq!(cluster_id(machine), first);
    }
    let error = machines[1].init(&peers(&machines)[..2]).await.err().unwrap();
    assert_eq!(error.reason, "CLUSTER_EXISTS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_data_refuses_another_plan_also_after_a_restart() {
    let mut machines = Machine::several(2);
    for machine in &mut machines {
        machine.start().await.unwrap();
    }
    let (own, other) = (peers(&machines[..1]), peers(&machines));
    machines[0].init(&own).await.unwrap();
    let before = cluster_id(&machines[0]);
    for _ in 0..2 {
        let error = machines[1].init(&other).await.err().unwrap();
        assert_eq!(error.reason, "NODE_REFUSED");
        let mut plan = machines[0].inner().running().unwrap().plan().as_ref().clone();
        plan.cluster_id = vec![9; 16].into();
        assert!(machines[0].inner().adopt(plan).await.is_err());
        assert_eq!(cluster_id(&machines[0]), before);
        machines[0].stop().await;
        machines[0].start().await.unwrap();
        until("it resumed", || machines[0].inner().running().is_some()).await;
    }
    assert!(machines[1].inner().running().is_none());
    machines[1].init(&peers(&machines[1..])).await.unwrap();
}

/// A node whose disk is busy takes seconds to begin, and gives no sign of life meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_answer_is_lost_is_asked_again() {
    let mut machines = Machine::several(3);
    for machine in &mut machines {
        machine.start().await.unwrap();
    }
    // The first connection is that of the question who it is.
    machines[1].cut.answer_of.store(2, Ordering::Release);
    machines[0].init(&peers(&machines)).await.unwrap();
    until("it leads", || leader(&machines).is_some()).await;
    assert_eq!(cluster_id(&machines[1]), cluster_id(&machines[0]));
}

/// Power goes at the n-th operation of the disk while a plan is adopted. Afterwards the node is a member of that
/// plan, or has no cluster and takes any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_was_not_finished_begins_anew() {
    let (mut unfinished, mut finished) = (0, 0);
    for operation in (3..).step_by(7) {
        let mut machines = Machine::several(1);
        let machine = &mut machines[0];
        machine.start().await.unwrap();
        let before = machine.disk.counters().operations;
        machine.disk.cut_power_at(before + operation);
        let own = vec![machine.config.listen.peer.clone()];
        let answer = machine.init(&own).await;
        machine.stop().await;
        let struck = !machine.disk.is_on();
        machine.disk.cancel_cut();
        machine.disk.power_on();
        machine.start().await.unwrap();
        let identity = data_dir::read(&machine.disk, Path::new("/data")).unwrap();
        let is_member = identity.is_some_and(|identity| identity.member.is_some());
        assert_eq!(machine.inner().running().is_some(), is_member);
        assert!(is_member || answer.is_err(), "what was acknowledged stays");
        if is_member {
            finished += 1;
        } else {
            unfinished += 1;
            assert!(machine.disk.exists(Path::new("/data")).unwrap());
            machine.init(&own).await.unwrap();
        }
        until("it leads", || leader(&machines).is_some()).await;
        machines[0].stop().await;
        if !struck {
            break;
        }
    }
    assert!(unfinished > 3 && finished > 0, "{unfinished} {finished}");
}
