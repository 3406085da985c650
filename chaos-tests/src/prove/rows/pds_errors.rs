//! The table of errors, over every transport of a cluster of processes.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use spine_services::error_table::{Outcome, of_kind, of_reason};
use spine_services::reason;

use super::pds_cases::{PDS, PLAIN, open, patient, request_id};
use super::support::block_on;
use crate::http::{Answer, Call, Caller};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "pds-errors",
    issue: 6,
    claim: "failures are told as the table of errors says: status, code, severity and issue of both dialects over HTTP, kind \
            and reason over gRPC",
    target: "0 told otherwise",
    run,
};

const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Serialize)]
struct Measured {
    answers: usize,
    reasons: BTreeSet<&'static str>,
    wrong: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers of {} reasons, ", self.answers, self.reasons.len())?;
        match self.wrong.first() {
            None => write!(f, "each as the table says"),
            Some(first) => write!(f, "{} wrong, first: {first}", self.wrong.len()),
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.wrong.is_empty() && self.answers > 0
    }
}

/// A call that fails, and why.
struct Case {
    reason: &'static str,
    call: Call,
}

fn case(reason: &'static str, call: Call) -> Case {
    Case { reason, call }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let cluster = open(context).await?;
        let client = cluster.client(DEADLINE)?;
        let number = patient("9990000018");
        client.pds().register(number.to_string()).await?;
        let mut caller = Caller::new(cluster.http().to_vec(), 0);
        let mut measured = Measured {
            answers: 0,
            reasons: BTreeSet::new(),
            wrong: Vec::new(),
        };
        // The request that was sent before is part of a case of its own.
        let first = put("9990000026", &patient("9990000026")).header("x-request-id", request_id(7));
        caller.ask(&first, DEADLINE).await.map_err(RowError::because)?;
        for (at, case) in cases().into_iter().enumerate() {
            let answer = caller
                .ask(&case.call, DEADLINE)
                .await
                .map_err(RowError::because)?;
            measured.answers += 1;
            measured.reasons.insert(case.reason);
            let plain = case.call.path.starts_with(PLAIN);
            if let Some(wrong) = judge(case.reason, plain, &answer) {
                measured
                    .wrong
                    .push(format!("case {at}, {}: {wrong}", case.reason));
            }
        }
        over_grpc(&client, &mut measured).await;
        Finding::of(&measured)
    })
}

fn outcome_of(word: &str) -> Option<Outcome> {
    let known = reason::find(word)?;
    Some(of_reason(word).unwrap_or_else(|| of_kind(known.kind).outcome))
}

/// What differs from the table.
fn judge(word: &str, plain: bool, answer: &Answer) -> Option<String> {
    let Some(outcome) = outcome_of(word) else {
        return Some("no such reason".to_owned());
    };
    let status = if plain { outcome.plain_http } else { outcome.http };
    let body = answer.json();
    let issue = &body["issue"][0];
    let codings = issue["details"]["coding"].as_array().cloned().unwrap_or_default();
    let seen = json!([
        answer.status,
        answer.header("content-type"),
        body["resourceType"],
        issue["severity"],
        issue["code"],
        codings.first().map(|coding| &coding["code"]),
        codings.first().map(|coding| &coding["display"]),
    ]);
    let expected = json!([
        status,
        "application/fhir+json",
        "OperationOutcome",
        outcome.severity,
        outcome.issue,
        outcome.code,
        outcome.display,
    ]);
    if seen != expected {
        return Some(format!("{seen}, not {expected}"));
    }
    if issue["diagnostics"].as_str().is_none_or(str::is_empty) {
        return Some("no diagnostics".to_owned());
    }
    let names_reason = codings.iter().skip(1).any(|coding| coding["code"] == word);
    (plain && !names_reason).then(|| "the reason is not named".to_owned())
}

fn get(path: &str) -> Call {
    Call::get(path).header("x-request-id", request_id(1))
}

fn put(number: &str, resource: &Value) -> Call {
    Call::get(format!("{PLAIN}/Patient/{number}"))
        .header("content-type", "application/fhir+json")
        .with("PUT", resource.to_string())
}

fn pds_patch(patches: &Value) -> Call {
    get(&format!("{PDS}/Patient/9990000018"))
        .header("if-match", "W/\"1\"")
        .header("content-type", "application/json-patch+json")
        .with("PATCH", json!({ "patches": patches }).to_string())
}

fn plain_patch(kind: &'static str, body: impl Into<String>) -> Call {
    Call::get(format!("{PLAIN}/Patient/9990000018"))
        .header("content-type", kind)
        .with("PATCH", body.into())
}

