//! Transcripts a person can read, and properties that hold for any sequence.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod bytes;
mod chain;
mod expiry;
mod generate;

mod keys;
mod levels;
mod limits;
mod properties;
mod script;
mod scripts;
mod sessions;
mod shard;
