//! The one decision whether a principal may call an operation.

use crate::error::{ErrorKind, SpineError};
use crate::operation::OperationSpec;
use crate::reason;

/// An authenticated caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Stable id of the caller; part of every request-id row, so two callers never meet.
    pub id: String,
    /// Permissions granted, as named by [`OperationSpec::permission`].
    pub permissions: Vec<String>,
}

/// Allows the call, or says which permission is missing.
///
/// # Errors
/// [`ErrorKind::Unauthenticated`] for a principal without an id, [`ErrorKind::Forbidden`] without the permission.
pub fn authorise(principal: &Principal, spec: &OperationSpec) -> Result<(), SpineError> {
    if principal.id.is_empty() {
        return Err(SpineError::new(
            ErrorKind::Unauthenticated,
            reason::UNAUTHENTICATED,
            "the caller is not known",
        ));
    }
    if principal
        .permissions
        .iter()
        .any(|granted| granted == spec.permission)
    {
        return Ok(());
    }
    Err(SpineError::new(
        ErrorKind::Forbidden,
        reason::FORBIDDEN,
        format!("{} needs the permission {}", spec.name, spec.permission),
    ))
}
