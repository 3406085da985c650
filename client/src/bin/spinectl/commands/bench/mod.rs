//! `spinectl bench`: a closed loop of callers, each with one call under way.

mod callers;
mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spine_client::SpineClient;

use crate::args::{Bench, Mix};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, progress, talk};

use callers::{Caller, Work};
use report::{Measured, Run};

pub(crate) async fn run(context: &Context, arguments: Bench) -> Result<Exit, Failure> {
    if arguments.clients == 0 || arguments.seconds == 0 || arguments.keys == 0 {
        return Err(Failure::usage("clients, seconds and keys must be at least 1"));
    }
    let clients = (0..arguments.connections.max(1))
        .map(|_| context.client())
        .collect::<Result<Vec<SpineClient>, Failure>>()?;
    if arguments.mix != Mix::Put {
        fill(&clients, &arguments).await?;
    }
    let before = fsyncs(context, &clients[0]).await;
    let (measured, seconds) = measure(&clients, &arguments).await?;
    let after = fsyncs(context, &clients[0]).await;
    let run = Run {
        arguments: &arguments,
        measured,
        seconds,
        fsyncs: difference(before, after),
    };
    emit(context.format, &run.json(), || run.table())?;
    run.verdict()
}

/// Writes every key once, so that reads find something.
async fn fill(clients: &[SpineClient], arguments: &Bench) -> Result<(), Failure> {
    let bar = progress(u64::from(arguments.keys), "records");
    let mut tasks = tokio::task::JoinSet::new();
    let callers = u32::try_from(arguments.clients).unwrap_or(u32::MAX);
    for number in 0..callers {
        let mut caller = Caller::new(clients, number, arguments);
        let (bar, keys) = (bar.clone(), arguments.keys);
        tasks.spawn(async move {
            for key in (number..keys).step_by(callers as usize) {
                caller.put(key).await?;
                bar.inc(1);
            }
            Ok::<_, spine_client::Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Failure::generic(error.to_string()))??;
    }
    bar.finish_and_clear();
    Ok(())
}

async fn measure(clients: &[SpineClient], arguments: &Bench) -> Result<(Measured, f64), Failure> {
    let bar = progress(arguments.seconds, "seconds");
    let start = Instant::now();
    let until = start + Duration::from_secs(arguments.seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..u32::try_from(arguments.clients).unwrap_or(u32::MAX) {
        let mut caller = Caller::new(clients, number, arguments);
        let mix = arguments.mix;
        tasks.spawn(async move {
            let mut measured = Measured::new();
            while Instant::now() < until {
                let work = caller.next_work(mix);
                let begun = Instant::now();
                let outcome = caller.act(work).await;
                measured.record(matches!(work, Work::Put(_)), begun.elapsed(), outcome);
            }
            measured
        });
    }
    let mut all = Measured::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(measured) => all.add(&measured.map_err(|error| Failure::generic(error.to_string()))?),
                None => break,
            },
            _ = tick.tick() => bar.set_position(start.elapsed().as_secs()),
        }
    }
    bar.finish_and_clear();
    Ok((all, start.elapsed().as_secs_f64()))
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
