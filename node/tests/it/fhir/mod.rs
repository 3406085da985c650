//! FHIR over HTTP, against whole nodes in this process.

mod answers;
mod history;
mod hostile;
mod http;
mod metadata;
mod openapi;
mod people;
mod search;
mod search_complete;
mod search_plain;
mod sensitive;
mod stop;
mod sync_wait;

use serde_json::{Value, json};
use spine_client::population::Population;

use self::http::{Reply, ask};
use crate::nodes::{Machine, cluster};

const PLAIN: &str = "/fhir/R4";
const PDS: &str = "/personal-demographics/FHIR/R4";
const FHIR: (&str, &str) = ("content-type", "application/fhir+json");
const LIST: (&str, &str) = ("content-type", "application/json-patch+json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

/// The id of a request.
fn id(number: u32) -> (&'static str, String) {
    ("x-request-id", format!("60e0b220-8136-4ca5-ae46-{number:012x}"))
}

/// A patient with this number among the synthetic ones.
fn patient(index: u64) -> (String, Value) {
    let patient = Population::new(11).patient(index);
    let resource = serde_json::from_str(&patient.json).unwrap();
    (patient.nhs_number, resource)
}

fn at(machine: &Machine) -> &str {
    &machine.config.listen.http
}

/// Puts that patient.
async fn put(machine: &Machine, index: u64) -> String {
    let (number, resource) = patient(index);
    let path = format!("{PLAIN}/Patient/{number}");
    let reply = ask(at(machine), "PUT", &path, &[FHIR], resource.to_string()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    number
}

fn code(reply: &Reply) -> String {
    let body = reply.json();
    assert_eq!(body["resourceType"], "OperationOutcome", "{}", reply.text());
    let coding = &body["issue"][0]["details"]["coding"][0];
    format!("{} {}", reply.status, coding["code"].as_str().unwrap())
}

fn diagnostics(reply: &Reply) -> String {
    reply.json()["issue"][0]["diagnostics"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn patches(list: &Value) -> String {
    json!({ "patches": list }).to_string()
}

async fn three() -> Vec<Machine> {
    cluster(3).await
}
