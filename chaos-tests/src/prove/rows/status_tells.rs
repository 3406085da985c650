//! What the status of the cluster and the metrics say of a node that is killed, frozen or drained.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use serde::Serialize;
use spine_proto::admin::v1::{GetClusterStatusResponse, Health};
use tokio::time::{Instant, sleep};

use super::callers::Callers;
use super::support::{block_on, cluster};
use crate::processes::Cluster;
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "status-tells",
    issue: 3,
    claim: "of a node that is killed, frozen or drained the status of every other node tells, the metrics \
            count what became of its leaders, and both show when all is well again",
    target: "told within 5,000 ms, nothing untold and nothing left afterwards; 0 failed calls",
    run,
};

const ROUNDS: u32 = 4;
const ROUNDS_QUICK: u32 = 1;
const TOLD_MS_GATE: u64 = 5_000;
/// It is looked for longer than it may take.
const LOOK_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
const SETTLE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(10);

const LEADERS: &str = "spine_shard_leaders";
const ELECTIONS: &str = "spine_shard_elections_total";
const CHANGES: &str = "spine_shard_leader_changes_total";
const CONNECTED: &str = "spine_peer_connected";
/// Labels of changes.
const TOOK_OVER: &str = "change=\"took-over\"";
const HANDED_OVER: &str = "change=\"handed-over\"";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
    Drain,
}

#[derive(Default, Serialize)]
struct Measured {
    rounds: u32,
    /// From the fault to the last of the other nodes, of each kind the slowest.
    told_ms: BTreeMap<&'static str, u64>,
    /// From its end to the last node, leaders returned, the slowest.
    well_ms: u64,
    /// What was not told, or was still told afterwards.
    amiss: Vec<String>,
    calls: u64,
    failed: u64,
    first_failure: Option<String>,
    #[serde(skip)]
    told_ms_gate: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rounds, told after at most", self.rounds)?;
        for (fault, ms) in &self.told_ms {
            write!(f, " {fault} {ms} ms")?;
        }
        write!(
            f,
            ", all well {} ms after the end at most, {} amiss",
            self.well_ms,
            self.amiss.len()
        )?;
        if let Some(first) = self.amiss.first() {
            write!(f, " (first: {first})")?;
        }
        write!(f, "; {} calls, {} failed", self.calls, self.failed)?;
        match &self.first_failure {
            Some(first) => write!(f, " (first: {first})"),
            None => Ok(()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.amiss.is_empty()
            && self.told_ms.len() == Fault::ALL.len()
            && self.told_ms.values().all(|ms| *ms <= self.told_ms_gate)
            && self.calls > 0
            && self.failed == 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let rounds = context.rounds(ROUNDS, ROUNDS_QUICK);
    let told_ms_gate = context.rounds(TOLD_MS_GATE, 3 * TOLD_MS_GATE);
    block_on(async move {
        let mut cluster = cluster(context).await?;
        let callers = Callers::start(&cluster.client(DEADLINE)?);
        let mut measured = Measured {
            told_ms_gate,
            ..Measured::default()
        };
        for round in 0..rounds {
            for (fault, turn) in Fault::ALL.into_iter().zip(0_u32..) {
                let node = usize::try_from(round + turn).unwrap_or(0) % cluster.nodes();
                measured.one(&mut cluster, fault, node).await?;
            }
            measured.rounds += 1;
        }
        (measured.calls, measured.failed, measured.first_failure) = callers.stop().await;
        if !measured.amiss.is_empty() {
            cluster.keep_files();
        }
        Finding::of(&measured)
    })
}

impl Measured {
    /// A fault of a node that leads its share, and its end.
    async fn one(&mut self, cluster: &mut Cluster, fault: Fault, node: usize) -> Result<(), RowError> {
        cluster.wait_leaders_spread(SETTLE).await?;
        let before = Before::of(cluster, node).await?;
        let began = Instant::now();
        fault.begin(cluster, node).await?;
        let amiss = until_fine(cluster, |cluster| untold(cluster, fault, &before)).await?;
        let told_ms = self.told_ms.entry(fault.name()).or_default();
        *told_ms = (*told_ms).max(ms(began.elapsed()));
        self.note(fault, node, amiss);

        fault.end(cluster, node).await?;
        let ended = Instant::now();
        cluster.wait_healthy(SETTLE).await?;
        cluster.wait_leaders_spread(SETTLE).await?;
        let amiss = until_fine(cluster, |cluster| unwell(cluster, &before)).await?;
        self.well_ms = self.well_ms.max(ms(ended.elapsed()));
        self.note(fault, node, amiss);
        Ok(())
    }

    fn note(&mut self, fault: Fault, node: usize, amiss: Option<String>) {
        let named = |amiss: String| format!("node {} {}: {amiss}", node + 1, fault.name());
        self.amiss.extend(amiss.map(named));
    }
}

impl Fault {
    const ALL: [Self; 3] = [Self::Kill, Self::Freeze, Self::Drain];

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Freeze => "frozen",
            Self::Drain => "drained",
        }
    }

