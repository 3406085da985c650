//! What every call brings: who asks, how long they wait.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use prost::Message;
use spine_proto::pds::v1::{SearchRequest, SearchResponse, WatchRequest as WatchPatientsRequest};
use spine_proto::records::v1::{OpenSessionRequest, OpenSessionResponse, WatchRequest};
use spine_services::Principal;
use spine_services::pds::search;
use spine_services::{ErrorKind, SpineError, catalogue, reason};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::admission::{Admission, Admitted};
use super::patient_feed::PatientFeed;
use super::status::to_status;
use super::watch::{Place, Watching};
use crate::clock::Clock;
use crate::dispatch::call::{Answer, Dispatcher};
use crate::dispatch::failure::{draining, not_initialised, too_many_watches};
use crate::shard::latch::Latches;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Operation, Request as RequestLabel};

/// Where the caller names none.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// Metadata key that names the principal in development mode.
pub const PRINCIPAL_METADATA: &str = "spine-principal";
/// Metadata key of an answer that names the gRPC address of the shard's leader: a hint for the next call.
pub const LEADER_METADATA: &str = "spine-leader";
/// Metadata key of a change that is not to be executed: only what became of its earlier tries is asked.
pub const SETTLE_METADATA: &str = "spine-settle";
/// Bytes of a principal's name.
const PRINCIPAL_BYTES_MAX: usize = 64;

/// Gives the dispatcher once the cluster is initialised.
pub trait DispatcherSource: Send + Sync + 'static {
    /// `None` before that.
    fn dispatcher(&self) -> Option<Arc<Dispatcher>>;
}

/// What the services share.
#[derive(Clone)]
pub struct Edge {
    /// Routes calls.
    pub source: Arc<dyn DispatcherSource>,
    /// The principal of callers in development mode; `None` refuses everyone.
    pub development_principal: Option<Arc<Principal>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Lets calls in while they can be answered in time.
    pub admission: Arc<Admission>,
    /// Watches served by this node; one more is refused.
    pub watches: Arc<Semaphore>,
    /// Ends all watches, so that their callers go on elsewhere.
    pub draining: CancellationToken,
    /// Nobody waits longer than this.
    pub deadline_max: Duration,
    /// A call that takes longer is worth a line in the log.
    pub slow: Duration,
    /// For rules about dates that are looked at before a call has its shard.
    pub clock: Arc<dyn Clock>,
    /// One at a time of those who ask this node for people of one birth date.
    pub newcomers: Arc<Latches>,
}

impl Edge {
    /// Carries out one unary call of the catalogue.
    ///
    /// # Errors
    /// A status with details.
    pub async fn unary<Q: Message, R: Message + Default>(
        &self,
        operation: &'static str,
        request: Request<Q>,
    ) -> Result<Response<R>, Status> {
        let (metadata, message) = (request.metadata(), request.get_ref());
        let principal = self.principal(metadata).map_err(|error| to_status(&error))?;
        let deadline = Instant::now() + deadline_of(metadata).min(self.deadline_max);
        let settle = metadata.contains_key(SETTLE_METADATA);
        let body = Bytes::from(message.encode_to_vec());
        let result = self.call(operation, body, &principal, deadline, settle).await;
        let answer = result.map_err(|error| to_status(&error))?;
        let message = R::decode(answer.body).map_err(|_| Status::internal("response of another kind"))?;
        let mut response = Response::new(message);
        if let Some(address) = answer.leader_address.and_then(|address| address.parse().ok()) {
            response.metadata_mut().insert(LEADER_METADATA, address);
        }
        Ok(response)
    }

    /// Carries out one call, counted and timed; where numbers were merged, of the one that answers.
    ///
    /// # Errors
    /// [`SpineError`] with advice on what to do next.
    pub async fn call(
        &self,
        operation: &str,
        request: Bytes,
        principal: &Arc<Principal>,
        deadline: Instant,
        settle: bool,
    ) -> Result<Answer, SpineError> {
        // Every caller from outside comes this way; steps of what a node carries out do not.
        let operation = catalogue::find_public(operation)?.name;
        let answer = self
            .call_once(operation, request.clone(), principal, deadline, settle)
            .await?;
        self.followed(operation, &request, answer, principal, deadline)
            .await
    }

