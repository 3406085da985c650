//! Business operations as pure functions: (view, request, context) to a plan, and (view, request, outcome) to a response.
//!
//! No I/O, no clock, no randomness, no hash map: equal inputs give an equal plan. What a plan reads through its
//! [`view::View`] becomes the guards of its transaction. A business "no" is a [`failure::Failure::Rejection`] that
//! names its rule; nothing in an error is personal data.

pub mod authorise;
pub mod catalogue;
pub mod context;
mod date;
pub mod error;
pub mod error_table;
pub mod failure;
mod ids;
pub mod json;
pub mod operation;
pub mod organisations;
mod page;
pub mod pds;
pub mod plan;
pub mod reason;
pub mod records;
pub mod session;
pub mod submit;
pub mod view;

pub use authorise::{Principal, authorise};
pub use context::Context;
pub use error::{ErrorKind, SpineError};
pub use failure::Failure;
pub use ids::CallId;
pub use operation::{Identity, Operation, OperationSpec};
pub use plan::{Completed, Plan};
pub use view::View;
