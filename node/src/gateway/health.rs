//! `grpc.health.v1`: the readiness of the node as load balancers ask for it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use spine_proto::admin::v1::admin_service_server::AdminServiceServer;
use spine_proto::pds::v1::pds_service_server::PdsServiceServer;
use spine_proto::records::v1::records_service_server::RecordsServiceServer;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::admin::Admin;
use super::pds::Pds;
use super::records::Records;
use crate::node::Inner;
use crate::readiness;

/// A watch of the health looks this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Answers from the node's state when it is asked; nothing runs while nobody asks.
#[derive(Clone)]
pub struct Health {
    node: Arc<Inner>,
    /// Ends watches.
    closing: CancellationToken,
}

impl Health {
    /// Of this node, until `closing`.
    #[must_use]
    pub fn new(node: Arc<Inner>, closing: CancellationToken) -> Self {
        Self { node, closing }
    }

    /// `None` for a service that nobody has heard of. Administration is served from the first moment to the last: a
    /// cluster begins by it.
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let is_ready = || readiness::checks(&self.node).iter().all(|check| check.ok);
        let serving = match service {
            AdminServiceServer::<Admin>::NAME => true,
            "" | RecordsServiceServer::<Records>::NAME | PdsServiceServer::<Pds>::NAME => is_ready(),
            _ => return None,
        };
        Some(if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        })
    }

    /// The status once it is another than `told`; `None` when the server stops.
    async fn news(&self, service: &str, told: Option<ServingStatus>) -> Option<ServingStatus> {
        loop {
            let now = self.status(service).unwrap_or(ServingStatus::ServiceUnknown);
            if told != Some(now) {
                return Some(now);
            }
            self.closing.run_until_cancelled(sleep(LOOK_EVERY)).await?;
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.status(&request.get_ref().service)
            .map(|status| Response::new(answer(status)))
            .ok_or_else(|| Status::not_found("no such service"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let begin = (self.clone(), request.into_inner().service, None);
        let changes = unfold(begin, |(health, service, told)| async move {
            let now = health.news(&service, told).await?;
            Some((Ok(answer(now)), (health, service, Some(now))))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
