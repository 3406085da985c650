//! Pages: bounded in records and in bytes, so that no answer outgrows a message or a node's memory.

use crate::failure::Failure;
use crate::reason;

/// A page ends with the record that takes it over this many bytes. With one more record of the largest size the
/// answer still fits a gRPC message of 4 MiB.
pub(crate) const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// The number of records of a page: what was asked, or the default for 0.
pub(crate) fn page_size(asked: u32, default: u32, max: u32) -> Result<usize, Failure> {
    let size = if asked == 0 { default } else { asked };
    if size > max {
        let message = format!("a page has at most {max} records");
        return Err(Failure::invalid(
            reason::PAGE_SIZE_OUT_OF_RANGE,
            "page_size",
            message,
        ));
    }
    usize::try_from(size).map_err(|_| {
        Failure::invalid(
            reason::PAGE_SIZE_OUT_OF_RANGE,
            "page_size",
            "the page size is too large",
        )
    })
}
