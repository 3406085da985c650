//! `pds.alike`: the patients of one shard who could be a new one.
//!
//! Alike is who was born on the same day, is not known to be of another gender, and has, or once had, a name whose
//! family name sounds the same or is a slip away, and whose given name is the same or a slip away; or the two stand in
//! each other's place. Twins have different given names and are not alike.

use spine_proto::ids::{NhsNumber, RoutingKey};
use spine_proto::pds::v1::{AlikeRequest, AlikeResponse};
use spine_proto::storage::v1::{Allocated, PatientRow};
use spine_statemachine::store::OrderedRead;

use crate::context::Context;
use crate::failure::Failure;
use crate::ids::CallId;
use crate::json::{self, Json};
use crate::operation::Operation;
use crate::pds::patient::JSON_DEPTH_MAX;
use crate::pds::search::likeness::{folded, is_slip, soundex};
use crate::pds::search::{backlog, index, tokens};
use crate::pds::{PERMISSION_READ, access, patient, restricted, row};
use crate::plan::{Completed, Plan};
use crate::view::View;

/// Patients of a shard who were born on one day; of more, no more are looked at.
const BORN_ON_A_DAY_MAX: usize = 10_000;
/// Numbers in an answer.
const NUMBERS_MAX: usize = 50;

/// See the module.
pub struct Alike;

impl Operation for Alike {
    const NAME: &'static str = "pds.alike";
    const PERMISSION: &'static str = PERMISSION_READ;
    const WRITES: bool = false;
    type Request = AlikeRequest;
    type Response = AlikeResponse;

    /// Every shard is asked, as in a search.
    fn routing_key(_: &AlikeRequest) -> Result<RoutingKey, Failure> {
        crate::ids::routing_key("", "alike")
    }

    fn call_id(_: &AlikeRequest) -> Result<Option<CallId>, Failure> {
        Ok(None)
    }

    fn plan(view: &mut View<'_>, request: &AlikeRequest, context: &Context) -> Result<Plan, Failure> {
        access::check_create(&context.principal)?;
        backlog::require_done(view)?;
        patient::read_nested(&request.fhir_json, JSON_DEPTH_MAX, "fhir_json").map(|_| Plan::read())
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &AlikeRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<AlikeResponse, Failure> {
        let resource = patient::read_nested(&request.fhir_json, JSON_DEPTH_MAX, "fhir_json")?;
        let wanted = Traits::of(&resource);
        let token = tokens::of_birth(&context.subject_key, &wanted.birth_date);
        let born = index::patients(view, &context.subject_key, &token, BORN_ON_A_DAY_MAX)?;
        // Whatever became of them since: another birth date, another number, or nobody who is shown.
        let token = tokens::of_request(&context.subject_key, &request.holder);
        let created = index::patients(view, &context.subject_key, &token, NUMBERS_MAX)?;
        let created = created.into_iter().filter(|number| !born.contains(number));
        let created: Vec<NhsNumber> = created.collect();
        let this = Allocated {
            holder: request.holder.clone(),
            body: request.body.clone(),
        };
        let mut answer = AlikeResponse {
            position: Some(completed.position()),
            ..AlikeResponse::default()
        };
        for (nhs_number, is_born) in born
            .iter()
            .map(|number| (*number, true))
            .chain(created.iter().map(|number| (*number, false)))
        {
            let row = row::current(view, context, nhs_number)?;
            match whose(&row, &this) {
                Some(true) => answer.own = nhs_number.expose(),
                Some(false) => answer.reused = true,
                None if is_born && answer.nhs_numbers.len() < NUMBERS_MAX && is_alike(&row, &wanted)? => {
                    answer.nhs_numbers.push(nhs_number.expose());
                }
                None => {}
            }
        }
        Ok(answer)
    }
}

/// Whether the patient was created for this very request, or for one of its id with another body.
fn whose(row: &PatientRow, this: &Allocated) -> Option<bool> {
    let allocated = row.allocated.as_ref()?;
    (allocated.holder == this.holder).then_some(allocated.body == this.body)
}

fn is_alike(row: &PatientRow, wanted: &Traits) -> Result<bool, Failure> {
    let patient =
        json::parse(&row.fhir_json, JSON_DEPTH_MAX).map_err(|_| row::damaged("a patient is no JSON"))?;
    let shown = restricted::confidentiality(&patient) != Some("REDACTED");
    Ok(shown && Traits::of(&patient).are_like(wanted))
}

/// The answers of all shards as one.
pub(super) fn merged(answers: Vec<AlikeResponse>) -> AlikeResponse {
    let mut merged = AlikeResponse::default();
    for answer in answers {
        merged.nhs_numbers.extend(answer.nhs_numbers);
        merged.reused |= answer.reused;
        if !answer.own.is_empty() {
            merged.own = answer.own;
        }
    }
    merged.nhs_numbers.sort();
    merged.nhs_numbers.truncate(NUMBERS_MAX);
    merged
}

/// What people are compared by.
struct Traits {
    birth_date: String,
    gender: Option<String>,
    names: Vec<Name>,
}

/// Folded.
struct Name {
    family: String,
    /// The first one; empty where there is none.
    given: String,
}

impl Traits {
    fn of(patient: &Json) -> Self {
        let text = |item: &Json, name: &str| item.member(name).and_then(Json::as_str).map(str::to_owned);
        let names = patient
            .member("name")
            .and_then(Json::as_array)
            .unwrap_or_default();
        let names = names.iter().map(|name| {
            let family = text(name, "family").or_else(|| text(name, "text"));
            let given = name.member("given").and_then(Json::as_array).unwrap_or_default();
            let given = given.first().and_then(Json::as_str).unwrap_or_default();
            Name {
                family: folded(&family.unwrap_or_default()),
                given: folded(given),
            }
        });
        Self {
            birth_date: text(patient, "birthDate").unwrap_or_default(),
            gender: text(patient, "gender").filter(|gender| gender == "male" || gender == "female"),
            names: names.collect(),
        }
    }

    fn are_like(&self, other: &Self) -> bool {
        let other_gender = matches!((&self.gender, &other.gender), (Some(one), Some(other)) if one != other);
        let like = |name: &Name| other.names.iter().any(|wanted| name.is_like(wanted));
        self.birth_date == other.birth_date && !other_gender && self.names.iter().any(like)
    }
}

impl Name {
    fn is_like(&self, other: &Self) -> bool {
        let near = |one: &str, other: &str| one == other || is_slip(one, other);
        let sounds_same = || soundex(&self.family).is_some_and(|sound| soundex(&other.family) == Some(sound));
        let straight =
            near(&self.given, &other.given) && (near(&self.family, &other.family) || sounds_same());
        straight || (self.family == other.given && self.given == other.family)
    }
}
