//! One file for each row.

mod catch_up_after_purge;
mod fsync_before_ack;
mod garbage;
mod kill_all;
mod kill_one;
mod limits;
mod load_bad_lines;
mod stale_leader;
mod support;

use super::Row;

/// Every row, in the order of the table.
pub const ROWS: &[Row] = &[
    kill_one::ROW,
    kill_all::ROW,
    stale_leader::ROW,
    catch_up_after_purge::ROW,
    garbage::ROW,
    limits::ROW,
    load_bad_lines::ROW,
    fsync_before_ack::ROW,
];
