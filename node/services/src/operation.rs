//! What an operation is: typed for who writes one, erased for who runs them all.

use bytes::Bytes;
use prost::Message;
use spine_proto::ids::RoutingKey;
use spine_statemachine::store::OrderedRead;

pub use crate::authorise::authorise;
use crate::context::Context;
use crate::failure::Failure;
use crate::ids::CallId;
use crate::plan::{Completed, Plan};
use crate::reason;
pub use crate::view::View;

/// One named business request: pure, so that it can be planned again whenever a guard fails.
pub trait Operation {
    /// Name in the catalogue, for example `pds.update`.
    const NAME: &'static str;
    /// Permission its callers need.
    const PERMISSION: &'static str;
    /// Whether it may change records.
    const WRITES: bool;
    /// The request message.
    type Request: Message + Default;
    /// The response message.
    type Response: Message;

    /// The routing key whose shard answers. Needs no records.
    ///
    /// # Errors
    /// [`Failure::Invalid`] where the request does not name one.
    fn routing_key(request: &Self::Request) -> Result<RoutingKey, Failure>;

    /// By what the call is known again; `None` for operations that change nothing.
    ///
    /// # Errors
    /// [`Failure::Invalid`] where that is malformed or missing.
    fn call_id(request: &Self::Request) -> Result<Option<CallId>, Failure>;

    /// Decides what to change. A read validates its request here and reads in [`Operation::respond`].
    ///
    /// # Errors
    /// A [`Failure`]; nothing is proposed then.
    fn plan(view: &mut View<'_>, request: &Self::Request, context: &Context) -> Result<Plan, Failure>;

    /// Builds the answer on a view that holds the commit. A replay gives the same answer as the first time.
    ///
    /// # Errors
    /// A [`Failure`]; for a write only where the store cannot be read.
    fn respond(
        view: &dyn OrderedRead,
        request: &Self::Request,
        completed: &Completed,
        context: &Context,
    ) -> Result<Self::Response, Failure>;
}

/// Which call it is.
#[derive(Clone)]
pub struct Identity {
    /// Decides the shard.
    pub routing_key: RoutingKey,
    /// By what it is known again; `None` for one that changes nothing.
    pub call_id: Option<CallId>,
}

/// [`Operation::plan`] of an encoded request.
pub type PlanFn = fn(&mut View<'_>, &Bytes, &Context) -> Result<Plan, Failure>;
/// [`Operation::respond`] to an encoded request, giving an encoded response.
pub type Respond = fn(&dyn OrderedRead, &Bytes, &Completed, &Context) -> Result<Bytes, Failure>;

/// Entry of the catalogue: an [`Operation`] without its types.
pub struct OperationSpec {
    /// Name, for example `records.commit`.
    pub name: &'static str,
    /// Permission its callers need.
    pub permission: &'static str,
    /// Whether it may change records.
    pub writes: bool,
    /// Whether nodes alone call it: it is a step of another call, or says something only where every shard is asked.
    pub internal: bool,
    /// Request bytes to where the call goes and what it is known by.
    pub identify: fn(&Bytes) -> Result<Identity, Failure>,
    /// See [`Operation::plan`].
    pub plan: PlanFn,
    /// See [`Operation::respond`]; gives the encoded response.
    pub respond: Respond,
}

impl OperationSpec {
    /// The catalogue entry of an operation.
    pub const fn of<O: Operation>() -> Self {
        Self {
            name: O::NAME,
            permission: O::PERMISSION,
            writes: O::WRITES,
            internal: false,
            identify: |request| {
                let request = decode::<O>(request)?;
                Ok(Identity {
                    routing_key: O::routing_key(&request)?,
                    call_id: O::call_id(&request)?,
                })
            },
            plan: |view, request, context| O::plan(view, &decode::<O>(request)?, context),
            respond: |view, request, completed, context| {
                let response = O::respond(view, &decode::<O>(request)?, completed, context)?;
                Ok(response.encode_to_vec().into())
            },
        }
    }

    /// The same entry, for nodes alone.
    #[must_use]
    pub const fn internal(mut self) -> Self {
        self.internal = true;
        self
    }
}

/// Byte fields are parts of the request itself, not copies.
fn decode<O: Operation>(request: &Bytes) -> Result<O::Request, Failure> {
    // The decoder's own text may quote the request, so it is not passed on.
    O::Request::decode(request.clone()).map_err(|_| {
        Failure::invalid(
            reason::MALFORMED_REQUEST,
            "",
            format!("{} cannot be decoded", O::NAME),
        )
    })
}