    async fn begin(self, cluster: &mut Cluster, node: usize) -> Result<(), RowError> {
        match self {
            Self::Kill => Ok(cluster.kill(node)?),
            Self::Freeze => Ok(cluster.pause(node)?),
            Self::Drain => {
                cluster.began(node, "drained");
                match cluster.admin(node)?.drain_node(false).await? {
                    0 => Ok(()),
                    left => Err(RowError::because(format!("{left} shards were not taken over"))),
                }
            }
        }
    }

    async fn end(self, cluster: &mut Cluster, node: usize) -> Result<(), RowError> {
        match self {
            Self::Kill => Ok(cluster.restart(node)?),
            Self::Freeze => Ok(cluster.resume(node)?),
            Self::Drain => {
                cluster.admin(node)?.drain_node(true).await?;
                cluster.ended(node);
                Ok(())
            }
        }
    }

    /// What another node's status does not say of it.
    fn untold_by(self, status: &GetClusterStatusResponse, before: &Before) -> Option<String> {
        let id = before.id;
        let Some(node) = status.nodes.iter().find(|node| node.node_id == id) else {
            return Some("the node is not shown".to_owned());
        };
        let reason = match self {
            Self::Kill | Self::Freeze => format!("node {id} at {} does not answer", node.peer_address),
            Self::Drain => format!("node {id}: draining"),
        };
        let (change, by_it) = match self {
            Self::Kill | Self::Freeze => ("took-over", false),
            Self::Drain => ("handed-over", true),
        };
        let happened = status.events.iter().any(|event| {
            let its_own = event.node_id == id;
            event.kind == change && its_own == by_it && event.at_ms >= before.at_ms
        });
        let leaderless = status.shards.iter().any(|shard| shard.leader_node_id == 0);
        let said = [
            (status.health() == Health::Degraded, "health is not degraded"),
            (node.reachable == (self == Self::Drain), "who answers is wrong"),
            (status.reasons.contains(&reason), "it does not say why"),
            (node.leaders == 0, "the node is said to lead"),
            (!leaderless, "a shard has no leader"),
            (happened, "no event tells of a change of leaders"),
        ];
        said.into_iter()
            .find(|(is_told, _)| !is_told)
            .map(|(_, amiss)| amiss.to_owned())
    }

    /// What the metrics do not count.
    fn uncounted(self, before: &Before, now: &Counts) -> Option<String> {
        let grown = |then: u64, now: u64| now.saturating_sub(then) >= before.led;
        let then = &before.counts;
        let counted = match self {
            Self::Kill | Self::Freeze => [
                (now.leaders == before.shards, LEADERS),
                (grown(then.took_over, now.took_over), TOOK_OVER),
                (now.elections > then.elections, ELECTIONS),
                (now.connected == 0, CONNECTED),
            ],
            Self::Drain => [
                (now.leaders == before.shards, LEADERS),
                (grown(then.took_over, now.took_over), TOOK_OVER),
                (grown(then.handed_over, now.handed_over), HANDED_OVER),
                (now.leads_itself == 0, LEADERS),
            ],
        };
        let missing = counted.into_iter().find(|(is_counted, _)| !is_counted);
        missing.map(|(_, metric)| format!("the metrics do not show it: {metric}"))
    }
}

/// A node that leads its share, before something happens to it.
struct Before {
    node: usize,
    id: u64,
    /// By the wall clock, milliseconds since 1970.
    at_ms: i64,
    /// What it leads, the meta group too, and how many there are.
    led: u64,
    shards: u64,
    counts: Counts,
}

impl Before {
    async fn of(cluster: &Cluster, node: usize) -> Result<Self, RowError> {
        let status = cluster.status(node).await?;
        let address = cluster.grpc(node);
        let shown = status.nodes.iter().find(|shown| shown.grpc_address == address);
        let shown = shown.ok_or_else(|| RowError::because("a node is not in its own status"))?;
        if shown.leaders == 0 {
            return Err(RowError::because(
                "a node leads nothing although leaders are spread",
            ));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            node,
            id: shown.node_id,
            at_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            led: u64::from(shown.leaders),
            shards: status.shards.len() as u64,
            counts: Counts::of(cluster, node, shown.node_id, true).await?,
        })
    }
}

/// What metrics count.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Of the other nodes together.
    leaders: u64,
    elections: u64,
    took_over: u64,
    /// Of the other nodes so many have their links to the node.
    connected: u64,
    /// Of the node itself, where it is asked.
    leads_itself: u64,
    handed_over: u64,
}

