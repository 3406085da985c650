//! A proxy for each link of a cluster, known before the nodes start.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use spine_client::local_cluster::{Plan, free_ports};

use crate::proxy::{Mesh, MeshPlan};

/// Starts the proxies and tells the plan of the nodes: their ports, what each dials instead of its peers, and
/// where it tells clients that it is. Membership keeps the true addresses.
pub(super) async fn put_between(plan: &mut Plan, seed: u64) -> io::Result<Mesh> {
    let nodes = plan.nodes;
    let free = free_ports(nodes * 3 + nodes * nodes)?;
    let (own, proxies) = free.split_at(nodes * 3);
    plan.ports = own
        .chunks_exact(3)
        .map(|three| [three[0], three[1], three[2]])
        .collect();
    let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mesh = Mesh::start(&MeshPlan {
        seed,
        peers: plan.ports.iter().map(|[_, peer, _]| address(*peer)).collect(),
        grpc: plan.ports.iter().map(|[grpc, ..]| address(*grpc)).collect(),
        ports: proxies.to_vec(),
    })
    .await?;
    plan.node_settings = (0..nodes)
        .map(|node| {
            vec![
                format!("listen.advertise_grpc={}", mesh.front(node).address()),
                format!("development.dial={}", mesh.dial_map(node).join(",")),
            ]
        })
        .collect();
    Ok(mesh)
}
