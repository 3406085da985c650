//! From a patient's current version to the next one.

use spine_proto::ids::NhsNumber;
use spine_proto::storage::v1::PatientRow;
use spine_statemachine::store::{Key, ReadError, Record};

use super::keys;
use super::patient::{JSON_DEPTH_MAX, Patient};
use super::person::confidentiality;
use super::row::{self, Plain};
use super::rules::{PDS_12, PDS_56};
use super::search::index;
use crate::context::Context;
use crate::failure::Failure;
use crate::json::{self, Json};
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

    /// Whether anything may still be changed.
    ///
    /// # Errors
    /// `PDS-56`, `PDS-57`
    pub(super) fn check_live(&self) -> Result<(), Failure> {
        if !self.row.superseded_by.is_empty() {
            return Err(PDS_56.refuse("nhs_number", "this number was merged into another"));
        }
        row::check_shown(&self.row)
    }

    pub(super) fn row(&self) -> &PatientRow {
        &self.row
    }

    fn resource(&self) -> Result<Json, Failure> {
        json::parse(&self.row.fhir_json, JSON_DEPTH_MAX).map_err(|_| row::damaged("a patient is no JSON"))
    }

    /// The members of the resource.
    pub(super) fn members(&self) -> Result<Vec<(String, Json)>, Failure> {
        match self.resource()? {
            Json::Object(members) => Ok(members),
            _ => Err(row::damaged("a patient is no object")),
        }
    }

    /// The plan that makes `patient`, as a caller sends it, the next version.
    pub(super) fn replaced_by(self, view: &mut View<'_>, mut patient: Patient) -> Result<Plan, Failure> {
        confidentiality::keep(&self.resource()?, &mut patient)?;
        let row = self.row.clone();
        self.followed_by(view, patient, row)
    }

    /// The plan that makes `patient` the next version, with what `row` says besides.
    pub(super) fn followed_by(
        self,
        view: &mut View<'_>,
        patient: Patient,
        row: PatientRow,
    ) -> Result<Plan, Failure> {
        let before = self.resource()?;
        let current = self.row.version_id;
        let next = current
            .checked_add(1)
            .ok_or_else(|| ReadError("no version id is left".to_owned()))?;
        let mut plan = Plan {
            outcome: row::outcome(next),
            ..Plan::default()
        };
        // Who is not shown is not found.
        let after = match confidentiality::of_members(patient.members()) {
            Some(confidentiality::INVALID) => &[][..],
            _ => patient.members(),
        };
        let before = before.as_object();
        index::write(&mut plan, view, self.context, self.nhs_number, before, after)?;
        let updated = Plain::of_row(&PatientRow {
            version_id: next,
            fhir_json: patient.into_json(next)?.into(),
            ..row
        });
        plan.put(
            keys::older(&self.context.subject_key, self.nhs_number, current),
            row::frame_of_older(current, &self.plain, self.record.value, &updated),
            row::SCHEMA,
        );
        plan.put(self.key, updated.frame(), row::SCHEMA);
        Ok(plan)
    }
}
