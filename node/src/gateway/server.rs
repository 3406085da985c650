//! The gRPC server of a node: services, health, reflection, limits.

use std::sync::Arc;
use std::time::Duration;

use spine_consensus::net::Listener;
use spine_proto::admin::v1::admin_service_server::AdminServiceServer;
use spine_proto::calls::v1::calls_service_server::CallsServiceServer;
use spine_proto::pds::v1::pds_service_server::PdsServiceServer;
use spine_proto::records::v1::records_service_server::RecordsServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;

use super::admin::Admin;
use super::calls::Calls;
use super::edge::Edge;
use super::health::Health;
use super::io::incoming;
use super::pds::Pds;
use super::records::Records;

/// One encoded request: a record of 2 MiB and what goes with it, or a message of a load.
pub const REQUEST_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Calls at a time on one connection.
const CALLS_PER_CONNECTION_MAX: u32 = 512;
/// Calls of one connection that their caller takes back before the node has looked at them. A client that gives up many
/// calls at once is honest; one that does nothing else costs the node more than itself, and its connection is closed.
const TAKEN_BACK_MAX: usize = 128;
/// Header bytes of one call.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// A connection whose peer is silent is tested this often, and closed when it does not answer.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Serves until `stop` is cancelled, then finishes what is in flight.
///
/// # Errors
/// What tonic says.
pub async fn serve(
    listener: Box<dyn Listener>,
    connections_max: usize,
    edge: Edge,
    admin: Admin,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(spine_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let health = Health::new(Arc::clone(&admin.node), stop.clone());
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(Some(CALLS_PER_CONNECTION_MAX))
        .http2_max_pending_accept_reset_streams(Some(TAKEN_BACK_MAX))
        .http2_max_header_list_size(Some(HEADER_BYTES_MAX))
        .add_service(HealthServer::new(health))
        .add_service(reflection)
        .add_service(
            CallsServiceServer::new(Calls(edge.clone())).max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(
            RecordsServiceServer::new(Records(edge.clone())).max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(PdsServiceServer::new(Pds(edge)).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(AdminServiceServer::new(admin))
        .serve_with_incoming_shutdown(incoming(listener, connections_max), stop.cancelled_owned())
        .await?;
    Ok(())
}
