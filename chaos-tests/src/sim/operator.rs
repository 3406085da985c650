//! The operator's host: makes the cluster, carries out orders, and asks the last questions.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use spine_client::{Admin, Key, SpineClient};
use tokio::time::{sleep, timeout};

use super::faults::Order;
use super::net::Wires;
use crate::checkers::durability::Replica;
use crate::history::Recorder;
use crate::oracle::Oracle;
use crate::processes::read_replica;

/// Pause between two tries of anything.
const PAUSE: Duration = Duration::from_millis(20);
/// One administrative call.
const ADMIN_DEADLINE: Duration = Duration::from_secs(2);
/// Fresh writes and reads that must succeed after the faults, as many as cover every shard.
const PROBES: u32 = 12;
/// Each of them within this.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// What the run tells the operator, and the other way round. One thread, no locks.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) orders: VecDeque<Order>,
    pub(super) initialised: bool,
    /// Set when faults are over.
    pub(super) probe: bool,
    pub(super) probed: Option<Result<u32, String>>,
    /// Nodes that were given up: what they have says nothing.
    pub(super) gone: Vec<usize>,
    /// Set when all replicas stand still.
    pub(super) read: bool,
    pub(super) replicas: Option<Result<Vec<Replica>, String>>,
    pub(super) compacted: u32,
}

/// Addresses of the simulated cluster.
#[derive(Clone)]
pub(super) struct Addresses {
    pub(super) grpc: Vec<String>,
    pub(super) peer: Vec<String>,
}

/// A client over the simulated network, for the host that has this address.
pub(super) fn client(
    addresses: &Addresses,
    wires: &Wires,
    own: IpAddr,
    seed: u64,
    deadline: Duration,
) -> Result<SpineClient, spine_client::Error> {
    let wires = wires.clone();
    let connect = tower::service_fn(move |uri: http::Uri| {
        let wires = wires.clone();
        async move {
            let authority = uri.authority().map_or("", http::uri::Authority::as_str);
            wires.connect(own, authority).await.map(TokioIo::new)
        }
    });
    SpineClient::builder()
        .endpoints(addresses.grpc.clone())
        .principal("chaos")
        .seed(seed)
        .deadline(deadline)
        .connector(connect)
        .connect()
}

/// Runs until the simulation ends.
pub(super) async fn run(
    desk: Rc<RefCell<Desk>>,
    addresses: Addresses,
    client: SpineClient,
    shards: u32,
    recorder: Recorder,
) -> turmoil::Result {
    initialise(&addresses, &client, shards).await?;
    desk.borrow_mut().initialised = true;
    let mut answers = 0;
    loop {
        let order = desk.borrow_mut().orders.pop_front();
        match order {
            Some(Order::Compact(node)) => {
                let done = compact(&admin(&client, &addresses, node)?, shards).await;
                desk.borrow_mut().compacted += done;
                continue;
            }
            // Who is late when all is over only puts things right.
            Some(Order::Members(order)) if desk.borrow().probe && !order.puts_right() => continue,
            Some(Order::Members(order)) => {
                order.carry_out(&client, &addresses, &mut answers).await?;
                continue;
            }
            None => {}
        }
        let (probe, read) = {
            let desk = desk.borrow();
            (
                desk.probe && desk.probed.is_none(),
                desk.read && desk.replicas.is_none(),
            )
        };
        if probe {
            let probed = probe_all(&client).await;
            desk.borrow_mut().probed = Some(probed);
        }
        if read {
            let gone = desk.borrow().gone.clone();
            let oracle = Oracle::of(&recorder.operations());
            let replicas = replicas(&client, &addresses, &gone, &oracle).await;
            desk.borrow_mut().replicas = Some(replicas);
        }
        sleep(PAUSE).await;
    }
}

pub(super) fn admin(
    client: &SpineClient,
    addresses: &Addresses,
    node: usize,
) -> Result<Admin, spine_client::Error> {
    Ok(client.admin(&addresses.grpc[node])?.with_deadline(ADMIN_DEADLINE))
}

async fn initialise(
    addresses: &Addresses,
    client: &SpineClient,
    shards: u32,
) -> Result<(), spine_client::Error> {
    let replicas = if addresses.peer.len() == 1 { 1 } else { 3 };
    loop {
        let admin = admin(client, addresses, 0)?;
        if admin
            .init_cluster(addresses.peer.clone(), shards, replicas)
            .await
            .is_ok()
        {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}

async fn compact(admin: &Admin, shards: u32) -> u32 {
    let mut done = 0;
    for shard in 0..=shards {
        // A node that is down by now is no fault of the run.
        done += u32::from(admin.compact_replica(shard).await.is_ok());
    }
    done
}

async fn probe_all(client: &SpineClient) -> Result<u32, String> {
    let records = client.records();
    for number in 0..PROBES {
        let key = Key::new(format!("probe-{number}"), "");
        let both = async {
            let put = records.put(&key, "alive").await?;
            let found = records.get(&key).await?;
            Ok::<_, spine_client::Error>(found.record.is_some_and(|record| record.revision == put.revision))
        };
        match timeout(PROBE_TIME, both).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Err(format!("probe {number} did not read what it had written")),
            Ok(Err(error)) => return Err(format!("probe {number}: {error}")),
            Err(_) => {
                return Err(format!(
                    "probe {number} had no answer in {} s",
                    PROBE_TIME.as_secs()
                ));
            }
        }
    }
    Ok(PROBES)
}

async fn replicas(
    client: &SpineClient,
    addresses: &Addresses,
    gone: &[usize],
    oracle: &Oracle,
) -> Result<Vec<Replica>, String> {
    let mut all = Vec::new();
    for node in 0..addresses.grpc.len() {
        let admin = admin(client, addresses, node).map_err(|error| error.to_string())?;
        if gone.contains(&node) {
            continue;
        }
        let replica = read_replica(&admin, &format!("n{}", node + 1), oracle).await;
        all.push(replica.map_err(|error| format!("read replicas of n{}: {error}", node + 1))?);
    }
    Ok(all)
}
