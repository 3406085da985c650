//! `spine.records.v1`.

use std::pin::Pin;

use futures_util::Stream;
use spine_proto::records::v1 as pb;
use tonic::{Request, Response, Status};

use super::edge::Edge;

/// The record store.
pub struct Records(pub Edge);

#[tonic::async_trait]
impl pb::records_service_server::RecordsService for Records {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        self.0.unary("records.get", request).await
    }
    async fn list(&self, request: Request<pb::ListRequest>) -> Result<Response<pb::ListResponse>, Status> {
        self.0.unary("records.list", request).await
    }
    async fn open_session(
        &self,
        request: Request<pb::OpenSessionRequest>,
    ) -> Result<Response<pb::OpenSessionResponse>, Status> {
        self.0.open_session(&request)
    }
    async fn commit(
        &self,
        request: Request<pb::CommitRequest>,
    ) -> Result<Response<pb::CommitResponse>, Status> {
        self.0.unary("records.commit", request).await
    }
    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watching = self.0.watch(&request).await?;
        Ok(Response::new(Box::pin(watching.into_stream())))
    }
}
