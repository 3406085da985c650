//! Whether callers should be sent to this node: what `/readyz` and the gRPC health service say, always the same.

use crate::admin::Check;
use crate::fitness::Trouble;
use crate::node::Inner;

/// Everything that must hold, each by name.
#[must_use]
pub fn checks(node: &Inner) -> Vec<Check> {
    let check = |name, ok, detail: &str| {
        if ok {
            Check::pass(name)
        } else {
            Check::fail(name, detail)
        }
    };
    let shards = node.host.all();
    let leaderless = shards.iter().filter(|shard| {
        let status = shard.group.status();
        !status.leading && status.leader.is_none()
    });
    let leaderless = leaderless.count();
    let stopped = node.stopped_replicas();
    vec![
        check(
            "initialised",
            node.running().is_some(),
            "run spinectl cluster init",
        ),
        check("not-draining", !node.is_draining(), "the node is stopping"),
        check(
            "replicas-run",
            stopped == 0,
            &format!("{stopped} replicas have stopped"),
        ),
        check(
            "disk-works",
            node.fitness.trouble().is_none(),
            node.fitness.trouble().map_or("", Trouble::as_str),
        ),
        check(
            "leaders-known",
            leaderless == 0,
            &format!("{leaderless} shards have no known leader"),
        ),
    ]
}
