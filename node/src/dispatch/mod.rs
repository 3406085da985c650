//! Joins services to shards: authorise, route, execute here or one hop away.

pub mod batch;
pub mod call;
pub mod cursor;
pub mod execute;
pub mod failure;
pub mod feed;
pub mod forward;
pub mod listing;
pub mod retry;
pub mod watch;
