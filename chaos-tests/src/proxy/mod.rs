//! Bad links between real processes, without root: a TCP proxy on loopback for each directed pair.
//!
//! A proxy cannot lose packets, because TCP hides loss; it makes what loss looks like: stalls, bytes that never
//! arrive, connections that break. What it cannot show is a connect that hangs: the kernel accepts for it. Bytes
//! that were swallowed leave a gap in a stream, so such a connection is reset as soon as bytes flow again.

mod connection;
mod mesh;
mod pump;
mod rules;
mod server;
#[cfg(test)]
mod tests;

pub use mesh::{Mesh, MeshPlan};
pub use rules::{Direction, Rules, Way};
pub use server::Proxy;
