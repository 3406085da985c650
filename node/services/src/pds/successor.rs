//! From a patient's current version to the next one.

use spine_proto::ids::NhsNumber;
use spine_proto::storage::v1::PatientRow;
use spine_statemachine::store::{Key, ReadError, Record};

use super::keys;
use super::patient::{JSON_DEPTH_MAX, Patient};
use super::row::{self, Plain};
use super::rules::PDS_12;
use super::search::index;
use crate::context::Context;
use crate::failure::Failure;
use crate::json;
use crate::plan::Plan;
use crate::view::View;

/// The current version, read for a change.
pub(super) struct Current<'a> {
    context: &'a Context,
    nhs_number: NhsNumber,
    key: Key,
    record: Record,
    plain: Plain,
    row: PatientRow,
}

impl<'a> Current<'a> {
    /// `None` where there is no such patient.
    pub(super) fn read(
        view: &mut View<'_>,
        context: &'a Context,
        nhs_number: NhsNumber,
    ) -> Result<Option<Self>, Failure> {
        let key = keys::current(&context.subject_key, nhs_number);
        let Some(record) = view.get(&key)? else {
            return Ok(None);
        };
        let plain = Plain::of(&record)?;
        let row = plain.row()?;
        Ok(Some(Self {
            context,
            nhs_number,
            key,
            record,
            plain,
            row,
        }))
    }

    /// # Errors
    /// `PDS-12`
    pub(super) fn check_version(&self, version_id: u32) -> Result<(), Failure> {
        let current = self.row.version_id;
        if current == version_id {
            return Ok(());
        }
        let message = format!("version {version_id} is not the current version {current}");
        Err(PDS_12.refuse("version_id", message))
    }

    pub(super) fn fhir_json(&self) -> &[u8] {
        &self.row.fhir_json
    }

    /// The plan that makes `patient` the next version.
    pub(super) fn replaced_by(self, view: &mut View<'_>, patient: Patient) -> Result<Plan, Failure> {
        let before = json::parse(&self.row.fhir_json, JSON_DEPTH_MAX)
            .map_err(|_| row::damaged("a patient is no JSON"))?;
        let current = self.row.version_id;
        let next = current
            .checked_add(1)
            .ok_or_else(|| ReadError("no version id is left".to_owned()))?;
        let mut plan = Plan {
            outcome: row::outcome(next),
            ..Plan::default()
        };
        let (nhs_number, after) = (self.nhs_number, patient.members());
        index::write(
            &mut plan,
            view,
            self.context,
            nhs_number,
            before.as_object(),
            after,
        )?;
        let updated = Plain::new(next, patient.into_json(next)?);
        plan.put(
            keys::older(&self.context.subject_key, self.nhs_number, current),
            row::frame_of_older(current, &self.plain, self.record.value, &updated),
            row::SCHEMA,
        );
        plan.put(self.key, updated.frame(), row::SCHEMA);
        Ok(plan)
    }
}
