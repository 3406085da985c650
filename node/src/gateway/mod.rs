//! gRPC for clients: principal, deadline and limits in, one error table out. Decides nothing.

pub mod admin;
pub mod admission;
pub mod calls;
pub mod edge;
pub mod health;
pub mod http;
pub mod io;
pub mod patient_feed;
pub mod pds;
pub mod records;
pub mod server;
pub mod status;
mod steps;
pub mod watch;
