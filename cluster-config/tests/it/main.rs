//! Tests of what an operator writes and of what they are told.

mod docs;
mod examples;
mod faults;
mod precedence;
mod scripts;
