//! What may be changed, part by part. Every rule looks at what the patch has changed and at nothing else.

mod address;
mod death;
mod extension;
mod name;
mod own;
mod period;
mod person;
mod practice;
mod telecom;

use super::changes::Changes;
use crate::context::Context;
use crate::failure::Failure;

/// What a patient may change, in whatever format.
///
/// # Errors
/// `PDS-46`
pub(super) fn check_own(changes: &Changes<'_>, context: &Context) -> Result<(), Failure> {
    own::check(changes, &context.principal)
}

/// All other rules of the national service.
///
/// # Errors
/// The first rule broken.
pub(super) fn check(changes: &Changes<'_>, context: &Context) -> Result<(), Failure> {
    name::check(changes)?;
    person::check(changes)?;
    period::check(changes, context.now_ms)?;
    address::check(changes)?;
    telecom::check(changes)?;
    practice::check(changes)?;
    extension::check(changes)?;
    death::check(changes, &context.principal)
}
