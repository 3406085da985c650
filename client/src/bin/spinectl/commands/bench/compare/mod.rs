//! `spinectl bench compare`: Spine and etcd under the same callers, in turns, on clusters of their own.

mod machine;
mod rows;
mod sample;

use std::time::Duration;

use serde_json::{Value, json};
use spine_client::etcd::{EtcdCluster, program};
use spine_client::local_cluster::{LocalCluster, Plan, find_node_binary};

use super::measure::measure;
use super::work::Caller;
use super::{Prepare, drawn, etcd, fill, pace};
use crate::args::{Compare, Target};
use crate::commands::bench::spine::SpineCaller;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, table, talk};

use rows::{Better, ROWS, Route, Row};
use sample::{Sample, Used, round};

/// From the first process to a cluster that serves.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Of one call, with all its tries.
const DEADLINE: Duration = Duration::from_secs(10);

/// Both sides of one row.
#[derive(Default)]
struct Both {
    spine: Vec<Sample>,
    etcd: Vec<Sample>,
}

pub(crate) async fn run(context: &Context, arguments: &Compare) -> Result<Exit, Failure> {
    let etcd = program()
        .ok_or_else(|| Failure::generic("etcd is not on the PATH (Debian: apt-get install etcd-server)"))?;
    let node = arguments
        .node_binary
        .clone()
        .or_else(find_node_binary)
        .ok_or_else(|| Failure::usage("no spine-node beside spinectl: name one with --node-binary"))?;
    let rows = chosen(&arguments.only)?;
    let mut both: Vec<Both> = rows.iter().map(|_| Both::default()).collect();
    for repetition in 0..arguments.repetitions.max(1) {
        let seed = u64::from(repetition) + 1;
        // Whoever comes second finds a warmer machine: so each does as often.
        let order = if repetition % 2 == 0 {
            [Target::Spine, Target::Etcd]
        } else {
            [Target::Etcd, Target::Spine]
        };
        for target in order {
            talk(format_args!("repetition {seed}: {target:?}"));
            let plan = Plan {
                settings: arguments.set.clone(),
                ..Plan::new(&node)
            };
            let samples = match target {
                Target::Spine => of_spine(plan, &rows, arguments, seed).await?,
                Target::Etcd => of_etcd(etcd.clone(), &rows, arguments, seed).await?,
            };
            for (both, sample) in both.iter_mut().zip(samples) {
                match target {
                    Target::Spine => both.spine.push(sample),
                    Target::Etcd => both.etcd.push(sample),
                }
            }
        }
    }
    tell(context, arguments, &rows, &both)
}

fn chosen(only: &[String]) -> Result<Vec<&'static Row>, Failure> {
    if let Some(unknown) = only.iter().find(|id| ROWS.iter().all(|row| row.id != *id)) {
        let known: Vec<_> = ROWS.iter().map(|row| row.id).collect();
        return Err(Failure::usage(format!(
            "no row {unknown}; there are {}",
            known.join(", ")
        )));
    }
    let wanted = |row: &&Row| only.is_empty() || only.iter().any(|id| row.id == id);
    Ok(ROWS.iter().filter(wanted).collect())
}

/// Every row on a fresh cluster of three.
async fn of_spine(plan: Plan, rows: &[&Row], arguments: &Compare, seed: u64) -> Result<Vec<Sample>, Failure> {
    let cluster = LocalCluster::launch(plan, START_LIMIT).await?;
    let smart = cluster.client_builder().deadline(DEADLINE).connect()?;
    let any = cluster
        .client_builder()
        .deadline(DEADLINE)
        .follow_leaders(false)
        .connect()?;
    let mut samples = Vec::new();
    let look = async || Used {
        cpu_us: machine::cpu_us(cluster.nodes().iter().filter_map(|node| node.process_id())),
        fsyncs: spine_fsyncs(&cluster).await,
    };
    for row in rows {
        let callers = |_| {
            SpineCaller(match row.route {
                Route::Leader => smart.clone(),
                Route::Any => any.clone(),
            })
        };
        samples.push(of_row(row, arguments, seed, Target::Spine, callers, &look).await?);
    }
    Ok(samples)
}

async fn spine_fsyncs(cluster: &LocalCluster) -> Option<u64> {
    let mut all = 0;
    for node in cluster.nodes() {
        let admin = cluster.client().admin(node.grpc_address()).ok()?;
        all += admin.node_status().await.ok()?.fsyncs;
    }
    Some(all)
}

