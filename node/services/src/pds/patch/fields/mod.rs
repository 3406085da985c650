//! What may be changed, part by part. Every rule looks at what is changed and at nothing else.

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
use crate::authorise::Principal;
use crate::failure::Failure;

/// What a patient may change, in whatever format.
///
/// # Errors
/// `PDS-46`
pub(super) fn check_own(changes: &Changes<'_>, principal: &Principal) -> Result<(), Failure> {
    own::check(changes, principal)
}

/// All other rules of the national service.
///
/// # Errors
/// The first rule broken.
pub(super) fn check(changes: &Changes<'_>, principal: &Principal, now_ms: i64) -> Result<(), Failure> {
    name::check(changes)?;
    person::check(changes)?;
    period::check(changes, now_ms)?;
    address::check(changes)?;
    telecom::check(changes)?;
    practice::check(changes)?;
    extension::check(changes)?;
    death::check(changes, principal)
}
