//! The cluster's shape: decided once by `cluster init`, stored on every node, kept and changed as rows of the meta group.
//!
//! A change goes: 1 `meta.rs` (on the leader of the meta group) -> 2 `change.rs` (pure: from plan to plan) -> 3 `rows.rs`
//! (the rows of the difference) -> 4 `follow.rs` (every node takes the new plan). `placement.rs` (pure) says which replicas
//! should move, `mover.rs` carries that out with `steps.rs`, `absence.rs` (pure) says whom it gives up, and `join.rs` lets
//! nodes in.

pub mod absence;
pub mod ask;
pub mod bootstrap;
pub mod change;
pub mod follow;
pub mod join;
pub mod meta;
pub mod mover;
pub mod placement;
pub mod plan;
pub mod recover;
pub mod rows;
pub mod steps;
pub(crate) mod survivors;
