//! Streams of calls: not offered, or never read.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use spine_proto::calls::v1::calls_service_server::CallsService;
use spine_proto::calls::v1::{AnswerBatch, CallBatch};
use tonic::{Request, Response, Status, Streaming};

use super::Seat;

#[tonic::async_trait]
impl CallsService for Seat {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<AnswerBatch, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<CallBatch>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        if !self.fake.store.lock().is_deaf {
            return Err(Status::unimplemented("an older release"));
        }
        let unread = request.into_inner();
        let never = futures_util::stream::pending().map(move |answer: Result<AnswerBatch, Status>| {
            let _ = &unread;
            answer
        });
        Ok(Response::new(Box::pin(never)))
    }
}
