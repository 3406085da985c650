//! Every rule of the demographics service, broken over every transport of a cluster of processes.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use spine_client::{PatchFormat, Pds, SpineClient};
use spine_services::error_table::{of_kind, of_reason};
use spine_services::pds::rules::{RULES, Rule};
use spine_services::{ErrorKind, reason};

use super::pds_cases::{PDS, PLAIN, open, patient, pharmacy, request_id};
use super::pds_people_rules::{self as people, Told};
use super::support::block_on;
use crate::http::{Call, Caller};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "pds-rules",
    issue: 6,
    claim: "each numbered rule refuses what breaks it, over HTTP and gRPC alike, and what it refuses changes nothing",
    target: "every rule, 0 told otherwise",
    run,
};

const DEADLINE: Duration = Duration::from_secs(20);
const NUMBER: &str = "9990000018";
const OTHER: &str = "9990000026";
const JSON_PATCH: &str = "application/json-patch+json";

#[derive(Serialize)]
struct Measured {
    answers: usize,
    rules: BTreeSet<&'static str>,
    /// Rules that no case here breaks; there are none.
    without_a_case: Vec<&'static str>,
    wrong: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers of {} rules, ", self.answers, self.rules.len())?;
        match self.wrong.first() {
            None => write!(f, "each as the rule says")?,
            Some(first) => write!(f, "{} wrong, first: {first}", self.wrong.len())?,
        }
        if !self.without_a_case.is_empty() {
            write!(f, "; without a case: {}", self.without_a_case.join(" "))?;
        }
        Ok(())
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.wrong.is_empty() && self.without_a_case.is_empty() && self.answers > 0
    }
}

/// How a rule is broken.
enum Broken {
    /// By a whole resource.
    Resource(String),
    /// By a list of patches in the national format.
    Patches(Value),
    /// By one in the national format that is none, as it is.
    Raw(String),
    /// By somebody in this mode, with these patches.
    As(&'static str, &'static str, Value),
    /// By a search in this mode.
    Search(&'static str, &'static str),
    /// By naming a version that is not the current one.
    Version,
    /// By a second registration, which only gRPC has.
    Again,
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let cluster = open(context).await?;
        let client = cluster.client(DEADLINE)?;
        client.pds().register(patient(NUMBER).to_string()).await?;
        people::prepare(&client).await?;
        let mut caller = Caller::new(cluster.http().to_vec(), 0);
        let mut measured = Measured {
            answers: 0,
            rules: BTreeSet::new(),
            without_a_case: Vec::new(),
            wrong: Vec::new(),
        };
        for (id, broken) in cases() {
            let Some(rule) = RULES.iter().find(|rule| rule.id == id) else {
                measured.wrong.push(format!("{id}: no such rule"));
                continue;
            };
            measured.rules.insert(rule.id);
            over_http(&mut caller, rule, &broken, &mut measured).await?;
            over_grpc(&client, rule, &broken, &mut measured).await;
        }
        let changes = people::cases().into_iter().map(|case| (case, false));
        let creates = people::plain_newcomers().into_iter().map(|case| (case, true));
        for (case, is_create) in changes.chain(creates) {
            let Some(rule) = RULES.iter().find(|rule| rule.id == case.id) else {
                measured.wrong.push(format!("{}: no such rule", case.id));
                continue;
            };
            measured.rules.insert(rule.id);
            let rule = if is_create { told_of_create(rule) } else { *rule };
            if let Some(call) = &case.http {
                ask(&mut caller, &rule, call, &mut measured).await?;
            }
            let told = people::told(&client, &case.grpc).await;
            judge(&rule, &told, &mut measured);
        }
        let now = client.pds().retrieve(NUMBER).await?;
        if now.version_id != 1 {
            measured
                .wrong
                .push("something that was refused has changed the patient".to_owned());
        }
        let ids = RULES.iter().map(|rule| rule.id);
        measured.without_a_case = ids.filter(|id| !measured.rules.contains(id)).collect();
        Finding::of(&measured)
    })
}

/// A rule of changes as it is told of somebody new.
fn told_of_create(rule: &Rule) -> Rule {
    Rule {
        reason: reason::INVALID_CREATE,
        kind: ErrorKind::Invalid,
        ..*rule
    }
}

