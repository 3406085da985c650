//! Whether organisations that a change names are there: a practice is a practice, a pharmacy a pharmacy.

use spine_proto::pds::v1::OrganisationRole as Role;

use super::changes::{Changes, text};
use crate::failure::Failure;
use crate::json::Json;
use crate::organisations::is_known;
use crate::pds::rules::{PDS_42, PDS_43};
use crate::view::View;

/// The ends of the urls of extensions that name an organisation, and what it has to be.
const DISPENSERS: [(&str, &[Role]); 3] = [
    ("UKCore-NominatedPharmacy", &[Role::Pharmacy]),
    (
        "UKCore-PreferredDispenserOrganization",
        &[Role::GeneralPractice, Role::Pharmacy],
    ),
    (
        "UKCore-MedicalApplianceSupplier",
        &[Role::ApplianceSupplier, Role::Pharmacy],
    ),
];

/// # Errors
/// `PDS-42`, `PDS-43`
pub(super) fn check(view: &mut View<'_>, changes: &Changes<'_>) -> Result<(), Failure> {
    for changed in changes.items("generalPractitioner") {
        let code = changed.after.member("identifier").and_then(code_of);
        if !is_known(view, code.unwrap_or_default(), &[Role::GeneralPractice])? {
            let field = format!("generalPractitioner[{}].identifier", changed.at);
            return Err(PDS_42.update(field, "the general practice is not one of the ODS"));
        }
    }
    for changed in changes.items("extension") {
        let url = text(changed.after, "url").unwrap_or_default();
        let Some((_, roles)) = DISPENSERS.iter().find(|(end, _)| url.ends_with(end)) else {
            continue;
        };
        let reference = changed.after.member("valueReference");
        let code = reference
            .and_then(|reference| reference.member("identifier"))
            .and_then(code_of);
        if !is_known(view, code.unwrap_or_default(), roles)? {
            let field = format!("extension[{}]", changed.at);
            return Err(PDS_43.update(field, "the dispenser is not one of the ODS"));
        }
    }
    Ok(())
}

fn code_of(identifier: &Json) -> Option<&str> {
    text(identifier, "value")
}