fn with(member: &str, value: Value) -> Value {
    let mut resource = patient("9990000018");
    resource[member] = value;
    resource
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for base in [PLAIN, PDS] {
        let one = format!("{base}/Patient/9990000018");
        all.extend([
            case(
                reason::PATIENT_NOT_FOUND,
                get(&format!("{base}/Patient/9990000034")),
            ),
            case(
                reason::INVALID_NHS_NUMBER,
                get(&format!("{base}/Patient/9990000019")),
            ),
            case(reason::UNSUPPORTED_SERVICE, get(&format!("{base}/Nothing"))),
            case(reason::METHOD_NOT_ALLOWED, get(&one).with("POST", "")),
            case(reason::INVALID_VALUE, get(&one).header("x-sync-wait", "0")),
            case(reason::INVALID_VALUE, get(&one).header("nhsd-session-urid", "x")),
            case(
                reason::INVALID_VALUE,
                Call::get(&one).header("x-request-id", "none"),
            ),
            case(
                reason::ACCESS_DENIED,
                get(&one)
                    .header("spine-access-mode", "patient")
                    .header("spine-principal", "9990000026"),
            ),
        ]);
    }
    all.extend(plain_cases());
    all.extend(pds_cases());
    all.extend(pds_history_cases());
    all
}

