//! `spinectl demo`: a cluster of its own, a load, a killed node, and the proof that nothing was
//! lost.

mod callers;
mod check;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use spine_client::local_cluster::{LocalCluster, Plan, find_node_binary};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::args::Demo;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, talk};

use callers::{Load, Tally};
use check::ReadBack;

/// From the first process to a healthy cluster.
const START_LIMIT: Duration = Duration::from_secs(60);
/// From the restart of a node to even replicas.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(context: &Context, arguments: Demo) -> Result<Exit, Failure> {
    // Dropping the demo on a signal drops its cluster, and with it processes and files.
    tokio::select! {
        outcome = play(context, &arguments) => outcome,
        name = interrupted() => Err(Failure::generic(format!("{name}: the demo was stopped and has cleaned up"))),
    }
}

async fn interrupted() -> &'static str {
    tokio::select! {
        () = wait_for(SignalKind::interrupt()) => "SIGINT",
        () = wait_for(SignalKind::terminate()) => "SIGTERM",
        () = wait_for(SignalKind::hangup()) => "SIGHUP",
    }
}

async fn wait_for(kind: SignalKind) {
    match signal(kind) {
        Ok(mut stream) => drop(stream.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// What happened, for the last lines.
struct Story {
    victim: usize,
    tally: Tally,
    read_back: ReadBack,
    nodes: usize,
    catch_up: Duration,
}

async fn play(context: &Context, arguments: &Demo) -> Result<Exit, Failure> {
    let plan = Plan {
        nodes: usize::from(arguments.nodes),
        ..Plan::new(node_binary(arguments)?)
    };
    let log = Log::new();
    log.say(&format!("starting {} nodes", plan.nodes));
    let mut cluster = LocalCluster::launch(plan, START_LIMIT).await?;
    for node in cluster.nodes() {
        let process = node.process_id().unwrap_or(0);
        log.say(&format!(
            "node {} serves gRPC at {} (process {process})",
            node.number(),
            node.grpc_address()
        ));
    }
    log.say("the cluster is initialised and healthy");
    let story = kill_one_under_load(&mut cluster, arguments, &log).await?;
    report(context, &story)
}

async fn kill_one_under_load(
    cluster: &mut LocalCluster,
    arguments: &Demo,
    log: &Log,
) -> Result<Story, Failure> {
    let phase = Duration::from_secs(arguments.seconds.max(3)) / 3;
    let load = Load::start(&cluster.client_builder().connect()?, arguments.clients.max(1));
    log.say(&format!("{} callers write and read", arguments.clients.max(1)));
    sleep(phase).await;

    let victim = busiest(cluster).await?;
    log.say(&format!(
        "SIGKILL to node {victim}, which leads the most shards; {} writes so far",
        load.writes()
    ));
    cluster.kill(victim)?;
    sleep(phase).await;

    log.say(&format!(
        "node {victim} starts again; {} writes so far",
        load.writes()
    ));
    let restarted = Instant::now();
    cluster.restart(victim)?;
    cluster.wait_started(victim, CATCH_UP_LIMIT).await?;
    sleep(phase).await;

    let tally = load.stop().await?;
    log.say(&format!(
        "load stopped: {} writes and {} reads succeeded",
        tally.writes.len(),
        tally.reads
    ));
    cluster.wait_caught_up(CATCH_UP_LIMIT).await?;
    let catch_up = restarted.elapsed();
    log.say(&format!(
        "node {victim} has caught up: every replica has applied the same"
    ));

    log.say("reading every acknowledged write back from every replica");
    let read_back = check::read_back(cluster, &tally.writes).await?;
    Ok(Story {
        victim,
        tally,
        read_back,
        nodes: cluster.nodes().len(),
        catch_up,
    })
}

/// The node that leads the most shards: the worst one to lose.
async fn busiest(cluster: &LocalCluster) -> Result<usize, Failure> {
    let admin = cluster.client().admin(cluster.nodes()[0].grpc_address())?;
    let status = admin.cluster_status().await?;
    let busiest = status.nodes.iter().max_by_key(|node| node.leaders);
    let number = busiest.and_then(|busiest| {
        cluster
            .nodes()
            .iter()
            .find(|node| node.grpc_address() == busiest.grpc_address)
            .map(|node| node.number())
    });
    number.ok_or_else(|| Failure::generic("the cluster does not say who leads"))
}

fn report(context: &Context, story: &Story) -> Result<Exit, Failure> {
    let Story { tally, read_back, .. } = story;
    let lost = read_back.lost.len();
    let json = json!({
        "nodes": story.nodes,
        "killed_node": story.victim,
        "writes_acknowledged": tally.writes.len(),
        "reads": tally.reads,
        "stale_reads": tally.stale_reads,
        "calls_failed": tally.failed,
        "longest_gap_ms": tally.longest.as_millis(),
        "replica_reads": read_back.reads,
        "writes_lost": lost,
        "catch_up_ms": story.catch_up.as_millis(),
    });
    emit(context.format, &json, || {
        let lines = [
            ("writes acknowledged", tally.writes.len().to_string()),
            (
                "read back from replicas",
                format!("{} ({} nodes)", read_back.reads, story.nodes),
            ),
            (
                "longest gap a client saw",
                format!("{} ms", tally.longest.as_millis()),
            ),
            ("calls failed", tally.failed.to_string()),
            ("stale reads", tally.stale_reads.to_string()),
            ("writes lost", lost.to_string()),
        ];
        lines.map(|(what, value)| format!("{what:<26}{value}")).join("\n")
    })?;
    for lost in read_back.lost.iter().take(10) {
        talk(format_args!("lost: {lost}"));
    }
    for error in &tally.errors {
        talk(format_args!("failed: {error}"));
    }
    let clean = lost == 0 && tally.failed == 0 && tally.stale_reads == 0 && !tally.writes.is_empty();
    Ok(if clean { Exit::Ok } else { Exit::Generic })
}

fn node_binary(arguments: &Demo) -> Result<PathBuf, Failure> {
    let found = arguments.node_binary.clone().or_else(find_node_binary);
    found.ok_or_else(|| {
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        Failure::usage(format!(
            "there is no spine-node beside spinectl: build it (cargo build{release} -p spine-node) or give --node-binary"
        ))
    })
}

/// Steps with their time.
struct Log {
    start: Instant,
}

impl Log {
    fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    fn say(&self, step: &str) {
        talk(format_args!(
            "{:>7.2} s  {step}",
            self.start.elapsed().as_secs_f64()
        ));
    }
}
