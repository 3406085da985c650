//! `pds.load`: a patient's first version, unless just this one is there already.
//!
//! A registration that a load repeats is known by its content and not by a request id: a row for each of millions of
//! ids would cost as much as the patients, and would be forgotten before a load is run again next day.

use bytes::Bytes;
use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{LoadLine, RegisterResponse};
use spine_statemachine::store::OrderedRead;

use super::patient::Patient;
use super::row::{self, FIRST_VERSION, Plain};
use super::{PERMISSION_WRITE, access, keys};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids::CallId;
use crate::operation::Operation;
use crate::pds::rules::PDS_11;
use crate::pds::search::index;
use crate::plan::{Completed, Plan};
use crate::view::View;

/// The outcome of a line whose patient was there already.
const PRESENT: &[u8] = b"present";

/// See the module.
pub struct Load;

impl Operation for Load {
    const NAME: &'static str = "pds.load";
    const PERMISSION: &'static str = PERMISSION_WRITE;
    const WRITES: bool = true;
    type Request = LoadLine;
    type Response = RegisterResponse;

    fn routing_key(request: &LoadLine) -> Result<RoutingKey, Failure> {
        Ok(Patient::nhs_number_of(&request.fhir_json)?.routing_key())
    }

    fn call_id(_: &LoadLine) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(view: &mut View<'_>, request: &LoadLine, context: &Context) -> Result<Plan, Failure> {
        let patient = Patient::parse(&request.fhir_json, context.now_ms)?;
        let nhs_number = patient.nhs_number();
        access::check_replace(&context.principal, nhs_number)?;
        let key = keys::current(&context.subject_key, nhs_number);
        if view.get(&key)?.is_some() {
            let plain = Plain::new(FIRST_VERSION, patient.into_json(FIRST_VERSION)?);
            // Versions never change, so what is read of them needs no guard.
            let first = row::version(view.records(), context, nhs_number, FIRST_VERSION)?;
            if first != plain.row()? {
                return Err(PDS_11.refuse("fhir_json.id", "a patient with this NHS Number is registered"));
            }
            return Ok(Plan {
                outcome: Bytes::from_static(PRESENT),
                ..Plan::default()
            });
        }
        let mut plan = Plan::default();
        index::write(&mut plan, view, context, nhs_number, None, patient.members())?;
        let plain = Plain::new(FIRST_VERSION, patient.into_json(FIRST_VERSION)?);
        plan.put(key, plain.frame(), row::SCHEMA);
        Ok(plan)
    }

    fn respond(
        _: &dyn OrderedRead,
        _: &LoadLine,
        completed: &Completed,
        _: &Context,
    ) -> Result<RegisterResponse, Failure> {
        Ok(RegisterResponse {
            patient: None,
            replayed: completed.outcome == PRESENT,
            position: Some(completed.position()),
        })
    }
}