fn plain_cases() -> Vec<Case> {
    let merge = "application/merge-patch+json";
    let list = "application/json-patch+json";
    let mut other = patient("9990000026");
    other["gender"] = json!("male");
    let other = put("9990000026", &other);
    vec![
        case(
            reason::VERSION_NOT_FOUND,
            get(&format!("{PLAIN}/Patient/9990000018/_history/9")),
        ),
        case(
            reason::ADDITIONAL_PROPERTIES,
            get(&format!("{PLAIN}/Patient/9990000018/_history?what=1")),
        ),
        case(
            reason::INVALID_VALUE,
            get(&format!("{PLAIN}/Patient/9990000018/_history?_count=x")),
        ),
        case(
            reason::PAGE_SIZE_OUT_OF_RANGE,
            get(&format!("{PLAIN}/Patient/9990000018/_history?_count=101")),
        ),
        case(reason::UNSUPPORTED_MEDIA_TYPE, plain_patch("text/plain", "{}")),
        case(reason::MALFORMED_JSON, plain_patch(merge, "{")),
        case(reason::JSON_TOO_DEEP, plain_patch(merge, "[".repeat(100))),
        case(reason::DUPLICATE_MEMBER, plain_patch(merge, r#"{"a":1,"a":2}"#)),
        case(
            reason::INVALID_UPDATE,
            plain_patch(list, r#"[{"op":"remove","path":"/none"}]"#),
        ),
        case(
            reason::INVALID_PATCH_OPERATION,
            plain_patch(list, r#"[{"op":"move","path":"/gender"}]"#),
        ),
        case(
            reason::VERSION_MISMATCH,
            plain_patch(merge, r#"{"gender":"male"}"#).header("if-match", "W/\"7\""),
        ),
        case(
            reason::PRECONDITION_FAILED,
            plain_patch(merge, r#"{"gender":"male"}"#).header("if-match", "7"),
        ),
        case(
            reason::INVALID_RESOURCE_TYPE,
            put("9990000018", &with("resourceType", json!("Person"))),
        ),
        case(
            reason::IDENTIFIER_MISMATCH,
            put("9990000026", &patient("9990000018")),
        ),
        case(
            reason::INVALID_GENDER,
            put("9990000018", &with("gender", json!("x"))),
        ),
        case(
            reason::INVALID_BIRTH_DATE,
            put("9990000018", &with("birthDate", json!("2999-01-01"))),
        ),
        case(
            reason::INVALID_DECEASED,
            put("9990000018", &with("deceasedDateTime", json!("1900-01-01"))),
        ),
        case(
            reason::MISSING_USUAL_NAME,
            put("9990000018", &with("name", json!([]))),
        ),
        case(
            reason::ADDITIONAL_PROPERTIES,
            put("9990000018", &with("photo", json!([]))),
        ),
        case(
            reason::RECORD_TOO_LARGE,
            put(
                "9990000018",
                &with("extension", json!([{ "url": "x".repeat(2_200_000) }])),
            ),
        ),
        case(
            reason::REQUEST_ID_REUSED,
            other.header("x-request-id", request_id(7)),
        ),
        case(reason::INVALID_CURSOR, get(&format!("{PLAIN}/_feed?cursor=none"))),
        case(reason::INVALID_CURSOR, get(&format!("{PLAIN}/_feed?shard=999"))),
    ]
}

fn pds_cases() -> Vec<Case> {
    let one = format!("{PDS}/Patient/9990000018");
    let gender = json!([{ "op": "replace", "path": "/gender", "value": "male" }]);
    let search = |query: &str| get(&format!("{PDS}/Patient?{query}"));
    vec![
        case(reason::MISSING_VALUE, Call::get(&one)),
        case(
            reason::PRECONDITION_FAILED,
            get(&one)
                .header("content-type", "application/json-patch+json")
                .with("PATCH", "{}"),
        ),
        case(
            reason::UNSUPPORTED_MEDIA_TYPE,
            get(&one)
                .header("if-match", "W/\"1\"")
                .header("content-type", "application/json")
                .with("PATCH", "{}"),
        ),
        case(
            reason::VERSION_MISMATCH,
            get(&one)
                .header("if-match", "W/\"9\"")
                .header("content-type", "application/json-patch+json")
                .with("PATCH", json!({ "patches": gender }).to_string()),
        ),
        case(reason::INVALID_UPDATE, pds_patch(&json!([]))),
        case(
            reason::INVALID_PATCH_OPERATION,
            pds_patch(&json!([{ "op": "move", "path": "/gender" }])),
        ),
        case(
            reason::FORBIDDEN_UPDATE,
            pds_patch(&json!([{ "op": "remove", "path": "/gender" }])),
        ),
        case(
            reason::INVALID_METHOD,
            pds_patch(&gender).header("spine-access-mode", "application-restricted"),
        ),
        case(reason::INVALID_SEARCH_DATA, search("family=Smith")),
        case(reason::ADDITIONAL_PROPERTIES, search("family=Smith&what=1")),
        case(reason::UNSUPPORTED_SERVICE, search("")),
        case(
            reason::SEARCH_NOT_SINGLE,
            search("family=Smith&birthdate=1980-01-01").header("spine-access-mode", "application-restricted"),
        ),
    ]
}

/// Older versions, looked at in the order of the national service.
fn pds_history_cases() -> Vec<Case> {
    let all = format!("{PDS}/Patient/9990000018/_history");
    let nobody = format!("{PDS}/Patient/9990000034/_history");
    let other = |path: &str| {
        get(path)
            .header("spine-access-mode", "patient")
            .header("spine-principal", "9990000026")
    };
    vec![
        case(reason::MISSING_VALUE, Call::get(&all)),
        case(reason::MISSING_VALUE, Call::get(format!("{all}/1"))),
        case(
            reason::INVALID_NHS_NUMBER,
            get(&format!("{PDS}/Patient/9990000019/_history?what=1")),
        ),
        case(reason::ACCESS_DENIED, other(&all)),
        case(reason::ACCESS_DENIED, other(&format!("{all}?what=1"))),
        case(reason::ACCESS_DENIED, other(&format!("{all}/1"))),
        case(reason::PATIENT_NOT_FOUND, get(&nobody)),
        case(reason::PATIENT_NOT_FOUND, get(&format!("{nobody}?what=1"))),
        case(reason::PATIENT_NOT_FOUND, get(&format!("{nobody}?_count=101"))),
        case(reason::PATIENT_NOT_FOUND, get(&format!("{nobody}/1"))),
        case(reason::ADDITIONAL_PROPERTIES, get(&format!("{all}?what=1"))),
        case(reason::INVALID_VALUE, get(&format!("{all}?_count=x"))),
        case(reason::PAGE_SIZE_OUT_OF_RANGE, get(&format!("{all}?_count=101"))),
        case(reason::VERSION_NOT_FOUND, get(&format!("{all}/9"))),
        case(
            reason::METHOD_NOT_ALLOWED,
            get(&format!("{all}/1")).with("PUT", ""),
        ),
    ]
}

/// The same words to users of the library.
async fn over_grpc(client: &spine_client::SpineClient, measured: &mut Measured) {
    let pds = client.pds();
    let bad = |member: &str, value: Value| with(member, value).to_string();
    let cursor = spine_client::PatientsFrom::Cursor("none".to_owned());
    let seen = [
        (reason::PATIENT_NOT_FOUND, pds.retrieve("9990000034").await.err()),
        (reason::INVALID_NHS_NUMBER, pds.retrieve("9990000019").await.err()),
        (
            reason::PATIENT_EXISTS,
            pds.register(patient("9990000018").to_string()).await.err(),
        ),
        (
            reason::INVALID_GENDER,
            pds.register(bad("gender", json!("x"))).await.err(),
        ),
        (
            reason::VERSION_MISMATCH,
            pds.update("9990000018", 9, patient("9990000018").to_string())
                .await
                .err(),
        ),
        (reason::INVALID_CURSOR, pds.watch(cursor).next().await.err()),
    ];
    for (word, error) in seen {
        measured.answers += 1;
        measured.reasons.insert(word);
        let kind = reason::find(word).map(|known| known.kind.as_str());
        match error {
            Some(error) if error.reason == word => {
                let told = format!("{:?}", error.kind).to_lowercase();
                let expected = kind.unwrap_or_default().replace(['_', '-'], "");
                if told != expected {
                    measured
                        .wrong
                        .push(format!("gRPC, {word}: kind {told}, not {expected}"));
                }
            }
            Some(error) => measured
                .wrong
                .push(format!("gRPC, {word}: told as {}", error.reason)),
            None => measured.wrong.push(format!("gRPC, {word}: no failure")),
        }
    }
}
