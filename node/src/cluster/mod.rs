//! The cluster's shape: decided once by `cluster init`, stored on every node, kept as rows of the meta group.

pub mod bootstrap;
pub mod placement;
pub mod plan;
pub mod rows;