/// Every row on a fresh cluster of three.
async fn of_etcd(
    program: std::path::PathBuf,
    rows: &[&Row],
    arguments: &Compare,
    seed: u64,
) -> Result<Vec<Sample>, Failure> {
    let cluster = EtcdCluster::start(program, START_LIMIT).await?;
    let (leader, _) = cluster.leader(START_LIMIT).await?;
    let endpoints = cluster.endpoints();
    let connections = rows
        .first()
        .map_or(1, |row| row.load(1, 1, 1, Target::Etcd).connections);
    let any = etcd::callers(&endpoints, connections, DEADLINE)?;
    // All begin at the leader.
    let mut led = endpoints.clone();
    led.rotate_left(leader);
    let smart = etcd::callers_at_first(&led, connections, DEADLINE)?;
    let mut samples = Vec::new();
    let look = async || Used {
        cpu_us: machine::cpu_us(cluster.process_ids()),
        fsyncs: etcd::fsyncs(&endpoints).await,
    };
    for row in rows {
        let callers = |number| match row.route {
            Route::Leader => smart(number),
            Route::Any => any(number),
        };
        samples.push(of_row(row, arguments, seed, Target::Etcd, callers, &look).await?);
    }
    Ok(samples)
}

async fn of_row<C: Caller + Prepare>(
    row: &Row,
    arguments: &Compare,
    seed: u64,
    target: Target,
    callers: impl Fn(u32) -> C,
    look: &impl AsyncFn() -> Used,
) -> Result<Sample, Failure> {
    let load = row.load(arguments.keys, arguments.seconds, seed, target);
    fill(&callers, &load).await?;
    let (measured, seconds, used) = measure(drawn(&callers, &load), pace(&load), look).await?;
    if measured.wrote()
        && used[0]
            .fsyncs
            .zip(used[1].fsyncs)
            .is_none_or(|(before, after)| before == after)
    {
        return Err(Failure::generic(format!(
            "{}: writes without an fsync are no result",
            row.id
        )));
    }
    Ok(Sample::new(&measured, seconds, used))
}

/// What the medians say of one row.
struct Verdict {
    spine: Sample,
    etcd: Sample,
    ratio: f64,
    pass: bool,
}

fn judge(row: &Row, both: &Both) -> Verdict {
    let (spine, etcd) = (Sample::median(&both.spine), Sample::median(&both.etcd));
    let ratio = match row.better {
        Better::Throughput => spine.ops_per_second / etcd.ops_per_second.max(f64::MIN_POSITIVE),
        Better::Latency => etcd.p50_us / spine.p50_us.max(1.0),
    };
    let fast = row.target.is_none_or(|target| ratio >= target);
    // More at a higher latency would only be a longer queue.
    let soon = row.target.is_none() || row.better == Better::Latency || spine.p99_us < etcd.p99_us;
    Verdict {
        pass: fast && soon && spine.errors == 0,
        spine,
        etcd,
        ratio,
    }
}

fn tell(context: &Context, arguments: &Compare, rows: &[&Row], both: &[Both]) -> Result<Exit, Failure> {
    let judged: Vec<(&&Row, Verdict)> = rows
        .iter()
        .zip(both)
        .map(|(row, both)| (row, judge(row, both)))
        .collect();
    let json = json!({
        "machine": machine::describe(),
        "commit": machine::commit(),
        "repetitions": arguments.repetitions,
        "rows": judged.iter().map(|(row, verdict)| row_json(row, verdict)).collect::<Vec<_>>(),
    });
    emit(context.format, &json, || {
        let lines = judged.iter().map(|(row, verdict)| row_line(row, verdict));
        table(
            [
                "ROW", "SPINE/S", "P99", "CPU/OP", "ETCD/S", "P99", "CPU/OP", "RATIO", "TARGET", "",
            ],
            lines,
        )
    })?;
    let all = judged.iter().all(|(_, verdict)| verdict.pass);
    Ok(if all { Exit::Ok } else { Exit::Generic })
}

fn row_json(row: &Row, verdict: &Verdict) -> Value {
    json!({
        "id": row.id,
        "work": row.work(),
        "value_bytes": row.value_bytes,
        "clients": row.clients,
        "route": match row.route { Route::Leader => "leader", Route::Any => "any" },
        "ratio_of": match row.better { Better::Throughput => "ops_per_second", Better::Latency => "p50_us" },
        "spine": verdict.spine.json(),
        "etcd": verdict.etcd.json(),
        "ratio": round(verdict.ratio),
        "target": row.target.map(round),
        "pass": verdict.pass,
    })
}

fn row_line(row: &Row, verdict: &Verdict) -> [String; 10] {
    let side = |sample: &Sample| {
        let json = sample.json();
        [
            format!("{:.0}", sample.ops_per_second),
            format!("{:.1} ms", sample.p99_us / 1_000.0),
            format!("{} us", json["cpu_us_per_op"].as_f64().unwrap_or(0.0).round()),
        ]
    };
    let [spine, spine_p99, spine_cpu] = side(&verdict.spine);
    let [etcd, etcd_p99, etcd_cpu] = side(&verdict.etcd);
    [
        row.id.to_owned(),
        spine,
        spine_p99,
        spine_cpu,
        etcd,
        etcd_p99,
        etcd_cpu,
        format!("{:.2}", verdict.ratio),
        row.target
            .map_or_else(|| "-".to_owned(), |target| format!("{target:.2}")),
        if verdict.pass { "ok" } else { "below" }.to_owned(),
    ]
}
