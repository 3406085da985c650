//! Everything an operation may know besides its request and the records: explicit, so that a plan is a pure function.

use std::sync::Arc;

use spine_statemachine::key::SubjectKey;

pub use crate::authorise::Principal;
pub use crate::plan::Completed;

/// The inputs of one call. Equal inputs on an equal view give an equal plan.
#[derive(Clone)]
pub struct Context {
    /// The leader's clock, milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// Who calls.
    pub principal: Arc<Principal>,
    /// Turns routing keys into subjects; the same on every node of a cluster.
    pub subject_key: SubjectKey,
    /// Fresh for every call.
    pub entropy: [u8; 32],
}
