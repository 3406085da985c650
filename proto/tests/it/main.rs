//! What must never change: frozen bytes, frozen hashes, numbers of fields.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod descriptor;
mod drawn;
mod frozen;
mod ids;
mod samples;
mod wire;
