//! Every way in: what is stored, and what is only asked for or refused.

use std::time::Duration;

use serde_json::json;
use spine_client::{Key, PatchFormat, PatientsFrom, SpineClient};

use super::CONTROL;
use super::people::{People, Person};
use crate::http::{Answer, Call, Caller};
use crate::processes::Cluster;
use crate::prove::RowError;
use crate::prove::rows::pds_cases::{PDS, PLAIN};

const DEADLINE: Duration = Duration::from_secs(10);
const FHIR: &str = "application/fhir+json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Makes everybody known.
pub(super) async fn plant(cluster: &Cluster, people: &mut People) -> Result<(), RowError> {
    let client = cluster.client(DEADLINE)?;
    let mut caller = Caller::new(cluster.http().to_vec(), 0);
    register(&client, &people.registered).await?;
    create(&mut caller, &mut people.created).await?;
    relate(&mut caller, people).await?;
    search(&mut caller, &people.registered).await?;
    merge(&mut caller, people).await?;
    ask_for(&client, &mut caller, &people.asked).await
}

fn request_id(kind: u32, number: u32) -> String {
    format!("{kind:08x}-0000-4000-8000-{number:012x}")
}

fn fhir(path: impl Into<String>, method: &'static str, body: String) -> Call {
    Call::get(path).header("content-type", FHIR).with(method, body)
}

async fn ask(caller: &mut Caller, call: &Call) -> Result<Answer, RowError> {
    caller.ask(call, DEADLINE).await.map_err(RowError::because)
}

/// # Errors
/// Another status: what was to be planted may not be there.
async fn must(caller: &mut Caller, call: &Call, status: u16) -> Result<Answer, RowError> {
    let answer = ask(caller, call).await?;
    if answer.status == status {
        return Ok(answer);
    }
    // The path may name somebody, and this is printed.
    let (method, seen) = (call.method, answer.status);
    Err(RowError::because(format!(
        "{method} answers {seen}, not {status}"
    )))
}

/// By the library, with a feed that shows them.
async fn register(client: &SpineClient, people: &[Person]) -> Result<(), RowError> {
    client.records().put(&Key::new("control", ""), CONTROL).await?;
    let pds = client.pds();
    let mut feed = pds.watch(PatientsFrom::Now);
    feed.begin().await?;
    for person in people {
        pds.register(person.resource()).await?;
        let patch = json!({ "gender": "unknown" }).to_string();
        pds.patch(&person.nhs_number, 0, PatchFormat::Merge, patch)
            .await?;
        pds.retrieve(&person.nhs_number).await?;
        feed.next().await?;
    }
    Ok(())
}

/// Under new numbers; every other one with a condition, which says once more who it is.
async fn create(caller: &mut Caller, people: &mut [Person]) -> Result<(), RowError> {
    for (person, number) in people.iter_mut().zip(0_u32..) {
        let mut call = fhir(format!("{PLAIN}/Patient"), "POST", person.newcomer());
        call = call.header("x-request-id", request_id(2, number));
        if number.is_multiple_of(2) {
            call = call.header("if-none-exist", person.query());
        }
        let patient = must(caller, &call, 201).await?.json();
        let Some(number) = patient["id"].as_str() else {
            return Err(RowError::because("a new patient has no number"));
        };
        person.nhs_number = number.to_owned();
    }
    Ok(())
}

async fn relate(caller: &mut Caller, people: &People) -> Result<(), RowError> {
    for ((person, patient), number) in people.related.iter().zip(&people.registered).zip(0..) {
        let body = person.related_to(&patient.nhs_number);
        let call = fhir(format!("{PLAIN}/RelatedPerson"), "POST", body);
        must(caller, &call.header("x-request-id", request_id(3, number)), 201).await?;
        let all = format!("{PDS}/Patient/{}/RelatedPerson", patient.nhs_number);
        must(
            caller,
            &Call::get(all).header("x-request-id", request_id(4, number)),
            200,
        )
        .await?;
    }
    Ok(())
}

