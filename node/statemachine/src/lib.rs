//! The replicated record store: pure and deterministic.
//!
//! No clock, no randomness, no I/O, no hash map: two replicas that apply the same entries hold the same bytes.
//! [`apply::apply`] is the only function that changes replicated state; business rules live above, on the leader.

pub mod apply;
pub mod chain;
pub mod check;
pub mod digest;
pub mod frame;
pub mod guard;
pub mod key;
pub mod levels;
pub mod limits;
mod memo;
pub mod memory;
pub mod request;
pub mod session;
mod session_rows;
pub mod slots;
pub mod state;
pub mod store;
pub mod txn;
pub mod window;

pub use apply::{Applied, Halt, SubOutcome, apply};
pub use digest::Digest;
pub use levels::{LevelRange, Rule};
pub use state::SystemState;