    /// Carries out one call, counted and timed.
    ///
    /// # Errors
    /// [`SpineError`] with advice on what to do next.
    pub(super) async fn call_once(
        &self,
        operation: &str,
        request: Bytes,
        principal: &Arc<Principal>,
        deadline: Instant,
        settle: bool,
    ) -> Result<Answer, SpineError> {
        let started = Instant::now();
        // Only names of the catalogue become labels and lines of the log.
        let operation = catalogue::find(operation)?.name;
        let result = self
            .carry_out(operation, request, principal, deadline, settle)
            .await;
        self.note(operation, started, result.as_ref().err());
        result
    }

    /// Carries out one read on every shard, counted and timed as one call.
    ///
    /// # Errors
    /// [`SpineError`] with advice on what to do next; the answers are complete, or none.
    pub async fn call_every_shard(
        &self,
        operation: &'static str,
        request: Bytes,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, SpineError> {
        let started = Instant::now();
        let result = async {
            let _call = self.admit()?;
            let dispatcher = self.dispatcher()?;
            Box::pin(dispatcher.call_every_shard(operation, request, principal, deadline)).await
        };
        let result = result.await;
        self.note(operation, started, result.as_ref().err());
        result
    }

    pub(super) fn note(&self, operation: &'static str, started: Instant, error: Option<&SpineError>) {
        let outcome = error.map_or("ok", |error| error.kind.as_str());
        let took = started.elapsed();
        if took > self.slow {
            tracing::warn!(operation, outcome, ms = took.as_millis(), "slow call");
        }
        let label = RequestLabel { operation, outcome };
        self.metrics.gateway.requests.get_or_create(&label).inc();
        let label = Operation { operation };
        let seconds = self.metrics.gateway.request_seconds.get_or_create(&label);
        seconds.observe(took.as_secs_f64());
    }

    async fn carry_out(
        &self,
        operation: &str,
        request: Bytes,
        principal: &Arc<Principal>,
        deadline: Instant,
        settle: bool,
    ) -> Result<Answer, SpineError> {
        let _call = self.admit()?;
        let dispatcher = self.dispatcher()?;
        // Boxed: the future of a whole execution is large, and would be moved with every layer above.
        if settle {
            return Box::pin(dispatcher.settle(operation, request, principal, deadline)).await;
        }
        Box::pin(dispatcher.call(operation, request, principal, deadline)).await
    }

    /// Searches for patients in every shard.
    ///
    /// # Errors
    /// [`SpineError`] with advice on what to do next.
    pub async fn search(
        &self,
        request: &SearchRequest,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<SearchResponse, SpineError> {
        let body = Bytes::from(request.encode_to_vec());
        let answers = self
            .call_every_shard("pds.search", body, principal, deadline)
            .await?;
        let answers: Result<Vec<_>, _> = answers.into_iter().map(SearchResponse::decode).collect();
        let answers = answers.map_err(|_| {
            SpineError::new(ErrorKind::Internal, reason::INTERNAL, "response of another kind")
        })?;
        search::merge(request, answers)
    }

    /// Opens a session for changes. Costs no log entry.
    ///
    /// # Errors
    /// A status with details.
    pub fn open_session(
        &self,
        request: &Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let opened = self
            .principal(request.metadata())
            .and_then(|principal| self.dispatcher()?.open_session(&principal));
        let label = RequestLabel {
            operation: "records.open_session",
            outcome: opened.as_ref().err().map_or("ok", |error| error.kind.as_str()),
        };
        self.metrics.gateway.requests.get_or_create(&label).inc();
        opened.map(Response::new).map_err(|error| to_status(&error))
    }

    /// Begins a watch.
    ///
    /// # Errors
    /// A status with details.
    pub async fn watch(&self, request: &Request<WatchRequest>) -> Result<Watching, Status> {
        let result = self.open_watch(request).await;
        let label = RequestLabel {
            operation: "records.watch",
            outcome: result.as_ref().err().map_or("ok", |error| error.kind.as_str()),
        };
        self.metrics.gateway.requests.get_or_create(&label).inc();
        result.map_err(|error| to_status(&error))
    }

    async fn open_watch(&self, request: &Request<WatchRequest>) -> Result<Watching, SpineError> {
        let principal = self.principal(request.metadata())?;
        let _call = self.admit()?;
        if self.draining.is_cancelled() {
            return Err(draining());
        }
        let permit = Arc::clone(&self.watches)
            .try_acquire_owned()
            .map_err(|_| too_many_watches())?;
        let place = Place::new(Arc::clone(&self.metrics), permit);
        let deadline = Instant::now() + deadline_of(request.metadata()).min(self.deadline_max);
        let dispatcher = self.dispatcher()?;
        let opened = dispatcher
            .open_watch(request.get_ref(), &principal, deadline)
            .await?;
        Ok(Watching::new(dispatcher, opened, self.draining.clone(), place))
    }

    /// Begins to show what is written of patients: from now on, or behind a cursor.
    ///
    /// # Errors
    /// `INVALID_CURSOR`, `COMPACTED`, and the errors of every call.
    pub async fn watch_patients(
        &self,
        request: &WatchPatientsRequest,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<PatientFeed, SpineError> {
        let result = self.open_patient_feed(request, principal, deadline).await;
        let label = RequestLabel {
            operation: "pds.watch",
            outcome: result.as_ref().err().map_or("ok", |error| error.kind.as_str()),
        };
        self.metrics.gateway.requests.get_or_create(&label).inc();
        result
    }

    async fn open_patient_feed(
        &self,
        request: &WatchPatientsRequest,
        principal: &Arc<Principal>,
        deadline: Instant,
    ) -> Result<PatientFeed, SpineError> {
        let _call = self.admit()?;
        if self.draining.is_cancelled() {
            return Err(draining());
        }
        let permit = Arc::clone(&self.watches)
            .try_acquire_owned()
            .map_err(|_| too_many_watches())?;
        let place = Place::new(Arc::clone(&self.metrics), permit);
        let dispatcher = self.dispatcher()?;
        let cursor = dispatcher.open_patients(request, principal, deadline).await?;
        let principal = Arc::clone(principal);
        let feed = PatientFeed::new(dispatcher, principal, cursor, self.draining.clone(), place);
        feed.until_it_can_begin(deadline).await
    }

    /// As [`Admission::admit`].
    ///
    /// # Errors
    /// `BUSY`
    pub fn admit(&self) -> Result<Admitted<'_>, SpineError> {
        self.admission.admit()
    }

    /// The dispatcher.
    ///
    /// # Errors
    /// `NOT_INITIALISED`
    pub fn dispatcher(&self) -> Result<Arc<Dispatcher>, SpineError> {
        self.source.dispatcher().ok_or_else(not_initialised)
    }

    /// Who asks.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` outside development mode; certificates and tokens come with the security issue.
    pub fn principal(&self, metadata: &MetadataMap) -> Result<Arc<Principal>, SpineError> {
        self.principal_of(metadata.as_ref())
    }

    /// The same for a request over HTTP.
    ///
    /// # Errors
    /// As [`Self::principal`].
    pub fn principal_of(&self, headers: &HeaderMap) -> Result<Arc<Principal>, SpineError> {
        let Some(principal) = &self.development_principal else {
            return Err(SpineError::new(
                ErrorKind::Unauthenticated,
                "UNAUTHENTICATED",
                "this node accepts no development principal",
            ));
        };
        match headers.get(PRINCIPAL_METADATA).map(|value| value.to_str()) {
            None => Ok(Arc::clone(principal)),
            Some(Ok(id)) if !id.is_empty() && id.len() <= PRINCIPAL_BYTES_MAX => Ok(Arc::new(Principal {
                id: id.to_string(),
                permissions: principal.permissions.clone(),
            })),
            Some(_) => Err(SpineError::new(
                ErrorKind::Unauthenticated,
                "UNAUTHENTICATED",
                "malformed principal",
            )),
        }
    }
}

/// The caller's `grpc-timeout`.
#[must_use]
pub fn deadline_of(metadata: &MetadataMap) -> Duration {
    let asked = metadata
        .get("grpc-timeout")
        .and_then(|value| parse_timeout(value.to_str().ok()?));
    asked.unwrap_or(DEADLINE_DEFAULT)
}

/// Digits and a unit, as gRPC writes time-outs.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(3_600)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("3S"), Some(Duration::from_secs(3)));
        for bad in ["", "m", "1", "-1S", "1é", "999999999S", "1.5S"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
