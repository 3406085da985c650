//! A change: known again by the caller's request id, or by a number in a session of this client.

use std::future::Future;
use std::sync::Arc;

use spine_proto::common::v1::SessionCall;
use spine_proto::ids::REQUEST_ID_BYTES_MAX;
use spine_proto::{pds, records};
use tonic::{Response, Status};

use crate::attempt::Try;
use crate::call::{Call, Core, Positioned};
use crate::dial::Link;
use crate::error::{Error, ErrorKind, Result};
use crate::sessions::Sessions;

/// A request that is known again by one of the two.
pub(crate) trait Change: Clone {
    fn set_request_id(&mut self, id: String);
    fn set_session(&mut self, call: SessionCall);
}

macro_rules! changes {
    ($($request:ty),+) => {
        $(impl Change for $request {
            fn set_request_id(&mut self, id: String) {
                self.request_id = id;
                self.session = None;
            }

            fn set_session(&mut self, call: SessionCall) {
                self.session = Some(call);
            }
        })+
    };
}

changes!(
    records::v1::CommitRequest,
    pds::v1::RegisterRequest,
    pds::v1::UpdateRequest,
    pds::v1::PatchRequest,
    pds::v1::InvalidateRequest,
    pds::v1::SetSensitivityRequest,
    pds::v1::NotifyDeathRequest,
    pds::v1::PutRelatedRequest
);

impl Core {
    /// Makes a change take effect once: under the caller's id if it gave one.
    pub(crate) async fn change<Q, A, F, Fut>(
        self: &Arc<Self>,
        call: Call,
        mut request: Q,
        request_id: Option<String>,
        rpc: F,
    ) -> Result<A>
    where
        Q: Change,
        A: Positioned,
        F: Fn(Link, Try<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        if let Some(id) = request_id {
            request.set_request_id(checked(id)?);
            return self.run(call, &request, &rpc).await;
        }
        if let Some(ticket) = Sessions::ticket(self) {
            request.set_session(ticket.call());
            match self.run(call, &request, &rpc).await {
                Err(error) if error.kind == ErrorKind::SessionExpired => self.sessions.expired(&ticket),
                answered => return answered,
            }
        }
        request.set_request_id(self.entropy.request_id());
        self.run(call, &request, &rpc).await
    }
}

pub(crate) fn checked(id: String) -> Result<String> {
    if (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) {
        return Ok(id);
    }
    Err(Error::invalid(
        "INVALID_REQUEST_ID",
        "request_id",
        format!("a request id has 1 to {REQUEST_ID_BYTES_MAX} bytes"),
    ))
}