/// With `POST`, by the name and by the number.
async fn search(caller: &mut Caller, people: &[Person]) -> Result<(), RowError> {
    for person in people {
        for query in [person.query(), format!("_id={}", person.nhs_number)] {
            let call = Call::get(format!("{PLAIN}/Patient/_search"))
                .header("content-type", FORM)
                .with("POST", query);
            must(caller, &call, 200).await?;
        }
    }
    Ok(())
}

fn merging(source: &Person, target: &Person) -> Call {
    let refers_to = |name: &str, person: &Person| {
        let reference = format!("Patient/{}", person.nhs_number);
        json!({ "name": name, "valueReference": { "reference": reference } })
    };
    let parameters = json!({
        "resourceType": "Parameters",
        "parameter": [refers_to("source-patient", source), refers_to("target-patient", target)],
    });
    fhir(format!("{PLAIN}/Patient/$merge"), "POST", parameters.to_string())
}

/// Those who were created into those who were registered.
async fn merge(caller: &mut Caller, people: &People) -> Result<(), RowError> {
    for ((source, target), number) in people.created.iter().zip(&people.registered).zip(0..) {
        let call = merging(source, target).header("x-request-id", request_id(5, number));
        must(caller, &call, 200).await?;
    }
    Ok(())
}

/// Nobody is stored under these: they are asked for, searched for, and refused.
async fn ask_for(client: &SpineClient, caller: &mut Caller, people: &[Person]) -> Result<(), RowError> {
    let pds = client.pds();
    let others = people.iter().cycle().skip(1);
    for ((person, other), number) in people.iter().zip(others).zip(0..) {
        let _ = pds.retrieve(&person.nhs_number).await;
        let _ = pds.history(&person.nhs_number, 5, 0).await;
        let _ = pds.register(person.refused()).await;
        for call in questions(person, number).iter().chain(&refusals(person, other)) {
            ask(caller, call).await?;
        }
    }
    Ok(())
}

fn questions(person: &Person, number: u32) -> Vec<Call> {
    let path = format!("{PLAIN}/Patient/{}", person.nhs_number);
    let search = format!("{}&_fuzzy-match=true&email={}", person.query(), person.email);
    let posted = Call::get(format!("{PLAIN}/Patient/_search"))
        .header("content-type", FORM)
        .with("POST", search.clone());
    vec![
        Call::get(path.clone()),
        Call::get(format!("{PDS}/Patient?{search}")).header("x-request-id", request_id(1, number)),
        posted,
        Call::get(format!("{PLAIN}/{}", person.family)),
        Call::get(format!("{PLAIN}/Patient?_id={}", person.nhs_number)),
        Call::get(format!("{PLAIN}/RelatedPerson/{}-1", person.nhs_number)),
        Call::get(format!("{PLAIN}/RelatedPerson?patient={}", person.nhs_number)),
        Call::get(format!("{PLAIN}/_feed")).header("last-event-id", &*person.family),
        // A patient who asks is named by the number.
        Call::get(path)
            .header("spine-access-mode", "patient")
            .header("spine-principal", &*person.nhs_number),
    ]
}

fn refusals(person: &Person, other: &Person) -> Vec<Call> {
    let path = format!("{PLAIN}/Patient/{}", person.nhs_number);
    let patients = format!("{PLAIN}/Patient");
    let related = person.related_to(&other.nhs_number);
    vec![
        fhir(path.clone(), "PUT", person.refused()),
        fhir(patients.clone(), "POST", person.refused()),
        // The condition is about somebody else.
        fhir(patients, "POST", person.newcomer()).header("if-none-exist", other.query()),
        fhir(format!("{PLAIN}/RelatedPerson"), "POST", related),
        merging(person, other),
        Call::get(path.clone())
            .header("content-type", "application/json-patch+json")
            .with("PATCH", format!("[{{\"op\":\"{}\"}}]", person.family)),
        Call::get(path).with("DELETE", ""),
    ]
}
