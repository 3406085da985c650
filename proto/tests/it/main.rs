//! What must never change: frozen bytes, frozen hashes, numbers of fields.

mod descriptor;
mod frozen;
mod ids;
mod samples;
