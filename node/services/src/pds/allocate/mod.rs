//! A new person's NHS Number: search, claim, search again, create, release.
//!
//! Records of people who could be the same person may stand in any shard, and nothing locks them all. So whoever wants
//! to create somebody first *claims* the birth date (`claim.rs`): one row in the shard of that day, which says who is
//! being created and under which number, drawn at random. Then every shard is searched for somebody alike
//! (`alike.rs`), the patient is created under the number (`create.rs`), and the claim is released. Whoever comes second
//! waits, searches again and finds the first.
//!
//! A claim may be left behind by a process that died. Whoever has waited for one for [`PATIENCE_MS`] gives it up: first
//! its number is made *void* in the number's own shard, unless the patient has been created there; only then the claim
//! is released. So a late step of the one who was given up changes nothing: under a void number nobody is created. No
//! step trusts a clock, and each can be repeated.
//!
//! A number is drawn from all that begin with 9, which are never given to people. One that is taken is drawn again;
//! that none is ever given twice is decided where it is created, by the number itself. A patient remembers the request
//! that it was created for, so that the same request is answered with the same number, for ever.

pub mod alike;
pub mod claim;
pub mod create;
mod criteria;
pub mod new_patient;
mod number;
pub mod steps;

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{
    AlikeRequest, AlikeResponse, AllocateRequest, AllocateResponse, ClaimRequest, ClaimResponse,
    CreateRequest, CreateResponse, ReleaseRequest, ReleaseResponse, VoidRequest, VoidResponse,
};

use self::criteria::{Criteria, Met};
use self::new_patient::NewPatient;
use self::steps::{Steps, call, every_shard, step_id};
use super::access;
use super::rules::PDS_11;
use crate::authorise::Principal;
use crate::error::{ErrorKind, SpineError};
use crate::{ids, json, reason, submit};

/// How long a claim of one request may stand in the way of another.
pub const PATIENCE_MS: u64 = 1_000;
/// Between two looks at a claim that is held: from, to.
const PAUSE_MS: (u64, u64) = (5, 80);
/// Numbers that are tried for one request.
const NUMBERS_MAX: u32 = 16;

/// Creates a patient, step by step, unless there is one. Sent again under its request id it goes on where it broke off.
///
/// # Errors
/// The first rule broken; what a step gives.
pub async fn allocate<S: Steps>(
    steps: &S,
    request: &AllocateRequest,
    principal: &Principal,
    now_ms: i64,
) -> Result<AllocateResponse, SpineError> {
    access::check_create(principal)?;
    ids::call_id(&request.request_id, None)?;
    let patient = NewPatient::read(&request.fhir_json, request.national, now_ms)?;
    let verdict = patient.check(principal, now_ms).map_err(SpineError::from);
    // The national service looks at all that is said before it looks for anybody.
    if request.national {
        verdict.clone()?;
    }
    let criteria = Criteria::read(&request.if_none, &patient)?;
    let allocation = Allocation {
        steps,
        request,
        birth_date: patient.birth_date,
        criteria,
        verdict,
        holder: steps::holder(principal, &request.request_id),
        body: steps::body(request),
    };
    match &patient.nhs_number {
        // The number itself decides: nothing is searched for, so nothing is claimed.
        Some(number) => allocation.under(number).await,
        None => allocation.run().await,
    }
}

/// Those who ask for people of one day had better ask one after another: the second finds whom the first has created.
/// `None` where the request says no day.
#[must_use]
pub fn turn(request: &AllocateRequest) -> Option<RoutingKey> {
    let day = json::string_member(&request.fhir_json, "birthDate")?;
    claim::day(day).ok()
}

struct Allocation<'a, S> {
    steps: &'a S,
    request: &'a AllocateRequest,
    birth_date: String,
    criteria: Option<Criteria>,
    /// Whether what is said keeps the rules of new patients. Whoever is found is the answer all the same.
    verdict: Result<(), SpineError>,
    /// Which request this is, and what it says.
    holder: [u8; 16],
    body: [u8; 16],
}

