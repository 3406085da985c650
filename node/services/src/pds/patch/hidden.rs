//! Parts of a sensitive record that nobody is shown: whoever patches does not know them, and must not learn of them by
//! trying. Nor does a whole resource (`pds.update`) say them; it leaves them as they are (`restricted.rs`).

use spine_proto::pds::v1::PatchFormat;

use super::list::{self, Patch};
use crate::failure::Failure;
use crate::pds::restricted;
use crate::pds::rules::PDS_64;

/// Checks what a patch of a sensitive record touches.
///
/// # Errors
/// `PDS-64`; what is wrong with the form of the patch.
pub(super) fn check(format: PatchFormat, patch: &[u8]) -> Result<(), Failure> {
    let hidden = match format {
        PatchFormat::Merge => {
            let merged = list::parse(patch)?;
            let mut members = merged.as_object().unwrap_or_default().iter();
            members.any(|(name, _)| restricted::hides(name))
        }
        PatchFormat::Json => list::bare(patch)?.iter().any(touches),
        PatchFormat::Pds | PatchFormat::Unspecified => list::wrapped(patch)?.iter().any(touches),
    };
    if hidden {
        return Err(PDS_64.update("patch", "what a sensitive record does not show is not patched"));
    }
    Ok(())
}

/// A test tells as much as a change, and a path to the whole resource tells all.
fn touches(patch: &Patch) -> bool {
    let first = patch.path.steps().first();
    first.is_none_or(|member| restricted::hides(member))
}
