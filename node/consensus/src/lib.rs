//! Raft groups over openraft and the links between nodes; the only importer of openraft.

pub mod net;
pub mod transport;
