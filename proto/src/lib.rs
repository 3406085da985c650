//! Every byte that crosses a process boundary or reaches a disk.
#[allow(
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
pub mod generated {
    include!(concat!(env!("OUT_DIR"), "/spine.rs"));
}
pub use generated::spine::*;

pub mod ids;

/// The compiled descriptors of every proto file, for reflection and `spinectl proto export`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
