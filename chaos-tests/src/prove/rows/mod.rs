//! One file for each row.

use super::Row;

/// Every row, in the order of the table.
pub const ROWS: &[Row] = &[];
