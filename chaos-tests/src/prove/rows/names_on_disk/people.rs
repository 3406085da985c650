//! Somebody who is nobody: every part is a word that stands nowhere else.

use serde_json::{Value, json};
use spine_proto::ids::NhsNumber;

/// Numbers of the range that is never issued.
const FIRST_STEM: u64 = 999_600_000;
/// Everybody of a kind is born in another year: nobody who is created is like somebody else.
const FIRST_YEAR: u64 = 1930;
const YEARS: u64 = 60;
const NHS_NUMBER_SYSTEM: &str = "https://fhir.nhs.uk/Id/nhs-number";

pub(super) struct Person {
    pub(super) nhs_number: String,
    pub(super) family: String,
    given: String,
    street: String,
    pub(super) email: String,
    birth_date: String,
}

/// Everybody, by how they become known.
pub(super) struct People {
    pub(super) registered: Vec<Person>,
    /// Their numbers are those that they are given.
    pub(super) created: Vec<Person>,
    /// Related to the registered ones.
    pub(super) related: Vec<Person>,
    /// Only asked for.
    pub(super) asked: Vec<Person>,
}

impl People {
    pub(super) fn new(count: u64) -> Self {
        let some = |kind: &str, from: u64| -> Vec<Person> {
            let indexes = from..from + count;
            indexes.filter_map(|index| Person::new(index, kind)).collect()
        };
        Self {
            registered: some("k", 0),
            asked: some("a", 1_000),
            created: some("n", 2_000),
            related: some("r", 3_000),
        }
    }

    /// Words that are stored, in values.
    pub(super) fn kept(&self) -> impl Iterator<Item = &str> {
        let kept = self.registered.iter().chain(&self.created).chain(&self.related);
        kept.flat_map(Person::words)
    }

    /// Words that are not.
    pub(super) fn only_asked(&self) -> impl Iterator<Item = &str> {
        self.asked.iter().flat_map(Person::words)
    }
}

impl Person {
    fn new(index: u64, kind: &str) -> Option<Self> {
        // A stem without a check digit is followed by one that has it.
        let mut numbers = (0..10).filter_map(|next| NhsNumber::from_stem(FIRST_STEM + index * 10 + next));
        let letters: String = index
            .to_string()
            .bytes()
            .map(|digit| char::from(digit - b'0' + b'a'))
            .collect();
        Some(Self {
            nhs_number: numbers.next()?.expose(),
            family: format!("Zzyqx{kind}{letters}fam"),
            given: format!("Qwvkj{kind}{letters}giv"),
            street: format!("Xjqzw{kind}{letters}street"),
            email: format!("{kind}{letters}vqzxk@example.org"),
            birth_date: format!("{}-05-17", FIRST_YEAR + index % YEARS),
        })
    }

    fn words(&self) -> [&str; 5] {
        [
            &self.nhs_number,
            &self.family,
            &self.given,
            &self.street,
            &self.email,
        ]
    }

    /// As a search asks for them; every character may stand in an address.
    pub(super) fn query(&self) -> String {
        format!(
            "family={}&given={}&birthdate={}",
            self.family, self.given, self.birth_date
        )
    }

    fn name(&self) -> Value {
        json!([{ "id": "1", "use": "usual", "period": { "start": "2001-01-01" }, "given": [self.given], "family": self.family }])
    }

    fn address(&self) -> Value {
        json!([{ "id": "1", "use": "home", "period": { "start": "2001-01-01" }, "line": [self.street], "postalCode": "LS1 6AE" }])
    }

    fn telecom(&self) -> Value {
        json!([{ "id": "1", "system": "email", "use": "home", "value": self.email, "period": { "start": "2001-01-01" } }])
    }

    /// Who has a number.
    pub(super) fn resource(&self) -> String {
        let mut patient = self.patient();
        patient["id"] = json!(self.nhs_number);
        patient.to_string()
    }

    /// Who is to get one.
    pub(super) fn newcomer(&self) -> String {
        self.patient().to_string()
    }

    /// Who breaks a rule.
    pub(super) fn refused(&self) -> String {
        self.resource().replace("\"female\"", "\"none\"")
    }

    fn patient(&self) -> Value {
        json!({
            "resourceType": "Patient",
            "name": self.name(),
            "gender": "female",
            "birthDate": self.birth_date,
            "address": self.address(),
            "telecom": self.telecom(),
        })
    }

    /// As somebody who is there for a patient.
    pub(super) fn related_to(&self, nhs_number: &str) -> String {
        json!({
            "resourceType": "RelatedPerson",
            "patient": { "reference": format!("Patient/{nhs_number}") },
            "identifier": [{ "system": NHS_NUMBER_SYSTEM, "value": self.nhs_number }],
            "relationship": [{ "coding": [{ "code": "MTH" }] }],
            "name": self.name(),
            "address": self.address(),
            "telecom": self.telecom(),
        })
        .to_string()
    }
}
