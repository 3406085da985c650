#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod engines;
mod fuse;
mod like_the_simulated_disk;
mod semantics;
