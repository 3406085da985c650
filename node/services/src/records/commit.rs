//! `records.commit`: changes to the records of one routing key, all or none, under the caller's guards.
//!
//! A caller's guard is checked by reading the record. What a plan reads is guarded, so a guard that holds here holds
//! where the change is applied, or the plan is made again and says which guard no longer does.

use bytes::Bytes;
use spine_proto::ids::RoutingKey;
use spine_proto::records::v1::{CommitRequest, CommitResponse, Guard, Mutation, guard, mutation};
use spine_statemachine::frame;
use spine_statemachine::limits::{GUARDS_MAX, MUTATIONS_MAX, RECORD_BYTES_MAX};
use spine_statemachine::store::OrderedRead;

use super::{PERMISSION_WRITE, SCHEMA, check_suffix, key_of};
use crate::context::Context;
use crate::error::ErrorKind;
use crate::failure::Failure;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::plan::{Completed, Plan};
use crate::view::View;
use crate::{ids, reason};

/// See the module.
pub struct Commit;

impl Operation for Commit {
    const NAME: &'static str = "records.commit";
    const PERMISSION: &'static str = PERMISSION_WRITE;
    const WRITES: bool = true;
    type Request = CommitRequest;
    type Response = CommitResponse;

    fn routing_key(request: &CommitRequest) -> Result<RoutingKey, Failure> {
        ids::routing_key("routing_key", &request.routing_key)
    }

    fn call_id(request: &CommitRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, request.session.as_ref()).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &CommitRequest, context: &Context) -> Result<Plan, Failure> {
        let routing_key = Self::routing_key(request)?;
        check_counts(request)?;
        // Malformed requests are refused before anything is read.
        let conditions = request
            .guards
            .iter()
            .enumerate()
            .map(|(at, guard)| condition(at, guard))
            .collect::<Result<Vec<_>, _>>()?;
        let mut plan = Plan::default();
        for (at, mutation) in request.mutations.iter().enumerate() {
            add(&mut plan, at, mutation, |suffix| {
                key_of(context, &routing_key, suffix)
            })?;
        }
        for (at, (suffix, condition)) in conditions.into_iter().enumerate() {
            let record = view.get(&key_of(context, &routing_key, suffix))?;
            condition.check(at, record.map(|record| record.revision))?;
        }
        Ok(plan)
    }

    fn respond(
        _: &dyn OrderedRead,
        _: &CommitRequest,
        completed: &Completed,
        _: &Context,
    ) -> Result<CommitResponse, Failure> {
        Ok(CommitResponse {
            revision: completed.revision,
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}

/// What a caller's guard asks of a record.
enum Condition {
    RevisionIs(u64),
    Absent,
}

impl Condition {
    fn check(&self, at: usize, actual: Option<u64>) -> Result<(), Failure> {
        let message = match (self, actual) {
            (Self::Absent, None) => return Ok(()),
            (Self::RevisionIs(wanted), Some(revision)) if *wanted == revision => return Ok(()),
            (Self::Absent, Some(revision)) => format!("guard {at}: the record exists at revision {revision}"),
            (Self::RevisionIs(_), None) => format!("guard {at}: there is no such record"),
            (Self::RevisionIs(_), Some(revision)) => {
                format!("guard {at}: the record is at revision {revision}")
            }
        };
        Err(Failure::refused(
            ErrorKind::Conflict,
            reason::GUARD_FAILED,
            format!("guards[{at}]"),
            message,
        ))
    }
}

fn check_counts(request: &CommitRequest) -> Result<(), Failure> {
    let (guards, mutations) = (request.guards.len(), request.mutations.len());
    if guards > GUARDS_MAX {
        let message = format!("{guards} guards are more than {GUARDS_MAX}");
        return Err(Failure::invalid(reason::TOO_MANY_GUARDS, "guards", message));
    }
    if mutations > MUTATIONS_MAX {
        let message = format!("{mutations} mutations are more than {MUTATIONS_MAX}");
        return Err(Failure::invalid(reason::TOO_MANY_MUTATIONS, "mutations", message));
    }
    if mutations == 0 {
        return Err(Failure::invalid(
            reason::NO_MUTATIONS,
            "mutations",
            "there is nothing to change",
        ));
    }
    Ok(())
}

fn condition(at: usize, guard: &Guard) -> Result<(&Bytes, Condition), Failure> {
    check_suffix(|| format!("guards[{at}].suffix"), &guard.suffix)?;
    let condition = match guard.condition {
        Some(guard::Condition::RevisionIs(revision)) => Condition::RevisionIs(revision),
        Some(guard::Condition::Absent(true)) => Condition::Absent,
        Some(guard::Condition::Absent(false)) | None => {
            let field = format!("guards[{at}].condition");
            return Err(Failure::invalid(
                reason::INCOMPLETE_GUARD,
                field,
                "the guard asks for nothing",
            ));
        }
    };
    Ok((&guard.suffix, condition))
}

fn add(
    plan: &mut Plan,
    at: usize,
    mutation: &Mutation,
    key_of: impl FnOnce(&[u8]) -> Bytes,
) -> Result<(), Failure> {
    match &mutation.kind {
        Some(mutation::Kind::Put(put)) => {
            check_suffix(|| format!("mutations[{at}].put.suffix"), &put.suffix)?;
            let bytes = put.value.len();
            if bytes > RECORD_BYTES_MAX {
                let message = format!("the record has {bytes} bytes, more than {RECORD_BYTES_MAX}");
                let field = format!("mutations[{at}].put.value");
                return Err(Failure::invalid(reason::RECORD_TOO_LARGE, field, message));
            }
            plan.put(key_of(&put.suffix), frame::encode(&put.value), SCHEMA);
        }
        Some(mutation::Kind::Delete(delete)) => {
            check_suffix(|| format!("mutations[{at}].delete.suffix"), &delete.suffix)?;
            plan.delete(key_of(&delete.suffix));
        }
        None => {
            let field = format!("mutations[{at}]");
            return Err(Failure::invalid(
                reason::INCOMPLETE_MUTATION,
                field,
                "neither a put nor a delete",
            ));
        }
    }
    Ok(())
}