fn call_of(broken: &Broken) -> Option<Call> {
    let path = format!("{PDS}/Patient/{NUMBER}");
    let patch = |body: String| {
        Call::get(path.clone())
            .header("x-request-id", request_id(1))
            .header("if-match", "W/\"1\"")
            .header("content-type", JSON_PATCH)
            .with("PATCH", body)
    };
    let patches = |list: &Value| json!({ "patches": list }).to_string();
    Some(match broken {
        Broken::Resource(resource) => Call::get(format!("{PLAIN}/Patient/{NUMBER}"))
            .header("content-type", "application/fhir+json")
            .with("PUT", resource.clone()),
        Broken::Patches(list) => patch(patches(list)),
        Broken::Raw(body) => patch(body.clone()),
        Broken::As(mode, principal, list) => patch(patches(list))
            .header("spine-access-mode", *mode)
            .header("spine-principal", *principal),
        Broken::Search(mode, query) => Call::get(format!("{PDS}/Patient?{query}"))
            .header("x-request-id", request_id(1))
            .header("spine-access-mode", *mode),
        Broken::Version => {
            let mut call = patch(patches(
                &json!([{ "op": "replace", "path": "/gender", "value": "male" }]),
            ));
            call.headers.retain(|(name, _)| *name != "if-match");
            call.header("if-match", "W/\"7\"")
        }
        Broken::Again => return None,
    })
}

async fn over_http(
    caller: &mut Caller,
    rule: &Rule,
    broken: &Broken,
    measured: &mut Measured,
) -> Result<(), RowError> {
    match call_of(broken) {
        Some(call) => ask(caller, rule, &call, measured).await,
        None => Ok(()),
    }
}

/// Sends a call that the rule refuses.
async fn ask(caller: &mut Caller, rule: &Rule, call: &Call, measured: &mut Measured) -> Result<(), RowError> {
    let answer = caller.ask(call, DEADLINE).await.map_err(RowError::because)?;
    measured.answers += 1;
    let outcome = of_reason(rule.reason).unwrap_or_else(|| of_kind(rule.kind).outcome);
    let plain = call.path.starts_with(PLAIN);
    let status = if plain { outcome.plain_http } else { outcome.http };
    let issue = &answer.json()["issue"][0];
    let codings = issue["details"]["coding"].as_array().cloned().unwrap_or_default();
    let code = codings.first().map(|coding| coding["code"].clone());
    if answer.status != status || code != Some(json!(outcome.code)) {
        measured.wrong.push(format!(
            "HTTP, {}: {} {code:?}, not {status} {}",
            rule.id, answer.status, outcome.code
        ));
    } else if plain && !codings.iter().any(|coding| coding["code"] == rule.id) {
        measured
            .wrong
            .push(format!("HTTP, {}: the rule is not named", rule.id));
    }
    Ok(())
}

async fn over_grpc(client: &SpineClient, rule: &Rule, broken: &Broken, measured: &mut Measured) {
    let pds: Pds = client.pds();
    let patch = |body: String| {
        let pds = pds.clone();
        async move { pds.patch(NUMBER, 1, PatchFormat::Pds, body).await.err() }
    };
    let error = match broken {
        Broken::Resource(resource) => pds.update(NUMBER, 1, resource.clone()).await.err(),
        Broken::Patches(list) => patch(json!({ "patches": list }).to_string()).await,
        Broken::Raw(body) => patch(body.clone()).await,
        Broken::Version => pds.update(NUMBER, 7, patient(NUMBER).to_string()).await.err(),
        Broken::Again => pds.register(patient(NUMBER).to_string()).await.err(),
        // The library has no access modes.
        Broken::As(..) | Broken::Search(..) => return,
    };
    let told = error.map_or(Told::Done, |error| Told::Refused(Box::new(error)));
    judge(rule, &told, measured);
}

fn judge(rule: &Rule, told: &Told, measured: &mut Measured) {
    measured.answers += 1;
    match told {
        Told::Refused(error) if error.rule == rule.id && error.reason == rule.reason => {}
        // Those two are told without a failure.
        Told::Alike if rule.reason == reason::SINGLE_MATCH => {}
        Told::Several if rule.reason == reason::CRITERIA_NOT_SINGLE => {}
        Told::Refused(error) => {
            let wrong = format!(
                "gRPC, {}: told as {} of rule '{}'",
                rule.id, error.reason, error.rule
            );
            measured.wrong.push(wrong);
        }
        Told::Done | Told::Alike | Told::Several => {
            measured.wrong.push(format!("gRPC, {}: not refused", rule.id));
        }
    }
}

