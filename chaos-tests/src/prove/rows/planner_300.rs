//! What a larger cluster costs that no machine here can hold: planned, and counted.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use spine_consensus::transport::WATCH_INTERVAL;
use spine_node::cluster::placement::{Goal, NodeState, PlacedNode, PlacedShard, next_steps};
use spine_node::cluster::plan::decide;
use spine_proto::storage::v1::PlanNode;

use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "planner-300",
    issue: 4,
    claim: "a lost node of 3 to 300, with 8 to 4,096 shards: steps, time to plan them, frames between nodes",
    target: "planned in <= 100 ms, no replica moves that was not lost, loads in a zone differ by <= 1",
    run,
};

const NODES: [u64; 6] = [3, 5, 10, 30, 100, 300];
const SHARDS: [u32; 4] = [8, 64, 512, 4_096];
const ZONES: u64 = 3;
const REPLICAS: u32 = 3;
/// Of all steps after one loss, until none is left.
const PLAN_MS_MAX: f64 = 100.0;
/// More rounds than any plan needs.
const ROUNDS_MAX: usize = 100;

#[derive(Serialize)]
struct Case {
    nodes: u64,
    shards: u32,
    /// Replicas on the lost node.
    lost: usize,
    steps: usize,
    plan_ms: f64,
    /// Between the nodes of one zone with the most and the fewest replicas, afterwards.
    difference: usize,
    /// What one node sends and receives to know that the others live.
    frames_per_second: f64,
}

#[derive(Serialize)]
struct Measured {
    cases: Vec<Case>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(largest) = self.cases.last() else {
            return Ok(());
        };
        let slowest = self.cases.iter().map(|case| case.plan_ms).fold(0.0, f64::max);
        write!(
            f,
            "{} shapes, planned in {slowest:.1} ms at most; {} nodes and {} shards: {} replicas lost, {} steps, \
             loads in a zone differ by {}, {:.0} watch frames a second and node",
            self.cases.len(),
            largest.nodes,
            largest.shards,
            largest.lost,
            largest.steps,
            largest.difference,
            largest.frames_per_second
        )
    }
}

impl Case {
    fn is_met(&self) -> bool {
        // With three nodes there is nowhere to go.
        let expected = if self.nodes > u64::from(REPLICAS) {
            self.lost
        } else {
            0
        };
        self.steps == expected && self.plan_ms <= PLAN_MS_MAX && self.difference <= 1
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        !self.cases.is_empty() && self.cases.iter().all(Case::is_met)
    }
}

fn run(_: &Context) -> Result<Finding, RowError> {
    let mut cases = Vec::new();
    for nodes in NODES {
        for shards in SHARDS {
            cases.push(lose_one(nodes, shards)?);
        }
    }
    Finding::of(&Measured { cases })
}

fn lose_one(nodes: u64, shards: u32) -> Result<Case, RowError> {
    let (mut placed, mut all) = begin(nodes, shards)?;
    // Even before anything is lost: the first plan goes round the nodes.
    settle(&placed, &mut all);
    placed[0].state = NodeState::Gone;
    let lost = all
        .iter()
        .filter(|shard| shard.voters.contains(&placed[0].node))
        .count();
    let began = Instant::now();
    let steps = settle(&placed, &mut all);
    let plan_ms = began.elapsed().as_secs_f64() * 1_000.0;
    let load = |node: &PlacedNode| {
        all.iter()
            .filter(|shard| shard.voters.contains(&node.node))
            .count()
    };
    let spread = |zone: u64| {
        let name = zone_name(zone);
        let loads = placed.iter().skip(1).filter(|node| node.zone == name).map(load);
        let (least, most) = loads.fold((usize::MAX, 0), |(least, most), load| {
            (least.min(load), most.max(load))
        });
        most.saturating_sub(least)
    };
    Ok(Case {
        nodes,
        shards,
        lost,
        steps,
        plan_ms,
        difference: (0..ZONES).map(spread).max().unwrap_or(0),
        frames_per_second: (nodes - 1) as f64 * 2.0 / WATCH_INTERVAL.as_secs_f64(),
    })
}

const EVEN: Goal = Goal {
    replicas: 3,
    balance: true,
};

fn begin(nodes: u64, shards: u32) -> Result<(Vec<PlacedNode>, Vec<PlacedShard>), RowError> {
    let named = (1..=nodes).map(|node| PlanNode {
        peer_address: format!("node-{node:03}:7402"),
        ..PlanNode::default()
    });
    let plan = decide(named.collect(), shards, REPLICAS, Bytes::new(), Bytes::new());
    let plan = plan.map_err(|error| RowError::because(error.to_string()))?;
    let placed = plan.nodes.iter().map(|node| PlacedNode {
        node: node.node_id,
        zone: zone_name(node.node_id % ZONES),
        state: NodeState::Serving,
    });
    let all = plan.shards.iter().map(|shard| PlacedShard {
        shard: shard.shard,
        voters: shard.members.iter().map(|member| member.node_id).collect(),
        change: None,
    });
    Ok((placed.collect(), all.collect()))
}

fn zone_name(zone: u64) -> String {
    format!("zone-{zone}")
}

/// Makes every step, and gives their number.
fn settle(nodes: &[PlacedNode], shards: &mut [PlacedShard]) -> usize {
    let mut made = 0;
    for _ in 0..ROUNDS_MAX {
        let steps = next_steps(nodes, shards, EVEN);
        if steps.is_empty() {
            break;
        }
        made += steps.len();
        for step in steps {
            // The meta group is shard 0, so numbers are places.
            let voters = &mut shards[step.shard as usize].voters;
            voters
                .iter_mut()
                .filter(|node| Some(**node) == step.places.from)
                .for_each(|node| *node = step.places.to);
        }
    }
    made
}
