//! `pds.notify_death`: that the patient has died, as somebody or the registrar tells it, or that this was wrong.

use spine_proto::ids::RoutingKey;
use spine_proto::pds::v1::{DeathStatus, NotifyDeathRequest, NotifyDeathResponse};
use spine_statemachine::store::OrderedRead;

use super::Members;
use crate::context::Context;
use crate::date::{self, Span};
use crate::failure::Failure;
use crate::ids::{self, CallId};
use crate::json::Json;
use crate::operation::Operation;
use crate::pds::patient::check_death;
use crate::pds::rules::{PDS_59, PDS_60};
use crate::pds::{PERMISSION_DEATH, access, row};
use crate::plan::{Completed, Plan};
use crate::reason;
use crate::view::View;

const URL: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-DeathNotificationStatus";
const SYSTEM: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-DeathNotificationStatus";
/// The end of the url, whichever release of UK Core it is of.
const URL_END: &str = "UKCore-DeathNotificationStatus";
const FORMAL: &str = "2";
/// Times are of UTC.
const UTC: &str = "+00:00";

/// See the module.
pub struct NotifyDeath;

impl Operation for NotifyDeath {
    const NAME: &'static str = "pds.notify_death";
    const PERMISSION: &'static str = PERMISSION_DEATH;
    const WRITES: bool = true;
    type Request = NotifyDeathRequest;
    type Response = NotifyDeathResponse;

    fn routing_key(request: &NotifyDeathRequest) -> Result<RoutingKey, Failure> {
        Ok(ids::nhs_number(&request.nhs_number)?.routing_key())
    }

    fn call_id(request: &NotifyDeathRequest) -> Result<Option<CallId>, Failure> {
        ids::call_id(&request.request_id, request.session.as_ref()).map(Some)
    }

    fn plan(view: &mut View<'_>, request: &NotifyDeathRequest, context: &Context) -> Result<Plan, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        access::check_replace(&context.principal, nhs_number)?;
        super::changed(
            view,
            context,
            nhs_number,
            request.version_id,
            |members| match DeathStatus::try_from(request.status) {
                Ok(DeathStatus::Informal) => tell(members, "1", "Informal", request, context),
                Ok(DeathStatus::Formal) => tell(members, FORMAL, "Formal", request, context),
                Ok(DeathStatus::Removed) => take_back(members, request),
                Ok(DeathStatus::Unspecified) | Err(_) => Err(Failure::invalid(
                    reason::MALFORMED_REQUEST,
                    "status",
                    "the status is not one of this release",
                )),
            },
        )
    }

    fn respond(
        view: &dyn OrderedRead,
        request: &NotifyDeathRequest,
        completed: &Completed,
        context: &Context,
    ) -> Result<NotifyDeathResponse, Failure> {
        let nhs_number = ids::nhs_number(&request.nhs_number)?;
        Ok(NotifyDeathResponse {
            patient: Some(super::answer(view, context, nhs_number, completed)?),
            replayed: completed.replayed,
            position: Some(completed.position()),
        })
    }
}

fn tell(
    members: &mut Members,
    code: &str,
    display: &str,
    request: &NotifyDeathRequest,
    context: &Context,
) -> Result<(), Failure> {
    let time = request.deceased.as_str();
    if Span::parse_date_time(time).is_none() || (time.contains('T') && !time.ends_with(UTC)) {
        return Err(PDS_60.refuse("deceased", "a death is told with its time, of UTC"));
    }
    if code != FORMAL && status(members).is_some_and(|status| status == FORMAL) {
        return Err(PDS_59.refuse("status", "the registrar has told the death"));
    }
    remove(members);
    members.push(("deceasedDateTime".to_owned(), Json::String(time.to_owned())));
    let extension = notification(code, display, &date::instant_of(context.now_ms));
    match members.iter_mut().find(|(name, _)| name == "extension") {
        Some((_, Json::Array(extensions))) => extensions.push(extension),
        _ => members.push(("extension".to_owned(), Json::Array(vec![extension]))),
    }
    let resource = Json::Object(std::mem::take(members));
    let birth = resource.member("birthDate").and_then(Json::as_str);
    let birth = birth
        .and_then(Span::parse_date)
        .ok_or_else(|| row::damaged("a patient has no birth date"))?;
    check_death(&resource, birth, context.now_ms)?;
    if let Json::Object(back) = resource {
        *members = back;
    }
    Ok(())
}

fn take_back(members: &mut Members, request: &NotifyDeathRequest) -> Result<(), Failure> {
    if !request.deceased.is_empty() {
        return Err(PDS_60.refuse("deceased", "a death that is taken back has no time"));
    }
    let told = members.iter().any(|(name, _)| name == "deceasedDateTime");
    if !told && status(members).is_none() {
        return Err(PDS_60.refuse("status", "no death was told"));
    }
    remove(members);
    Ok(())
}

fn is_notification(extension: &Json) -> bool {
    let url = extension.member("url").and_then(Json::as_str);
    url.is_some_and(|url| url.ends_with(URL_END))
}

fn remove(members: &mut Members) {
    members.retain(|(name, _)| name != "deceasedDateTime");
    if let Some((_, Json::Array(extensions))) = members.iter_mut().find(|(name, _)| name == "extension") {
        extensions.retain(|extension| !is_notification(extension));
    }
    members.retain(|(name, value)| {
        name != "extension" || value.as_array().is_none_or(|items| !items.is_empty())
    });
}

/// The code of the notification.
fn status(members: &[(String, Json)]) -> Option<&str> {
    let (_, extensions) = members.iter().find(|(name, _)| name == "extension")?;
    let told = extensions.as_array()?.iter().find(|one| is_notification(one))?;
    let parts = told.member("extension")?.as_array()?;
    let part = parts
        .iter()
        .find(|part| part.member("url").and_then(Json::as_str) == Some("deathNotificationStatus"))?;
    let coding = part
        .member("valueCodeableConcept")?
        .member("coding")?
        .as_array()?;
    coding.first()?.member("code")?.as_str()
}

fn notification(code: &str, display: &str, now: &str) -> Json {
    let text = |name: &str, value: &str| (name.to_owned(), Json::String(value.to_owned()));
    let coding = Json::Object(vec![
        text("system", SYSTEM),
        text("version", "1.0.0"),
        text("code", code),
        text("display", display),
    ]);
    let concept = Json::Object(vec![("coding".to_owned(), Json::Array(vec![coding]))]);
    let told = Json::Object(vec![
        text("url", "deathNotificationStatus"),
        ("valueCodeableConcept".to_owned(), concept),
    ]);
    let when = Json::Object(vec![
        text("url", "systemEffectiveDate"),
        text("valueDateTime", now),
    ]);
    Json::Object(vec![
        text("url", URL),
        ("extension".to_owned(), Json::Array(vec![told, when])),
    ])
}