impl Counts {
    async fn of(cluster: &Cluster, node: usize, id: u64, ask_itself: bool) -> Result<Self, RowError> {
        let mut counts = Self::default();
        let asked = others(cluster, node).map(|other| cluster.metrics(other));
        for page in join_all(asked).await {
            let page = page?;
            counts.leaders += sum(&page, LEADERS, "");
            counts.elections += sum(&page, ELECTIONS, "");
            counts.took_over += sum(&page, CHANGES, TOOK_OVER);
            counts.connected += sum(&page, CONNECTED, &format!("peer=\"{id}\""));
        }
        if ask_itself {
            let page = cluster.metrics(node).await?;
            counts.leads_itself = sum(&page, LEADERS, "");
            counts.handed_over = sum(&page, CHANGES, HANDED_OVER);
        }
        Ok(counts)
    }
}

fn others(cluster: &Cluster, node: usize) -> impl Iterator<Item = usize> + use<> {
    (0..cluster.nodes()).filter(move |other| *other != node)
}

/// The sum of a metric over all its labels that hold this text.
fn sum(page: &str, name: &str, label: &str) -> u64 {
    let of_line = |line: &str| -> Option<u64> {
        let (described, value) = line.trim_end().rsplit_once(' ')?;
        let labels = described.strip_prefix(name)?;
        let is_it = labels.is_empty() || labels.starts_with('{');
        let value = value.parse().ok()?;
        (is_it && labels.contains(label)).then_some(value)
    };
    page.lines().filter_map(of_line).sum()
}

/// Looks until nothing is amiss; what still is in the end.
async fn until_fine<'a, F, L>(cluster: &'a Cluster, look: F) -> Result<Option<String>, RowError>
where
    F: Fn(&'a Cluster) -> L,
    L: Future<Output = Result<Option<String>, RowError>>,
{
    let until = Instant::now() + LOOK_LIMIT;
    loop {
        let amiss = look(cluster).await?;
        if amiss.is_none() || Instant::now() >= until {
            return Ok(amiss);
        }
        sleep(POLL).await;
    }
}

/// What the other nodes do not tell, or their metrics do not count.
async fn untold(cluster: &Cluster, fault: Fault, before: &Before) -> Result<Option<String>, RowError> {
    let others: Vec<usize> = others(cluster, before.node).collect();
    let asked = others.iter().map(|other| cluster.status(*other));
    // All at once: beside a frozen node each answer takes its time.
    for (other, answer) in others.iter().zip(join_all(asked).await) {
        let said = match answer {
            Ok(status) => fault.untold_by(&status, before),
            Err(error) => Some(error.to_string()),
        };
        if let Some(amiss) = said {
            return Ok(Some(format!("status of node {}: {amiss}", other + 1)));
        }
    }
    let itself = fault == Fault::Drain;
    if itself && cluster.admin(before.node)?.node_status().await?.state != "draining" {
        return Ok(Some("the node itself does not say that it drains".to_owned()));
    }
    let now = Counts::of(cluster, before.node, before.id, itself).await?;
    Ok(fault.uncounted(before, &now))
}

/// What is not as it was.
async fn unwell(cluster: &Cluster, before: &Before) -> Result<Option<String>, RowError> {
    let asked = (0..cluster.nodes()).map(|node| cluster.status(node));
    for (answer, number) in join_all(asked).await.into_iter().zip(1_u32..) {
        let status = answer?;
        let all_answer = status.nodes.iter().all(|shown| shown.reachable);
        if status.health() != Health::Healthy || !status.reasons.is_empty() || !all_answer {
            let reasons = status.reasons.join("; ");
            return Ok(Some(format!("node {number} still says: {reasons}")));
        }
    }
    if cluster.admin(before.node)?.node_status().await?.state != "running" {
        return Ok(Some("the node does not say that it runs".to_owned()));
    }
    let now = Counts::of(cluster, before.node, before.id, true).await?;
    let others = cluster.nodes() as u64 - 1;
    if now.connected != others || now.leaders + now.leads_itself != before.shards || now.leads_itself == 0 {
        return Ok(Some("the metrics do not show it back".to_owned()));
    }
    Ok(None)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_metric_with_the_label_are_summed() {
        let page = "HTTP/1.1 200 OK\r\n\r\n# HELP spine_shard_leaders Groups this node leads.\n\
                    spine_shard_leaders 3\nspine_shard_leaders_more 5\n\
                    spine_peer_connected{peer=\"1\"} 1\nspine_peer_connected{peer=\"11\"} 1\n\
                    spine_x_total{change=\"took-over\",reason=\"given\"} 2\n\
                    spine_x_total{change=\"took-over\",reason=\"dead_leader\"} 4\n";
        assert_eq!(sum(page, LEADERS, ""), 3);
        assert_eq!(sum(page, CONNECTED, "peer=\"1\""), 1);
        assert_eq!(sum(page, "spine_x_total", TOOK_OVER), 6);
        assert_eq!(sum(page, "spine_x_total", HANDED_OVER), 0);
    }
}
