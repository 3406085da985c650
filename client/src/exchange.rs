//! Many calls over one stream of a connection, in batches.
//!
//! What waits when the connection can take more goes out together; nothing waits for a timer. A connection begins with
//! calls of their own and changes to the stream once the node has accepted it, so a node of an older release, which
//! knows no such stream, is served as before.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use prost::Message;
use spine_proto::calls::v1 as wire;
use spine_proto::calls::v1::calls_service_client::CallsServiceClient;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::attempt::Sending;
use crate::call::LEADER_HEADER;
use crate::dial::{Link, LinkError};
use crate::options::ANSWER_BYTES_MAX;

/// A request above this is a call of its own: it would hold up all others.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one batch, beyond its last call.
const BATCH_BYTES: usize = 128 * 1024;

/// A stream that calls can go through. Ends with its last copy.
pub(crate) struct Exchange(Arc<Shared>);

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    last_id: u64,
    /// Of those that were sent, or too late to be.
    last_taken: u64,
    pending: BTreeMap<u64, Pending>,
    /// Of the sending half, while nothing waits.
    waker: Option<Waker>,
    end: Option<End>,
}

struct Pending {
    tell: oneshot::Sender<Result<wire::Answer, End>>,
    unsent: Option<Unsent>,
}

/// A call that waits until the connection takes more.
struct Unsent {
    call: wire::Call,
    until: Instant,
    sending: Arc<Sending>,
}

impl Unsent {
    /// The call, where its caller still waits for it. The node is told the time that is left now.
    fn take(mut self) -> Result<wire::Call, Self> {
        let left = self.until.saturating_duration_since(Instant::now());
        // Who is too late takes it back.
        if left.is_zero() || !self.sending.send() {
            return Err(self);
        }
        self.call.deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        Ok(self.call)
    }
}

/// How a stream ended, for a call without an answer.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The node has answered every call it looked at.
    Complete,
    /// It may have been executed.
    Lost,
}

impl From<End> for Status {
    fn from(end: End) -> Self {
        Self::from_error(Box::new(match end {
            End::Complete => LinkError::NotSent,
            End::Lost => LinkError::Lost,
        }))
    }
}

impl Exchange {
    /// Opens a stream on this connection; `None` where the node has none to offer.
    pub(crate) async fn open(link: Link, metadata: MetadataMap) -> Option<Self> {
        let exchange = Self(Arc::default());
        let mut request = Request::new(outgoing(Arc::clone(&exchange.0)));
        *request.metadata_mut() = metadata;
        let origin = link.origin();
        let mut client =
            CallsServiceClient::with_origin(link, origin).max_decoding_message_size(ANSWER_BYTES_MAX);
        let answers = client.exchange(request).await.ok()?.into_inner();
        tokio::spawn(read(Arc::clone(&exchange.0), answers));
        Some(exchange)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.0.lock().end.is_none()
    }

    /// Makes one call.
    ///
    /// # Errors
    /// As a unary call: a status with details, or with a [`LinkError`] as its source.
    pub(crate) async fn call<A: Message + Default>(
        &self,
        operation: &str,
        request: Bytes,
        left: Duration,
        settle: bool,
        sending: Arc<Sending>,
    ) -> Result<Response<A>, Status> {
        let waits = self.0.send(operation, request, left, settle, sending)?;
        let answer = waits.answer().await?;
        let response = match answer.outcome {
            Some(wire::answer::Outcome::Response(bytes)) => bytes,
            Some(wire::answer::Outcome::Failure(failure)) => return Err(status(failure)),
            None => return Err(Status::internal("an answer without an outcome")),
        };
        let message = A::decode(response).map_err(|_| Status::internal("a response of another kind"))?;
        let mut response = Response::new(message);
        if let Ok(leader) = answer.leader_address.parse() {
            response.metadata_mut().insert(LEADER_HEADER, leader);
        }
        Ok(response)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.close(End::Lost);
    }
}

fn status(failure: wire::Failure) -> Status {
    Status::with_details(Code::from_i32(failure.code), failure.message, failure.detail)
}

/// A call under way. Dropping it forgets the call; the node may still act on it.
struct Waits {
    shared: Arc<Shared>,
    id: u64,
    answer: oneshot::Receiver<Result<wire::Answer, End>>,
}

impl Waits {
    async fn answer(mut self) -> Result<wire::Answer, End> {
        (&mut self.answer).await.unwrap_or(Err(End::Lost))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.shared.0.lock().pending.remove(&self.id);
    }
}

impl Shared {
    fn send(
        self: &Arc<Self>,
        operation: &str,
        request: Bytes,
        left: Duration,
        settle: bool,
        sending: Arc<Sending>,
    ) -> Result<Waits, Status> {
        let (tell, answer) = oneshot::channel();
        let mut state = self.0.lock();
        if state.end.is_some() {
            return Err(End::Complete.into());
        }
        state.last_id += 1;
        let id = state.last_id;
        let call = wire::Call {
            id,
            operation: operation.to_owned(),
            request,
            deadline_ms: 0,
            settle,
        };
        let unsent = Unsent {
            call,
            until: Instant::now() + left,
            sending,
        };
        let unsent = Some(unsent);
        state.pending.insert(id, Pending { tell, unsent });
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(Waits {
            shared: Arc::clone(self),
            id,
            answer,
        })
    }

