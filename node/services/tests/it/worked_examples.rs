//! `docs/api/pds.md` says how a score is made, with worked examples: each of them is searched for here.

use std::fs;

use serde_json::{Value, json};
use spine_proto::pds::v1::{
    RegisterRequest, RegisterResponse, SearchParameter, SearchRequest, SearchResponse,
};

use super::harness::Shard;

const DOCUMENT: &str = "../../docs/api/pds.md";
const BEGIN: &str = "<!-- worked examples: kept equal to node/services/src/pds/search by a test -->\n";
/// The heading and the line below it.
const HEADING_LINES: usize = 2;
/// Of the document: a table that is cut short would pass otherwise.
const EXAMPLES: usize = 30;
/// A score of one.
const EXACT: u32 = 10_000;
const NUMBER: &str = "9990000018";
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

/// A row of the table.
struct Example {
    number: String,
    search: String,
    patient: Value,
    /// `-` where the patient is not found.
    score: String,
}

fn examples() -> Vec<Example> {
    let text = fs::read_to_string(DOCUMENT).expect("docs/api/pds.md exists");
    let (_, rest) = text.split_once(BEGIN).expect("docs/api/pds.md has the marker");
    let table = rest.lines().take_while(|line| line.starts_with('|'));
    table.skip(HEADING_LINES).map(example).collect()
}

fn example(line: &str) -> Example {
    let cells = line.trim_matches('|').split('|');
    let cells: Vec<&str> = cells.map(|cell| cell.trim().trim_matches('`')).collect();
    let [number, search, facts, _, score] = cells[..] else {
        panic!("not a row of examples: {line}")
    };
    Example {
        number: number.to_owned(),
        search: search.to_owned(),
        patient: patient(facts),
        score: score.to_owned(),
    }
}

/// Everybody is female of whom nothing else is said.
fn patient(facts: &str) -> Value {
    let mut patient = json!({ "resourceType": "Patient", "id": NUMBER, "gender": "female" });
    for fact in facts.split("; ") {
        tell(&mut patient, fact);
    }
    patient
}

fn tell(patient: &mut Value, fact: &str) {
    let (word, rest) = fact.split_once(' ').unwrap_or((fact, ""));
    match word {
        "name" => add(patient, "name", name(rest)),
        "address" => {
            let (usage, postcode) = rest.split_once(' ').expect("an address has a use and a postcode");
            add(
                patient,
                "address",
                json!({ "use": usage, "line": ["1 High Street"], "postalCode": postcode }),
            );
        }
        "phone" | "email" => add(patient, "telecom", json!({ "system": word, "value": rest })),
        "gp" => patient["generalPractitioner"] = json!([{ "identifier": { "value": rest } }]),
        "born" => patient["birthDate"] = json!(rest),
        "died" => patient["deceasedDateTime"] = json!(rest),
        "male" => patient["gender"] = json!(word),
        "restricted" => {
            patient["meta"] = json!({ "security": [{ "system": CONFIDENTIALITY, "code": "R" }] });
        }
        _ => panic!("no fact of a patient: {fact}"),
    }
}

fn add(patient: &mut Value, list: &str, item: Value) {
    let items = &mut patient[list];
    if items.is_null() {
        // FHIR has no empty arrays.
        *items = json!([]);
    }
    items.as_array_mut().unwrap().push(item);
}

/// Its use, given names, and the family name.
fn name(text: &str) -> Value {
    let words: Vec<&str> = text.split(' ').collect();
    let [usage, given @ .., family] = &words[..] else {
        panic!("no name: {text}")
    };
    json!({ "use": usage, "given": given, "family": family })
}

fn request(search: &str) -> SearchRequest {
    let parameters = search.split('&').map(|part| {
        let (name, value) = part.split_once('=').expect("a parameter has a value");
        SearchParameter {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    });
    SearchRequest {
        parameters: parameters.collect(),
    }
}

/// What a search finds in a shard where nobody else is.
fn score(example: &Example) -> String {
    let mut shard = Shard::new();
    let register = RegisterRequest {
        fhir_json: example.patient.to_string().into(),
        request_id: NUMBER.to_owned(),
        ..RegisterRequest::default()
    };
    let _: RegisterResponse = shard.call("pds.register", &register).unwrap();
    let answer: SearchResponse = shard
        .call("pds.search", &request(&example.search))
        .unwrap_or_else(|error| panic!("{}: {error:?}", example.search));
    match &answer.matches[..] {
        [] => "-".to_owned(),
        [one] => format!("{}.{:04}", one.score / EXACT, one.score % EXACT),
        _ => panic!("{} finds one patient twice", example.search),
    }
}

#[test]
fn each_worked_example_has_the_score_that_the_document_says() {
    let examples = examples();
    assert_eq!(examples.len(), EXAMPLES);
    let mut wrong = Vec::new();
    for example in &examples {
        let score = score(example);
        if score != example.score {
            wrong.push(format!("{}: {score}, not {}", example.number, example.score));
        }
    }
    assert_eq!(wrong, [""; 0]);
}
