//! Every operation there is. Routing, authorisation and documentation derive from this table.

use crate::operation::OperationSpec;

/// Every operation, in the order of their names.
pub const OPERATIONS: &[OperationSpec] = &[];

/// The operation of this name.
pub fn find(name: &str) -> Option<&'static OperationSpec> {
    OPERATIONS.iter().find(|spec| spec.name == name)
}
