//! Whether this machine can mount such a disk.

use std::io::Write;
use std::path::Path;

/// What can be done here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    Ready,
    /// Why not, for people.
    Missing(&'static str),
}

/// Looks for root's rights and the kernel's device.
#[must_use]
pub fn availability() -> Availability {
    if !rustix::process::geteuid().is_root() {
        return Availability::Missing("mounting a FUSE disk needs root");
    }
    if !Path::new("/dev/fuse").exists() {
        return Availability::Missing("/dev/fuse is missing");
    }
    Availability::Ready
}

/// True if the caller, a test, must end; says so where the test harness does not hide it.
#[must_use]
pub fn skip() -> bool {
    match availability() {
        Availability::Ready => false,
        Availability::Missing(reason) => {
            // In one piece: other tests write at the same time.
            let line = format!("\nSKIPPED fuse: {reason}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            true
        }
    }
}