fn with(member: &str, value: Value) -> Broken {
    let mut resource = patient(NUMBER);
    resource[member] = value;
    Broken::Resource(resource.to_string())
}

fn add(list: &str, value: &Value) -> Broken {
    Broken::Patches(json!([{ "op": "add", "path": format!("/{list}/-"), "value": value }]))
}

/// A replacement of an item whose id is sent along with it.
fn whole(list: &str, at: usize, change: impl FnOnce(&mut Value)) -> Broken {
    let mut item = patient(NUMBER)[list][at].clone();
    change(&mut item);
    Broken::Patches(json!([{ "op": "replace", "path": format!("/{list}/{at}"), "value": item }]))
}

#[allow(clippy::needless_pass_by_value, reason = "json!() is handed over")]
fn replace(path: &str, value: Value) -> Value {
    json!([{ "op": "replace", "path": path, "value": value }])
}

fn cases() -> Vec<(&'static str, Broken)> {
    let mut all = resources();
    all.extend(modes());
    all.extend(lists());
    all.extend(people());
    all.extend(places());
    all
}

/// Larger than a record can be, and no larger than a body can be.
fn too_large() -> Broken {
    let bytes = 2 * 1_024 * 1_024 - 500;
    let mut resource = patient(NUMBER);
    resource["extension"] = json!([{ "url": "" }]);
    let missing = bytes - resource.to_string().len();
    resource["extension"] = json!([{ "url": "x".repeat(missing) }]);
    Broken::Resource(resource.to_string())
}

