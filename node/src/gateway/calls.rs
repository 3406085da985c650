//! `spine.calls.v1`: many calls over one stream.
//!
//! The calls of one stream run side by side in one task: what is ready together is answered together. A stream is
//! read however many of its calls are under way, for a call that is not looked at can be neither served nor refused;
//! how many a node takes on is decided in `admission.rs`, and the others are answered at once.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use prost::Message as _;
use spine_proto::calls::v1 as pb;
use spine_services::{Principal, SpineError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::edge::{DEADLINE_DEFAULT, Edge};
use super::status::to_status;
use crate::dispatch::call::Answer;

/// Bytes of answers in one batch, beyond its last answer.
const BATCH_BYTES: usize = 64 * 1024;
/// Batches of answers that wait for a client which reads slowly; then its calls wait, too.
const BATCHES_WAITING_MAX: usize = 4;

/// Calls over streams.
pub struct Calls(pub Edge);

#[tonic::async_trait]
impl pb::calls_service_server::CallsService for Calls {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<pb::AnswerBatch, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<pb::CallBatch>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let principal = self
            .0
            .principal(request.metadata())
            .map_err(|error| to_status(&error))?;
        let (answers, stream) = mpsc::channel(BATCHES_WAITING_MAX);
        let exchange = Exchange {
            edge: self.0.clone(),
            principal,
            answers,
        };
        let draining = self.0.draining.clone();
        tokio::spawn(exchange.run(request.into_inner(), draining));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

struct Exchange {
    edge: Edge,
    principal: Arc<Principal>,
    answers: mpsc::Sender<Result<pb::AnswerBatch, Status>>,
}

impl Exchange {
    /// Ends when the client has sent its last call or the node drains, and every call that was read is answered.
    async fn run(self, mut calls: Streaming<pb::CallBatch>, draining: CancellationToken) {
        let mut running = FuturesUnordered::new();
        let mut reading = true;
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled(), if reading => reading = false,
                Some(answer) = running.next() => {
                    let mut batch = Batch::of(answer);
                    while batch.has_room() && let Some(Some(answer)) = running.next().now_or_never() {
                        batch.push(answer);
                    }
                    if self.answers.send(Ok(batch.message)).await.is_err() {
                        return;
                    }
                }
                next = calls.message(), if reading => match next {
                    Ok(Some(batch)) => running.extend(batch.calls.into_iter().map(|call| self.one(call))),
                    Ok(None) => reading = false,
                    // The client is gone, or sends what is no batch: nobody waits for answers any more.
                    Err(_) => return,
                },
                else => break,
            }
        }
        let last = pb::AnswerBatch {
            complete: true,
            ..pb::AnswerBatch::default()
        };
        // The client may be gone.
        let _ = self.answers.send(Ok(last)).await;
    }

    async fn one(&self, call: pb::Call) -> pb::Answer {
        let pb::Call {
            id,
            operation,
            request,
            deadline_ms,
            settle,
        } = call;
        let deadline = match deadline_ms {
            0 => DEADLINE_DEFAULT,
            asked => Duration::from_millis(u64::from(asked)),
        };
        let deadline = Instant::now() + deadline.min(self.edge.deadline_max);
        let result = self
            .edge
            .call(&operation, request, &self.principal, deadline, settle)
            .await;
        answer(id, result)
    }
}

fn answer(id: u64, result: Result<Answer, SpineError>) -> pb::Answer {
    let (outcome, leader_address) = match result {
        Ok(answer) => (
            pb::answer::Outcome::Response(answer.body),
            answer.leader_address.unwrap_or_default(),
        ),
        Err(error) => {
            let failure = pb::Failure {
                code: error.grpc_code(),
                detail: error.to_detail().encode_to_vec().into(),
                message: error.message,
            };
            (pb::answer::Outcome::Failure(failure), String::new())
        }
    };
    pb::Answer {
        id,
        outcome: Some(outcome),
        leader_address,
    }
}

/// Answers that go out together.
struct Batch {
    message: pb::AnswerBatch,
    bytes: usize,
}

impl Batch {
    fn of(first: pb::Answer) -> Self {
        let mut batch = Self {
            message: pb::AnswerBatch::default(),
            bytes: 0,
        };
        batch.push(first);
        batch
    }

    fn push(&mut self, answer: pb::Answer) {
        self.bytes += answer.encoded_len();
        self.message.answers.push(answer);
    }

    fn has_room(&self) -> bool {
        self.bytes < BATCH_BYTES
    }
}