    fn close(&self, end: End) {
        let (pending, waker) = {
            let mut state = self.0.lock();
            state.end.get_or_insert(end);
            (std::mem::take(&mut state.pending), state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        for Pending { tell, unsent } in pending.into_values() {
            // Whoever asked may have given up.
            let _ = tell.send(Err(if unsent.is_some() { End::Complete } else { end }));
        }
    }

    fn deliver(&self, batch: wire::AnswerBatch) {
        let mut told = Vec::with_capacity(batch.answers.len());
        let mut state = self.0.lock();
        for answer in batch.answers {
            told.extend(state.pending.remove(&answer.id).map(|call| (call.tell, answer)));
        }
        drop(state);
        for (tell, answer) in told {
            let _ = tell.send(Ok(answer));
        }
    }
}

async fn read(shared: Arc<Shared>, mut answers: Streaming<wire::AnswerBatch>) {
    let mut end = End::Lost;
    while let Ok(Some(batch)) = answers.message().await {
        if batch.complete {
            end = End::Complete;
        }
        shared.deliver(batch);
    }
    shared.close(end);
}

/// The sending half: everything that waits, whenever the connection asks.
fn outgoing(shared: Arc<Shared>) -> impl Stream<Item = wire::CallBatch> + Send + 'static {
    futures_util::stream::unfold(shared, |shared| async move {
        poll_fn(|context| shared.poll_filled(context)).await;
        // What the tasks that are ready now ask, too, goes out with it.
        tokio::task::yield_now().await;
        let calls = shared.take()?;
        Some((wire::CallBatch { calls }, shared))
    })
}

impl Shared {
    /// Ready when a call waits or the stream has ended.
    fn poll_filled(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.end.is_some() || state.last_taken < state.last_id {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The next batch; `None` at the end.
    fn take(&self) -> Option<Vec<wire::Call>> {
        let mut state = self.0.lock();
        if state.end.is_some() {
            return None;
        }
        let state = &mut *state;
        let (mut bytes, mut calls) = (0, Vec::new());
        for (id, pending) in state.pending.range_mut(state.last_taken + 1..) {
            if bytes >= BATCH_BYTES {
                return Some(calls);
            }
            state.last_taken = *id;
            match pending.unsent.take().map(Unsent::take) {
                Some(Ok(call)) => {
                    bytes += call.request.len();
                    calls.push(call);
                }
                Some(Err(unsent)) => pending.unsent = Some(unsent),
                None => {}
            }
        }
        // Callers of the last ones may have given up.
        state.last_taken = state.last_id;
        Some(calls)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;

    fn send(shared: &Arc<Shared>, bytes: usize) -> Waits {
        let request = Bytes::from(vec![0; bytes]);
        shared
            .send(
                "records.get",
                request,
                Duration::from_secs(1),
                false,
                Arc::default(),
            )
            .expect("it is open")
    }

    #[tokio::test]
    async fn what_waits_goes_out_together_up_to_a_limit() {
        let shared = Arc::<Shared>::default();
        let waits: Vec<Waits> = [10, 20, BATCH_BYTES, 30].map(|bytes| send(&shared, bytes)).into();
        let mut outgoing = std::pin::pin!(outgoing(Arc::clone(&shared)));
        let sizes = |batch: wire::CallBatch| {
            batch
                .calls
                .iter()
                .map(|call| call.request.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            sizes(outgoing.next().await.expect("a batch")),
            [10, 20, BATCH_BYTES]
        );
        assert_eq!(sizes(outgoing.next().await.expect("a batch")), [30]);
        assert!(outgoing.next().now_or_never().is_none());
        drop(waits);
        assert!(
            shared.0.lock().pending.is_empty(),
            "a call that nobody waits for is forgotten"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_too_long_or_was_given_up_is_not_sent() {
        let shared = Arc::<Shared>::default();
        let (late, given_up) = (send(&shared, 1), send(&shared, 2));
        drop(given_up);
        tokio::time::advance(Duration::from_secs(1)).await;
        let sending = Arc::<Sending>::default();
        let in_time = shared
            .send(
                "records.get",
                Bytes::new(),
                Duration::from_secs(9),
                false,
                Arc::clone(&sending),
            )
            .expect("it is open");
        tokio::time::advance(Duration::from_secs(2)).await;
        let mut outgoing = std::pin::pin!(outgoing(Arc::clone(&shared)));
        let batch = outgoing.next().await.expect("a batch");
        let told: Vec<_> = batch
            .calls
            .iter()
            .map(|call| (call.id, call.deadline_ms))
            .collect();
        assert_eq!(told, [(3, 7_000)], "the time that is left when it is sent");
        assert!(!sending.take_back());
        assert!(outgoing.next().now_or_never().is_none());
        shared.close(End::Lost);
        assert!(matches!(late.answer().await, Err(End::Complete)));
        assert!(matches!(in_time.answer().await, Err(End::Lost)));
    }

    #[tokio::test]
    async fn a_call_that_was_never_sent_is_told_from_one_that_is_lost() {
        for (end, lost) in [(End::Lost, true), (End::Complete, false)] {
            let shared = Arc::<Shared>::default();
            let sent = send(&shared, 1);
            let mut outgoing = std::pin::pin!(outgoing(Arc::clone(&shared)));
            outgoing.next().await;
            let unsent = send(&shared, 1);
            shared.close(end);
            assert_eq!(matches!(sent.answer().await, Err(End::Lost)), lost);
            assert!(matches!(unsent.answer().await, Err(End::Complete)));
            assert!(outgoing.next().await.is_none());
        }
    }
}