fn resources() -> Vec<(&'static str, Broken)> {
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    let text = patient(NUMBER).to_string();
    vec![
        ("PDS-1", with("resourceType", json!("Person"))),
        ("PDS-2", with("id", json!("9990000019"))),
        (
            "PDS-3",
            with(
                "identifier",
                json!([{ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": OTHER }]),
            ),
        ),
        ("PDS-4", too_large()),
        (
            "PDS-5",
            Broken::Resource(text.replacen("\"gender\"", &format!("\"photo\":{deep},\"gender\""), 1)),
        ),
        (
            "PDS-6",
            with("name", json!([{ "use": "old", "family": "Smith" }])),
        ),
        ("PDS-7", with("birthDate", json!("2999-01-01"))),
        ("PDS-8", with("gender", json!("x"))),
        ("PDS-9", with("photo", json!([]))),
        ("PDS-10", with("deceasedDateTime", json!("1900-01-01"))),
        ("PDS-11", Broken::Again),
        ("PDS-12", Broken::Version),
        ("PDS-13", with("id", json!(OTHER))),
        ("PDS-14", with("address", json!({}))),
        (
            "PDS-15",
            Broken::Resource(text.replacen("\"gender\"", "\"gender\":\"male\",\"gender\"", 1)),
        ),
    ]
}

fn modes() -> Vec<(&'static str, Broken)> {
    let gender = || replace("/gender", json!("male"));
    vec![
        ("PDS-16", Broken::As("patient", OTHER, gender())),
        ("PDS-17", Broken::As("application-restricted", "app", gender())),
        ("PDS-46", Broken::As("patient", NUMBER, gender())),
        (
            "PDS-47",
            Broken::Search("application-restricted", "family=Smith&birthdate=1980-02-03"),
        ),
        (
            "PDS-16",
            Broken::Search("patient", "family=Smith&birthdate=1980-02-03"),
        ),
    ]
}

fn lists() -> Vec<(&'static str, Broken)> {
    let name = json!({ "use": "old", "family": "Jones" });
    let many = vec![json!({ "op": "test", "path": "/gender", "value": "female" }); 257];
    vec![
        ("PDS-18", Broken::Patches(json!([]))),
        ("PDS-18", Broken::Patches(json!(many))),
        ("PDS-18", Broken::Raw("{}".to_owned())),
        (
            "PDS-19",
            Broken::Patches(json!([{ "op": "move", "path": "/gender" }])),
        ),
        (
            "PDS-20",
            Broken::Patches(json!([{ "op": "add", "path": "/name/2", "value": name }])),
        ),
        (
            "PDS-21",
            Broken::Patches(replace("/address/0/line/0", json!("2 High Street"))),
        ),
        (
            "PDS-22",
            Broken::Patches(json!([{ "op": "remove", "path": "/name/1" }])),
        ),
        (
            "PDS-23",
            Broken::Patches(json!([
                { "op": "test", "path": "/name/7/id", "value": "n2" },
                { "op": "remove", "path": "/name/7" },
            ])),
        ),
        (
            "PDS-24",
            Broken::Patches(json!([
                { "op": "test", "path": "/gender", "value": "male" },
                { "op": "replace", "path": "/gender", "value": "unknown" },
            ])),
        ),
    ]
}

fn people() -> Vec<(&'static str, Broken)> {
    let uk_core = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-";
    let formal = json!({
        "url": format!("{uk_core}DeathNotificationStatus"),
        "extension": [
            { "url": "deathNotificationStatus", "valueCodeableConcept": { "coding": [{ "code": "2" }] } },
            { "url": "systemEffectiveDate", "valueDateTime": "2020-10-22T00:00:00+00:00" },
        ],
    });
    vec![
        (
            "PDS-25",
            whole("name", 1, |name| {
                name["period"] = json!({ "start": "2020-01-02", "end": "2020-01-01" });
            }),
        ),
        (
            "PDS-26",
            add("name", &json!({ "use": "usual", "family": "Jones" })),
        ),
        (
            "PDS-27",
            add("name", &json!({ "use": "nickname", "given": ["Jen"] })),
        ),
        ("PDS-28", whole("name", 1, |name| name["use"] = json!("old"))),
        (
            "PDS-29",
            whole("name", 0, |name| name["family"] = json!("Sm\u{4e00}th")),
        ),
        ("PDS-30", whole("name", 0, |name| name["suffix"] = json!(["phd"]))),
        (
            "PDS-35",
            Broken::Patches(json!([{ "op": "remove", "path": "/gender" }])),
        ),
        (
            "PDS-35",
            Broken::Patches(json!([{ "op": "remove", "path": "/birthDate" }])),
        ),
        ("PDS-36", Broken::Patches(replace("/gender", json!("other")))),
        (
            "PDS-37",
            Broken::Patches(json!([{ "op": "add", "path": "/deceasedDateTime", "value": "2020-10-22" }])),
        ),
        (
            "PDS-38",
            Broken::Patches(json!([
                { "op": "add", "path": "/deceasedDateTime", "value": "2020-10-22T00:00:00+00:00" },
                { "op": "add", "path": "/extension/-", "value": formal },
            ])),
        ),
        (
            "PDS-39",
            add(
                "telecom",
                &json!({ "system": "phone", "use": "mobile", "value": "07700900001" }),
            ),
        ),
        (
            "PDS-40",
            add(
                "telecom",
                &json!({ "system": "email", "use": "work", "value": "jane" }),
            ),
        ),
        (
            "PDS-41",
            add(
                "contact",
                &json!({
                    "relationship": [{ "coding": [{ "code": "N" }] }],
                    "telecom": [{ "system": "phone", "value": "01632960000" }],
                }),
            ),
        ),
    ]
}

fn places() -> Vec<(&'static str, Broken)> {
    let address = |usage: &str, period: Value| json!({ "use": usage, "line": ["1 Side Street"], "postalCode": "LS1 6AE", "period": period });
    let short = || json!({ "start": "2025-12-01", "end": "2025-12-31" });
    let mut castle = address("temp", short());
    castle["text"] = json!("Castle");
    let english = json!({
        "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSCommunication",
        "extension": [{ "url": "language", "valueCodeableConcept": { "coding": [{ "code": "en" }] } }],
    });
    let nowhere = json!({
        "url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
        "valueAddress": { "city": " " },
    });
    vec![
        (
            "PDS-31",
            whole("address", 0, |address| {
                address["line"] = json!(["1", "2", "3", "4", "5", "6"]);
            }),
        ),
        ("PDS-32", add("address", &address("home", short()))),
        (
            "PDS-33",
            add("address", &address("temp", json!({ "start": "2025-12-01" }))),
        ),
        ("PDS-34", add("address", &castle)),
        (
            "PDS-42",
            whole("generalPractitioner", 0, |practice| {
                practice["identifier"]["value"] = json!("no code");
            }),
        ),
        ("PDS-43", add("extension", &pharmacy("Y34567"))),
        ("PDS-44", add("extension", &english)),
        ("PDS-45", add("extension", &nowhere)),
    ]
}
