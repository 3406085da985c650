//! Transcripts a person can read, and properties that hold for any sequence.

mod bytes;
mod expiry;
mod generate;

mod keys;
mod limits;
mod properties;
mod script;
mod scripts;
mod shard;
