//! Nodes of several releases: they speak the highest protocol that both know, or refuse each other by name.

use spine_consensus::transport::{PeerError, RefusalReason, WatchDriver, WireRange};
use spine_proto::ids::NodeId;

use crate::support::{Node, echo, identity, introduce, node_with};

async fn speaking(id: u64, min: u32, max: u32, level: u32) -> Node {
    node_with(identity(id), WatchDriver::Task, |config| {
        config.wire = WireRange { min, max };
        config.level = std::sync::Arc::new(move || level);
    })
    .await
}

#[tokio::test]
async fn ranges_that_overlap_settle_on_the_highest_common_protocol() {
    let (one, two, three) = (
        speaking(1, 1, 2, 0).await,
        speaking(2, 2, 4, 3).await,
        speaking(3, 1, 3, 1).await,
    );
    introduce(&[&one, &two, &three]);
    assert_eq!(one.links.settled_wire(NodeId(2)), None);
    for (from, to) in [(&one, 2), (&two, 3), (&three, 1)] {
        assert_eq!(echo(&from.links, to, 0, "x").await.unwrap(), "x");
    }
    // Both ends of each connection know.
    for (node, peer, wire) in [
        (&one, 2, 2),
        (&two, 1, 2),
        (&two, 3, 3),
        (&three, 2, 3),
        (&three, 1, 2),
        (&one, 3, 2),
    ] {
        assert_eq!(node.links.settled_wire(NodeId(peer)), Some(wire), "with {peer}");
    }
    assert_eq!(one.links.level_heard(), 3);
    assert_eq!(one.links.counters().wire_refusals, 0);
}

#[tokio::test]
async fn ranges_that_do_not_meet_are_refused_by_name_and_counted_at_both_ends() {
    let (old, new) = (speaking(1, 1, 2, 0).await, speaking(2, 3, 4, 0).await);
    introduce(&[&old, &new]);
    for (from, to) in [(&old, 2), (&new, 1)] {
        let refused = echo(&from.links, to, 0, "x").await;
        assert_eq!(refused, Err(PeerError::Refused(RefusalReason::WrongWire)));
    }
    for node in [&old, &new] {
        // The watch lane dials too.
        assert!(node.links.counters().wire_refusals >= 2);
        assert_eq!(node.handler.handled.load(std::sync::atomic::Ordering::SeqCst), 0);
    }
    assert_eq!(old.links.settled_wire(NodeId(2)), None);
    assert_eq!(new.links.level_heard(), 0);
}
