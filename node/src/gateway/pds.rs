//! `spine.pds.v1`.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::{once, unfold};
use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use spine_proto::pds::v1 as pb;
use spine_services::Principal;
use spine_services::organisations::load;
use spine_services::{ErrorKind, SpineError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::edge::{DEADLINE_DEFAULT, Edge, deadline_of};
use super::patient_feed::PatientFeed;
use super::status::to_status;

/// Lines in one message of a load.
pub const LOAD_LINES_MAX: usize = 2_048;
/// Organisations in one request.
pub const ORGANISATIONS_MAX: usize = 1_000;
/// Answers a client may leave unread before the load waits for it.
const LOAD_ANSWERS_WAITING_MAX: usize = 4;

/// Demographics.
pub struct Pds(pub Edge);

#[tonic::async_trait]
impl pb::pds_service_server::PdsService for Pds {
    type LoadStream = Pin<Box<dyn Stream<Item = Result<pb::LoadResponse, Status>> + Send>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        self.0.unary("pds.register", request).await
    }
    async fn retrieve(
        &self,
        request: Request<pb::RetrieveRequest>,
    ) -> Result<Response<pb::RetrieveResponse>, Status> {
        self.0.unary("pds.retrieve", request).await
    }
    async fn update(
        &self,
        request: Request<pb::UpdateRequest>,
    ) -> Result<Response<pb::UpdateResponse>, Status> {
        self.0.unary("pds.update", request).await
    }
    async fn patch(&self, request: Request<pb::PatchRequest>) -> Result<Response<pb::PatchResponse>, Status> {
        self.0.unary("pds.patch", request).await
    }
    async fn search(
        &self,
        request: Request<pb::SearchRequest>,
    ) -> Result<Response<pb::SearchResponse>, Status> {
        let answer = async {
            let principal = self.0.principal(request.metadata())?;
            let deadline = Instant::now() + deadline_of(request.metadata()).min(self.0.deadline_max);
            self.0.search(request.get_ref(), &principal, deadline).await
        };
        answer.await.map(Response::new).map_err(|error| to_status(&error))
    }
    async fn history(
        &self,
        request: Request<pb::HistoryRequest>,
    ) -> Result<Response<pb::HistoryResponse>, Status> {
        self.0.unary("pds.history", request).await
    }
    async fn allocate(
        &self,
        request: Request<pb::AllocateRequest>,
    ) -> Result<Response<pb::AllocateResponse>, Status> {
        let answer = async {
            let principal = self.0.principal(request.metadata())?;
            let deadline = Instant::now() + deadline_of(request.metadata()).min(self.0.deadline_max);
            self.0.allocate(request.get_ref(), &principal, deadline).await
        };
        answer.await.map(Response::new).map_err(|error| to_status(&error))
    }
    async fn merge(&self, request: Request<pb::MergeRequest>) -> Result<Response<pb::MergeResponse>, Status> {
        let answer = async {
            let principal = self.0.principal(request.metadata())?;
            let deadline = Instant::now() + deadline_of(request.metadata()).min(self.0.deadline_max);
            self.0.merge(request.get_ref(), &principal, deadline).await
        };
        answer.await.map(Response::new).map_err(|error| to_status(&error))
    }
    async fn invalidate(
        &self,
        request: Request<pb::InvalidateRequest>,
    ) -> Result<Response<pb::InvalidateResponse>, Status> {
        self.0.unary("pds.invalidate", request).await
    }
    async fn set_sensitivity(
        &self,
        request: Request<pb::SetSensitivityRequest>,
    ) -> Result<Response<pb::SetSensitivityResponse>, Status> {
        self.0.unary("pds.set_sensitivity", request).await
    }
    async fn notify_death(
        &self,
        request: Request<pb::NotifyDeathRequest>,
    ) -> Result<Response<pb::NotifyDeathResponse>, Status> {
        self.0.unary("pds.notify_death", request).await
    }
    async fn list_related(
        &self,
        request: Request<pb::ListRelatedRequest>,
    ) -> Result<Response<pb::ListRelatedResponse>, Status> {
        self.0.unary("pds.list_related", request).await
    }
    async fn put_related(
        &self,
        request: Request<pb::PutRelatedRequest>,
    ) -> Result<Response<pb::PutRelatedResponse>, Status> {
        self.0.unary("pds.put_related", request).await
    }

    async fn load_organisations(
        &self,
        request: Request<pb::LoadOrganisationsRequest>,
    ) -> Result<Response<pb::LoadOrganisationsResponse>, Status> {
        let told = async {
            let principal = self.0.principal(request.metadata())?;
            let deadline = Instant::now() + deadline_of(request.metadata()).min(self.0.deadline_max);
            tell_of_organisations(&self.0, request.get_ref(), &principal, deadline).await
        };
        told.await.map(Response::new).map_err(|error| to_status(&error))
    }
    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let opened = async {
            let principal = self.0.principal(request.metadata())?;
            let deadline = Instant::now() + deadline_of(request.metadata()).min(self.0.deadline_max);
            self.0
                .watch_patients(request.get_ref(), &principal, deadline)
                .await
        };
        let feed = opened.await.map_err(|error| to_status(&error))?;
        Ok(Response::new(Box::pin(messages(feed))))
    }

    async fn load(
        &self,
        request: Request<Streaming<pb::LoadRequest>>,
    ) -> Result<Response<Self::LoadStream>, Status> {
        let principal = self
            .0
            .principal(request.metadata())
            .map_err(|error| to_status(&error))?;
        let edge = self.0.clone();
        let mut lines = request.into_inner();
        let (answers, stream) = mpsc::channel(LOAD_ANSWERS_WAITING_MAX);
        tokio::spawn(async move {
            while let Some(message) = lines.next().await {
                let answer = match message {
                    Ok(message) => load(&edge, message, &principal)
                        .await
                        .map_err(|error| to_status(&error)),
                    Err(status) => Err(status),
                };
                let failed = answer.is_err();
                // A client that went away, or was told of a failure, sends the rest again later.
                if answers.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// The answers of a watch; the first says where it begins, the last one is an error that says why it ends.
fn messages(feed: PatientFeed) -> impl Stream<Item = Result<pb::WatchResponse, Status>> + Send {
    let first = pb::WatchResponse {
        cursor: feed.cursor(),
        ..pb::WatchResponse::default()
    };
    let rest = unfold(Some(Box::new(feed)), |feed| async move {
        let mut feed = feed?;
        match feed.next_message().await {
            Ok(message) => Some((Ok(message), Some(feed))),
            Err(error) => Some((Err(to_status(&error)), None)),
        }
    });
    once(ready(Ok(first))).chain(rest)
}

/// Tells every shard.
async fn tell_of_organisations(
    edge: &Edge,
    request: &pb::LoadOrganisationsRequest,
    principal: &Principal,
    deadline: Instant,
) -> Result<pb::LoadOrganisationsResponse, SpineError> {
    if request.organisations.len() > ORGANISATIONS_MAX {
        return Err(refused("LOAD_TOO_LARGE", "too many organisations in one request"));
    }
    let _call = edge.admit()?;
    let requests = request.organisations.chunks(load::ORGANISATIONS_MAX).map(|some| {
        let some = pb::LoadOrganisationsRequest {
            organisations: some.to_vec(),
        };
        Bytes::from(some.encode_to_vec())
    });
    let requests: Vec<Bytes> = requests.collect();
    edge.dispatcher()?
        .tell_every_shard("organisations.load", &requests, principal, deadline)
        .await?;
    Ok(pb::LoadOrganisationsResponse {
        organisations: request.organisations.len() as u64,
    })
}

/// Registers the patients of one message.
async fn load(
    edge: &Edge,
    message: pb::LoadRequest,
    principal: &Principal,
) -> Result<pb::LoadResponse, SpineError> {
    if message.lines.len() > LOAD_LINES_MAX {
        return Err(refused(
            "LOAD_TOO_LARGE",
            "too many lines in one message of a load",
        ));
    }
    let _call = edge.admit()?;
    let mut answer = pb::LoadResponse::default();
    let mut numbers = Vec::with_capacity(message.lines.len());
    let mut requests = Vec::with_capacity(message.lines.len());
    for line in message.lines {
        numbers.push(line.line);
        requests.push(Bytes::from(line.encode_to_vec()));
    }
    let deadline = Instant::now() + DEADLINE_DEFAULT;
    let outcomes = edge
        .dispatcher()?
        .call_batch("pds.load", requests, principal, deadline)
        .await?;
    for (line, outcome) in numbers.into_iter().zip(outcomes) {
        answer.last_line = answer.last_line.max(line);
        match outcome {
            Ok(bytes) if replayed(&bytes) => answer.replayed += 1,
            Ok(_) => answer.registered += 1,
            // Nothing is wrong with the line: the client must send the message again.
            Err(error) if error.kind.is_transient() => return Err(error),
            Err(error) => answer.errors.push(pb::LoadError {
                line,
                reason: error.reason.to_string(),
                message: error.message.clone(),
            }),
        }
    }
    Ok(answer)
}

fn replayed(response: &Bytes) -> bool {
    pb::RegisterResponse::decode(response.clone()).is_ok_and(|response| response.replayed)
}

fn refused(reason: &'static str, message: &str) -> SpineError {
    SpineError::new(ErrorKind::Invalid, reason, message)
}
