//! The acceptance program: one row for each claim that a machine can check. A claim without a row is not claimed.

mod output;
mod row;
pub mod rows;
mod run;

pub use output::{Format, list, print_header, print_result, print_total};
pub use row::{Context, Finding, Measurement, Row, RowError};
pub use run::{RowResult, Total, Verdict, run, select};
