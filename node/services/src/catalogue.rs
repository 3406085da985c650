//! Every operation there is. Routing, authorisation and documentation derive from this table.

use crate::error::{ErrorKind, SpineError};
pub use crate::operation::OperationSpec;
use crate::organisations::load::Load as LoadOrganisations;
use crate::pds::allocate::alike::Alike;
use crate::pds::allocate::claim::{Claim, Release};
use crate::pds::allocate::create::{Create, Void};
use crate::pds::history::History;
use crate::pds::load::Load;
use crate::pds::patch::Patch;
use crate::pds::person::death::NotifyDeath;
use crate::pds::person::invalidate::Invalidate;
use crate::pds::person::merge::{Absorb, Supersede};
use crate::pds::person::sensitivity::SetSensitivity;
use crate::pds::register::Register;
use crate::pds::related::{ListRelated, PutRelated};
use crate::pds::retrieve::Retrieve;
use crate::pds::search::Search;
use crate::pds::update::Update;
use crate::pds::watch::Watch as WatchPatients;
use crate::reason;
use crate::records::commit::Commit;
use crate::records::get::Get;
use crate::records::list::List;
use crate::records::watch::Watch;

/// Every operation, in the order of their names.
pub const OPERATIONS: &[OperationSpec] = &[
    OperationSpec::of::<LoadOrganisations>().internal(),
    OperationSpec::of::<Absorb>().internal(),
    OperationSpec::of::<Alike>().internal(),
    OperationSpec::of::<Claim>().internal(),
    OperationSpec::of::<Create>().internal(),
    OperationSpec::of::<History>(),
    OperationSpec::of::<Invalidate>(),
    OperationSpec::of::<ListRelated>(),
    OperationSpec::of::<Load>(),
    OperationSpec::of::<NotifyDeath>(),
    OperationSpec::of::<Patch>(),
    OperationSpec::of::<PutRelated>(),
    OperationSpec::of::<Register>(),
    OperationSpec::of::<Release>().internal(),
    OperationSpec::of::<Retrieve>(),
    OperationSpec::of::<Search>().internal(),
    OperationSpec::of::<SetSensitivity>(),
    OperationSpec::of::<Supersede>().internal(),
    OperationSpec::of::<Update>(),
    OperationSpec::of::<Void>().internal(),
    OperationSpec::of::<WatchPatients>().internal(),
    OperationSpec::of::<Commit>(),
    OperationSpec::of::<Get>(),
    OperationSpec::of::<List>(),
    OperationSpec::of::<Watch>().internal(),
];

/// The operation of this name.
///
/// # Errors
/// [`ErrorKind::Unsupported`]: a newer node may know it.
pub fn find(name: &str) -> Result<&'static OperationSpec, SpineError> {
    let found = OPERATIONS.iter().find(|spec| spec.name == name);
    found.ok_or_else(|| {
        SpineError::new(
            ErrorKind::Unsupported,
            reason::UNKNOWN_OPERATION,
            "this node has no such operation",
        )
    })
}

/// The operation of this name, for a caller from outside.
///
/// # Errors
/// As [`find`], and `INTERNAL_OPERATION` for one that nodes alone call.
pub fn find_public(name: &str) -> Result<&'static OperationSpec, SpineError> {
    let spec = find(name)?;
    if spec.internal {
        return Err(SpineError::new(
            ErrorKind::Forbidden,
            reason::INTERNAL_OPERATION,
            "nodes alone call this operation; call the one that it is a part of",
        ));
    }
    Ok(spec)
}

/// Every permission that some operation needs, in order and without repeats.
pub fn permissions() -> Vec<&'static str> {
    let mut permissions: Vec<_> = OPERATIONS.iter().map(|spec| spec.permission).collect();
    permissions.sort_unstable();
    permissions.dedup();
    permissions
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spine_statemachine::LevelRange;
    use spine_statemachine::key::SubjectKey;
    use spine_statemachine::memory::MemoryStore;

    use super::{OPERATIONS, find, find_public, permissions};
    use crate::{Completed, Context, ErrorKind, Principal, View, authorise, reason};

    #[test]
    fn names_are_sorted_and_found() {
        assert!(OPERATIONS.is_sorted_by(|one, other| one.name < other.name));
        for spec in OPERATIONS {
            assert_eq!(find(spec.name).unwrap().name, spec.name);
        }
        assert_eq!(find("pds.forget").err().unwrap().kind, ErrorKind::Unsupported);
    }

    #[test]
    fn steps_and_parts_of_other_calls_are_for_nodes_alone() {
        let internal: Vec<&str> = OPERATIONS
            .iter()
            .filter(|spec| spec.internal)
            .map(|spec| spec.name)
            .collect();
        assert_eq!(
            internal,
            [
                "organisations.load",
                "pds.absorb",
                "pds.alike",
                "pds.claim",
                "pds.create",
                "pds.release",
                "pds.search",
                "pds.supersede",
                "pds.void",
                "pds.watch",
                "records.watch",
            ]
        );
        for spec in OPERATIONS {
            let refused = find_public(spec.name).err();
            let refused = refused.map(|error| (error.kind, error.reason.into_owned()));
            let expected = (ErrorKind::Forbidden, reason::INTERNAL_OPERATION.to_owned());
            assert_eq!(refused, spec.internal.then_some(expected), "{}", spec.name);
        }
        assert_eq!(
            find_public("pds.forget").err().unwrap().kind,
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn every_operation_needs_its_permission() {
        for spec in OPERATIONS {
            let mut principal = Principal {
                id: "gp-1".to_owned(),
                permissions: vec![spec.permission.to_owned()],
            };
            assert!(authorise(&principal, spec).is_ok());
            principal.permissions = permissions().into_iter().map(str::to_owned).collect();
            assert!(authorise(&principal, spec).is_ok());
            principal
                .permissions
                .retain(|permission| permission != spec.permission);
            assert_eq!(
                authorise(&principal, spec).unwrap_err().kind,
                ErrorKind::Forbidden
            );
            principal.id.clear();
            assert_eq!(
                authorise(&principal, spec).unwrap_err().kind,
                ErrorKind::Unauthenticated
            );
        }
    }

    #[test]
    fn reading_permissions_do_not_write() {
        for spec in OPERATIONS {
            assert_eq!(spec.permission.ends_with(".write"), spec.writes, "{}", spec.name);
        }
    }

    proptest! {
        #[test]
        fn no_request_bytes_make_an_operation_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let store = MemoryStore::default();
            let context = Context {
                now_ms: 1_767_225_600_000,
                principal: Principal { id: "gp-1".to_owned(), permissions: Vec::new() }.into(),
                subject_key: SubjectKey::new([1; 16]),
                entropy: [0; 32],
            };
            let bytes = bytes::Bytes::from(bytes);
            let completed = Completed { shard: 1, index: 1, revision: 1, outcome: bytes.clone(), replayed: false };
            for spec in OPERATIONS {
                let _ = (spec.identify)(&bytes);
                let _ = (spec.plan)(&mut View::new(&store).at_level(LevelRange::RELEASE.max), &bytes, &context);
                let _ = (spec.respond)(&store, &bytes, &completed, &context);
            }
        }
    }
}
