//! `spinectl bench`: callers against a cluster, and against another store beside it.

#[cfg(feature = "bench-etcd")]
mod compare;
#[cfg(feature = "bench-etcd")]
mod etcd;
mod measure;
mod measured;
mod report;
mod spine;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use spine_client::SpineClient;
use tokio::task::JoinSet;

#[cfg(feature = "bench-etcd")]
use crate::args::BenchCommand;
use crate::args::{Bench, Load};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, progress, talk};

use measure::{Pace, measure};
use report::Run;
use spine::SpineCaller;
use work::{Caller, Draw, Kind, kinds};

pub(crate) async fn run(context: &Context, arguments: Bench) -> Result<Exit, Failure> {
    match arguments.what {
        #[cfg(feature = "bench-etcd")]
        Some(BenchCommand::Compare(arguments)) => compare::run(context, &arguments).await,
        #[cfg(not(feature = "bench-etcd"))]
        Some(what) => match what {},
        None => one(context, &arguments.load).await,
    }
}

async fn one(context: &Context, load: &Load) -> Result<Exit, Failure> {
    if load.clients == 0 || load.seconds == 0 || load.keys == 0 {
        return Err(Failure::usage("clients, seconds and keys must be at least 1"));
    }
    #[cfg(feature = "bench-etcd")]
    if load.target == crate::args::Target::Etcd {
        return one_etcd(context, load).await;
    }
    let clients = (0..load.connections.max(1))
        .map(|_| context.client())
        .collect::<Result<Vec<SpineClient>, Failure>>()?;
    let callers = |number: u32| SpineCaller(clients[number as usize % clients.len()].clone());
    fill(callers, load).await?;
    let look = async || fsyncs(context, &clients[0]).await;
    let (measured, seconds, [before, after]) = measure(drawn(callers, load), pace(load), look).await?;
    let run = Run {
        arguments: load,
        measured,
        seconds,
        fsyncs: difference(before, after),
    };
    emit(context.format, &run.json(), || run.table())?;
    run.verdict()
}

#[cfg(feature = "bench-etcd")]
async fn one_etcd(context: &Context, load: &Load) -> Result<Exit, Failure> {
    if kinds(load.mix).iter().any(|kind| !etcd::EtcdCaller::knows(*kind)) {
        return Err(Failure::usage("etcd knows put, get, put-get and cas"));
    }
    let callers = etcd::callers(context.endpoints(), load.connections, context.timeout())?;
    fill(&callers, load).await?;
    let look = async || etcd::fsyncs(context.endpoints()).await;
    let (measured, seconds, [before, after]) = measure(drawn(&callers, load), pace(load), look).await?;
    let run = Run {
        arguments: load,
        measured,
        seconds,
        fsyncs: before
            .zip(after)
            .and_then(|(before, after)| after.checked_sub(before)),
    };
    emit(context.format, &run.json(), || run.table())?;
    run.verdict()
}

fn pace(load: &Load) -> Pace {
    Pace {
        warm_up: Duration::from_secs(load.warm_up),
        lasts: Duration::from_secs(load.seconds),
        rate: load.rate,
    }
}

/// Every caller with what it is going to do.
fn drawn<C>(callers: impl Fn(u32) -> C, load: &Load) -> Vec<(C, Draw)> {
    (0..u32::try_from(load.clients).unwrap_or(u32::MAX))
        .map(|number| {
            let draw = Draw::new(load.mix, load.keys, load.value_bytes, load.seed, number);
            (callers(number), draw)
        })
        .collect()
}

/// Stores every key once, so that what is measured finds something.
async fn fill<C: Caller + Prepare>(callers: impl Fn(u32) -> C, load: &Load) -> Result<(), Failure> {
    let kinds = kinds(load.mix);
    if load.filled || kinds == [Kind::Put] {
        return Ok(());
    }
    let patients = kinds
        .iter()
        .any(|kind| matches!(kind, Kind::Retrieve | Kind::Update));
    let bar = progress(u64::from(load.keys), "records");
    let mut tasks = JoinSet::new();
    for (number, (mut caller, mut draw)) in (0..).zip(drawn(callers, load)) {
        let (bar, keys, step) = (bar.clone(), load.keys, load.clients);
        tasks.spawn(async move {
            for key in (number..keys).step_by(step) {
                if patients {
                    caller.register(key).await?;
                } else {
                    caller.act(draw.work(Kind::Put, key)).await?;
                }
                bar.inc(1);
            }
            Ok::<_, String>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        let filled = ended.map_err(|error| Failure::generic(error.to_string()))?;
        filled.map_err(|reason| Failure::generic(format!("the store could not be filled: {reason}")))?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// A store that patients can be put into.
trait Prepare {
    /// Registers the patient of this key, unless it is there.
    ///
    /// # Errors
    /// A word for people.
    fn register(&mut self, key: u32) -> impl Future<Output = Result<(), String>> + Send;
}

/// Of each node that says; a node that is down syncs nothing.
async fn fsyncs(context: &Context, client: &SpineClient) -> Option<BTreeMap<u64, u64>> {
    let status = context
        .ask_any(client, |admin| async move { admin.cluster_status().await })
        .await
        .ok()?;
    let mut counts = BTreeMap::new();
    for node in &status.nodes {
        let admin = client
            .admin(&node.grpc_address)
            .ok()?
            .with_deadline(context.timeout());
        match admin.node_status().await {
            Ok(status) => drop(counts.insert(node.node_id, status.fsyncs)),
            Err(error) => talk(format_args!("{}: fsyncs unknown: {error}", node.grpc_address)),
        }
    }
    Some(counts)
}

/// Over the nodes that said both times; a node that restarted counts from 0 again and is left out.
fn difference(before: Option<BTreeMap<u64, u64>>, after: Option<BTreeMap<u64, u64>>) -> Option<u64> {
    let (before, after) = (before?, after?);
    let grown = before
        .iter()
        .filter_map(|(node, count)| after.get(node)?.checked_sub(*count));
    Some(grown.sum())
}