/// What a try to create came to.
enum Created {
    Patient(AllocateResponse),
    /// Somebody has the number, or nobody ever will.
    Taken,
}

impl<S: Steps> Allocation<'_, S> {
    async fn run(&self) -> Result<AllocateResponse, SpineError> {
        for draw in 0..NUMBERS_MAX {
            let drawn = match self.claim(draw).await? {
                Ok(answer) => return Ok(answer),
                Err(drawn) => drawn,
            };
            // Whoever was created before the claim is found now.
            if let Some(answer) = self.look().await? {
                self.give_up(&self.holder, &drawn).await?;
                return Ok(answer);
            }
            let created = match self.create(&drawn).await {
                // Refused for what it says: whoever is next need not wait until the claim is too old.
                Err(error) if !error.kind.is_transient() => {
                    let _ = self.give_up(&self.holder, &drawn).await;
                    return self.unless_met(error).await;
                }
                created => created?,
            };
            let released = self.release(&self.holder, &drawn).await;
            match (created, released) {
                // A claim that stays is given up by who comes next.
                (Created::Patient(answer), _) => return Ok(answer),
                (Created::Taken, released) => released?,
            }
        }
        Err(SpineError::new(
            ErrorKind::RateLimited,
            reason::CONTENDED,
            "no number could be claimed for long enough",
        ))
    }

    /// Waits for its turn: gives the number that goes with the claim, or the answer where there is one before.
    async fn claim(&self, draw: u32) -> Result<Result<AllocateResponse, String>, SpineError> {
        loop {
            if let Some(answer) = self.look().await? {
                return Ok(Ok(answer));
            }
            self.verdict.clone()?;
            let claim = self.ask_for_claim(&format!("c{draw}"), false).await?;
            if !claim.held {
                return Ok(Err(claim.nhs_number));
            }
            // Whoever has it is likely to create just this person: then the next search finds them.
            self.wait_for(claim).await?;
        }
    }

    /// Waits until the claim is another one, or gives it up.
    async fn wait_for(&self, claim: ClaimResponse) -> Result<(), SpineError> {
        let (mut waited_ms, mut pause_ms) = (0, PAUSE_MS.0);
        while waited_ms < PATIENCE_MS {
            self.steps.pause(pause_ms).await?;
            waited_ms += pause_ms;
            pause_ms = (pause_ms * 2).min(PAUSE_MS.1);
            let now = self.ask_for_claim("p", true).await?;
            if (&now.holder, &now.nhs_number) != (&claim.holder, &claim.nhs_number) {
                return Ok(());
            }
        }
        let other = <[u8; 16]>::try_from(&claim.holder[..]).map_err(|_| malformed())?;
        self.give_up(&other, &claim.nhs_number).await
    }

    async fn ask_for_claim(&self, step: &str, peek: bool) -> Result<ClaimResponse, SpineError> {
        let request = ClaimRequest {
            birth_date: self.birth_date.clone(),
            holder: self.holder.to_vec().into(),
            body: self.body.to_vec().into(),
            request_id: step_id(&self.holder, step),
            peek,
        };
        call(self.steps, "pds.claim", &request).await
    }

    /// The answer, where nobody is to be created.
    async fn look(&self) -> Result<Option<AllocateResponse>, SpineError> {
        let alike = self.alike().await?;
        if alike.reused {
            return Err(submit::request_id_reused());
        }
        if !alike.own.is_empty() {
            return match self.create(&alike.own).await? {
                Created::Patient(answer) => Ok(Some(answer)),
                Created::Taken => Err(malformed()),
            };
        }
        if let Some(answer) = self.met().await? {
            return Ok(Some(answer));
        }
        if alike.nhs_numbers.is_empty() {
            return Ok(None);
        }
        Ok(Some(AllocateResponse {
            alike: alike.nhs_numbers,
            ..AllocateResponse::default()
        }))
    }

    /// The answer, where somebody meets the criteria.
    async fn met(&self) -> Result<Option<AllocateResponse>, SpineError> {
        let Some(criteria) = &self.criteria else {
            return Ok(None);
        };
        Ok(match criteria.met(self.steps).await? {
            Met::Nobody => None,
            Met::One(patient) => Some(AllocateResponse {
                patient: Some(*patient),
                existing: true,
                ..AllocateResponse::default()
            }),
            Met::Several => Some(AllocateResponse {
                several: true,
                ..AllocateResponse::default()
            }),
        })
    }

    /// What a rule refuses is answered all the same where somebody meets the criteria by now.
    async fn unless_met(&self, refusal: SpineError) -> Result<AllocateResponse, SpineError> {
        if refusal.rule.is_empty() {
            return Err(refusal);
        }
        self.met().await?.ok_or(refusal)
    }

    async fn alike(&self) -> Result<AlikeResponse, SpineError> {
        let request = AlikeRequest {
            fhir_json: self.request.fhir_json.clone(),
            holder: self.holder.to_vec().into(),
            body: self.body.to_vec().into(),
        };
        let answers: Vec<AlikeResponse> = every_shard(self.steps, "pds.alike", &request).await?;
        Ok(alike::merged(answers))
    }

    /// Creates under a number that the caller knows.
    async fn under(&self, number: &str) -> Result<AllocateResponse, SpineError> {
        match self.create(number).await {
            Ok(Created::Patient(answer)) => Ok(answer),
            Ok(Created::Taken) => self.unless_met(exists()).await,
            Err(error) => self.unless_met(error).await,
        }
    }

    async fn create(&self, number: &str) -> Result<Created, SpineError> {
        let request = CreateRequest {
            nhs_number: number.to_owned(),
            fhir_json: self.request.fhir_json.clone(),
            national: self.request.national,
            holder: self.holder.to_vec().into(),
            body: self.body.to_vec().into(),
            // With the number: another one is another step.
            request_id: step_id(&self.holder, &format!("n{number}")),
        };
        let created: Result<CreateResponse, SpineError> = call(self.steps, "pds.create", &request).await;
        match created {
            Ok(created) => Ok(Created::Patient(AllocateResponse {
                patient: created.patient,
                replayed: created.replayed,
                position: created.position,
                ..AllocateResponse::default()
            })),
            Err(error) if error.reason == reason::NUMBER_TAKEN => Ok(Created::Taken),
            Err(error) => Err(error),
        }
    }

    /// Sees to it that nobody is created any more under the number of a claim, then releases it.
    async fn give_up(&self, holder: &[u8; 16], number: &str) -> Result<(), SpineError> {
        let request = VoidRequest {
            nhs_number: number.to_owned(),
            request_id: step_id(&self.holder, &format!("v{number}")),
        };
        let _: VoidResponse = call(self.steps, "pds.void", &request).await?;
        self.release(holder, number).await
    }

    async fn release(&self, holder: &[u8; 16], number: &str) -> Result<(), SpineError> {
        let request = ReleaseRequest {
            birth_date: self.birth_date.clone(),
            holder: holder.to_vec().into(),
            nhs_number: number.to_owned(),
            request_id: step_id(&self.holder, &format!("r{number}")),
        };
        let released: Result<ReleaseResponse, SpineError> = call(self.steps, "pds.release", &request).await;
        released.map(|_| ())
    }
}

fn exists() -> SpineError {
    PDS_11
        .refuse(
            "fhir_json.identifier",
            "a patient with this NHS Number is registered",
        )
        .into()
}

fn malformed() -> SpineError {
    let message = "a step of an allocation answered with what it cannot mean";
    SpineError::new(ErrorKind::Internal, reason::INTERNAL, message)
}
