//! What a plain client says of a new patient keeps the rules of changes, as all of it is new. Of PDS-25 to
//! PDS-45 three cannot be broken: PDS-28 and PDS-35 are about what was there before, and PDS-36 is not asked.

use serde_json::{Value, json};
use spine_proto::pds::v1::{
    AllocateRequest, AllocateResponse, CreateRequest, CreateResponse, SearchParameter,
};
use spine_services::pds::rules::{
    PDS_25, PDS_26, PDS_27, PDS_29, PDS_30, PDS_31, PDS_32, PDS_33, PDS_34, PDS_37, PDS_38, PDS_39, PDS_40,
    PDS_41, PDS_42, PDS_43, PDS_44, PDS_45, Rule,
};
use spine_services::{ErrorKind, SpineError, error_table};

use super::{Cluster, UK_CORE, json_of, number, request};

/// Of nobody.
const NUMBER: &str = "9990000018";
const TEN_DAYS_MS: i64 = 864_000_000;

/// With something of everything, but for what the service adds.
fn newcomer() -> Value {
    json!({
        "resourceType": "Patient",
        "name": [
            { "use": "usual", "given": ["Jane"], "family": "Edwards", "prefix": ["Mrs."] },
            { "use": "nickname", "given": ["Jo"] },
        ],
        "gender": "female",
        "birthDate": "1982-07-10",
        "address": [{ "use": "home", "line": ["1 High Street", ""], "postalCode": "LS1 6AE" }],
        "telecom": [{ "system": "phone", "use": "mobile", "value": "07700900000" }],
        "contact": [{
            "relationship": [{ "coding": [{ "code": "C" }] }],
            "telecom": [{ "system": "phone", "value": "01632960000" }],
        }],
        "generalPractitioner": [{ "type": "Organization", "identifier": { "value": "Y12345" } }],
        "extension": [pharmacy("Y23456"), language("fr"), birth_place("Leeds")],
    })
}

fn pharmacy(code: &str) -> Value {
    let reference = json!({ "identifier": { "value": code } });
    json!({ "url": format!("{UK_CORE}NominatedPharmacy"), "valueReference": reference })
}

fn language(code: &str) -> Value {
    let concept = json!({ "coding": [{ "code": code }] });
    let part = json!({ "url": "language", "valueCodeableConcept": concept });
    json!({ "url": format!("{UK_CORE}NHSCommunication"), "extension": [part] })
}

fn birth_place(city: &str) -> Value {
    json!({
        "url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
        "valueAddress": { "city": city },
    })
}

fn notification(status: &str) -> Value {
    let concept = json!({ "coding": [{ "code": status }] });
    let part = json!({ "url": "deathNotificationStatus", "valueCodeableConcept": concept });
    json!({ "url": format!("{UK_CORE}DeathNotificationStatus"), "extension": [part] })
}

fn plain(patient: &Value) -> AllocateRequest {
    AllocateRequest {
        national: false,
        ..request(patient, "a")
    }
}

fn asked(change: impl FnOnce(&mut Value)) -> Result<AllocateResponse, SpineError> {
    let mut patient = newcomer();
    change(&mut patient);
    let cluster = Cluster::new();
    let answer = cluster.allocate(&plain(&patient));
    let made = usize::from(answer.is_ok());
    assert_eq!((cluster.patients(), cluster.claims()), (made, 0));
    answer
}

#[track_caller]
fn refuses(rule: Rule, change: impl FnOnce(&mut Value)) {
    let error = asked(change).err().expect("the rule should refuse this");
    // Told of a create, whatever the rule says of a change.
    assert_eq!(
        (&*error.rule, &*error.reason, error.kind),
        (rule.id, "INVALID_CREATE", ErrorKind::Invalid),
        "{error}"
    );
    assert_eq!(error_table::outcome_of(&error).plain_http, 422);
    let of_create = error.message.starts_with("Invalid create with error - ");
    assert!(of_create, "{error}");
}

fn push(list: &'static str, item: Value) -> impl FnOnce(&mut Value) {
    move |patient| patient[list].as_array_mut().unwrap().push(item)
}

#[test]
fn what_a_new_patient_lacks_is_added() {
    let cluster = Cluster::new();
    let given = number(cluster.allocate(&plain(&newcomer())));
    let stored = json_of(&cluster.read(&given).unwrap());
    for list in ["name", "address", "telecom", "contact", "generalPractitioner"] {
        for item in stored[list].as_array().unwrap() {
            assert!(item["id"].is_string(), "{item}");
            let begins = item["period"]["start"] == "2026-01-01";
            assert_eq!(begins, list != "generalPractitioner", "{item}");
        }
    }
    assert_eq!(stored["name"][0]["prefix"], json!(["Mrs"]));
    assert_eq!(stored["address"][0]["line"], json!(["1 High Street"]));
}

/// The shard of the number looks at it as well: whoever carries out the steps may be of another release.
#[test]
fn no_patient_is_created_under_a_number_who_breaks_a_rule() {
    let mut patient = newcomer();
    patient["name"][0]["family"] = json!("E#");
    let request = CreateRequest {
        nhs_number: "9990000026".to_owned(),
        holder: vec![1; 16].into(),
        body: vec![2; 16].into(),
        fhir_json: patient.to_string().into(),
        national: false,
        request_id: "c".to_owned(),
    };
    let cluster = Cluster::new();
    let answer: Result<CreateResponse, SpineError> =
        cluster.shard(|shard| shard.call("pds.create", &request));
    assert_eq!(&*answer.err().unwrap().rule, "PDS-29");
    assert_eq!(cluster.patients(), 0);
}

#[test]
fn pds_25_periods_start_by_now_and_do_not_end_before() {
    for period in [
        json!({ "start": "2026-01-03" }),
        json!({ "start": "2020-01-02", "end": "2020-01-01" }),
        json!({ "end": "some time" }),
        json!({}),
    ] {
        for list in ["name", "address", "telecom", "contact"] {
            refuses(PDS_25, |patient| patient[list][0]["period"] = period.clone());
        }
    }
    // Of what is over, the beginning need not be known, but of a temporary address, which is one for so long.
    let over = json!({ "end": "2020-01-01" });
    for list in ["name", "address", "telecom", "contact"] {
        assert!(asked(|patient| patient[list][0]["period"] = over.clone()).is_ok());
    }
    refuses(PDS_25, push("address", temporary(&over)));
}

#[test]
fn pds_26_one_name_is_the_usual_one() {
    let second = json!({ "use": "usual", "family": "Jones" });
    refuses(PDS_26, push("name", second));
}

#[test]
fn pds_27_there_is_at_most_one_nickname() {
    let second = json!({ "use": "nickname", "given": ["Jen"] });
    refuses(PDS_27, push("name", second));
}

#[test]
fn pds_29_names_are_written_with_letters_of_european_languages() {
    refuses(PDS_29, |patient| patient["name"][0]["family"] = json!("Edwards,"));
    refuses(PDS_29, |patient| {
        patient["name"][1]["given"] = json!(["J\u{4e00}"]);
    });
}

#[test]
fn pds_30_a_suffix_begins_with_a_capital_letter() {
    refuses(PDS_30, |patient| patient["name"][0]["suffix"] = json!(["mbe"]));
}

#[test]
fn pds_31_an_address_has_lines_and_a_postcode() {
    refuses(PDS_31, |patient| patient["address"][0]["line"] = json!([]));
    refuses(PDS_31, |patient| {
        patient["address"][0]["line"] = json!(["1", "2", "3", "4", "5", "6"]);
    });
    refuses(PDS_31, |patient| {
        patient["address"][0]["postalCode"] = json!("nowhere");
    });
}

fn temporary(period: &Value) -> Value {
    json!({ "use": "temp", "line": ["1 Side Street"], "postalCode": "LS1 6AE", "period": period })
}

#[test]
fn pds_32_there_is_one_address_of_each_use() {
    refuses(PDS_32, |patient| patient["address"][0]["use"] = json!("work"));
    let second = json!({ "use": "home", "line": ["1 Side Street"], "postalCode": "LS1 6AE" });
    refuses(PDS_32, push("address", second));
}

#[test]
fn pds_33_a_temporary_address_ends() {
    let endless = temporary(&json!({ "start": "2025-12-01" }));
    refuses(PDS_33, push("address", endless));
    let long = temporary(&json!({ "start": "2024-01-01", "end": "2025-12-31" }));
    refuses(PDS_33, push("address", long));
}

#[test]
fn pds_34_a_temporary_address_is_called_by_a_word_of_the_list() {
    let mut castle = temporary(&json!({ "start": "2025-12-01", "end": "2025-12-31" }));
    assert!(asked(push("address", castle.clone())).is_ok());
    castle["text"] = json!("Castle");
    refuses(PDS_34, push("address", castle));
}

#[test]
fn somebody_new_is_of_any_gender_of_fhir() {
    for gender in ["male", "female", "other", "unknown"] {
        let answer = asked(|patient| patient["gender"] = json!(gender));
        assert!(answer.is_ok(), "{gender}");
    }
}

#[test]
fn pds_37_a_time_of_death_comes_with_a_notification() {
    let at = "2020-10-22T00:00:00+00:00";
    refuses(PDS_37, |patient| patient["deceasedDateTime"] = json!(at));
    refuses(PDS_37, push("extension", notification("1")));
    let told = |at: &str| {
        let at = at.to_owned();
        move |patient: &mut Value| {
            patient["deceasedDateTime"] = json!(at);
            push("extension", notification("1"))(patient);
        }
    };
    refuses(PDS_37, told("2020-10-22T00:00:00+01:00"));
    assert!(asked(told(at)).is_ok());
}

#[test]
fn pds_38_a_death_is_not_made_known_formally() {
    refuses(PDS_38, |patient| {
        patient["deceasedDateTime"] = json!("2020-10-22T00:00:00+00:00");
        push("extension", notification("2"))(patient);
    });
}

#[test]
fn pds_39_there_is_one_contact_point_of_each_system_and_use() {
    let second = json!({ "system": "phone", "use": "mobile", "value": "07700900001" });
    refuses(PDS_39, push("telecom", second));
    let of_no_use = json!({ "system": "phone", "value": "1" });
    refuses(PDS_39, push("telecom", of_no_use));
    refuses(PDS_39, |patient| patient["telecom"][0]["value"] = json!(" "));
}

#[test]
fn pds_40_an_email_address_is_one() {
    let email = json!({ "system": "email", "use": "home", "value": "jane" });
    refuses(PDS_40, push("telecom", email));
}

#[test]
fn pds_41_a_contact_is_of_any_kind_and_has_no_fax() {
    let next_of_kin = json!([{ "coding": [{ "code": "N" }] }]);
    for relationship in [json!([]), next_of_kin] {
        assert!(asked(|patient| patient["contact"][0]["relationship"] = relationship).is_ok());
    }
    for (member, value) in [
        ("use", json!("home")),
        ("period", json!({ "start": "2020-01-01" })),
    ] {
        assert!(asked(|patient| patient["contact"][0]["telecom"][0][member] = value).is_ok());
    }
    refuses(PDS_41, |patient| {
        patient["contact"][0]["telecom"][0]["system"] = json!("fax");
    });
}

#[test]
fn pds_42_there_is_one_general_practice() {
    refuses(PDS_42, |patient| {
        patient["generalPractitioner"][0]["identifier"]["value"] = json!("no code");
    });
    refuses(PDS_42, |patient| {
        let period = json!({ "start": "2020-01-01", "end": "2021-01-01" });
        patient["generalPractitioner"][0]["identifier"]["period"] = period;
    });
    let second = json!({ "type": "Organization", "identifier": { "value": "Y12346" } });
    refuses(PDS_42, push("generalPractitioner", second));
}

#[test]
fn pds_43_there_is_one_extension_of_each_url() {
    refuses(PDS_43, push("extension", pharmacy("Y34567")));
    refuses(PDS_43, |patient| patient["extension"][0] = pharmacy("?"));
    refuses(PDS_43, push("extension", json!({ "valueInteger": 1 })));
}

#[test]
fn pds_44_a_language_is_of_the_list() {
    refuses(PDS_44, |patient| patient["extension"][1] = language("en"));
    refuses(PDS_44, |patient| patient["extension"][1] = language("french"));
}

#[test]
fn pds_45_a_birth_place_says_something() {
    refuses(PDS_45, |patient| patient["extension"][2] = birth_place(" "));
}

/// Whose number is known, and whose record, as another service has held it, would break rules.
fn known() -> Value {
    let mut patient = newcomer();
    patient["identifier"] = json!([{ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": NUMBER }]);
    patient["name"][0]["family"] = json!("Edwards,");
    patient["address"][0]["postalCode"] = json!("nowhere");
    patient["gender"] = json!("other");
    patient["deceasedDateTime"] = json!("2020-10-22T00:00:00+00:00");
    push("extension", notification("2"))(&mut patient);
    patient
}

#[test]
fn what_comes_with_its_number_is_taken_as_it_is() {
    let cluster = Cluster::new();
    let asked = plain(&known());
    assert_eq!(number(cluster.allocate(&asked)), NUMBER);
    let stored = json_of(&cluster.read(NUMBER).unwrap());
    let sent = known();
    for (member, value) in sent.as_object().unwrap() {
        assert_eq!(&stored[member.as_str()], value, "{member}");
    }
}

fn unless(criteria: &[(&str, &str)], patient: &Value, id: &str) -> AllocateRequest {
    let if_none = criteria.iter().map(|(name, value)| SearchParameter {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    });
    AllocateRequest {
        if_none: if_none.collect(),
        request_id: id.to_owned(),
        ..plain(patient)
    }
}

/// By a clock that is behind a rule is broken that was kept when the patient was created.
#[test]
fn the_same_request_is_answered_with_the_same_number_whatever_rules_it_breaks_by_then() {
    let cluster = Cluster::new();
    let mut patient = newcomer();
    patient["name"][0]["period"] = json!({ "start": "2026-01-01" });
    let given = number(cluster.allocate(&plain(&patient)));
    cluster.shard(|shard| shard.now_ms -= TEN_DAYS_MS);
    let again = cluster.allocate(&plain(&patient)).unwrap();
    assert!(again.replayed && again.patient.unwrap().nhs_number == given);
    let other = AllocateRequest {
        request_id: "b".to_owned(),
        ..plain(&patient)
    };
    patient["birthDate"] = json!("1982-07-11");
    assert_eq!(cluster.allocate(&other).unwrap().alike, [given]);
    let refused = cluster.allocate(&AllocateRequest {
        request_id: "c".to_owned(),
        ..plain(&patient)
    });
    assert_eq!(&*refused.err().unwrap().rule, "PDS-25");
}

#[test]
fn whoever_meets_if_none_exist_is_the_answer_whatever_is_wrong_with_the_new_one() {
    let cluster = Cluster::new();
    let given = number(cluster.allocate(&plain(&newcomer())));
    let mut bad = newcomer();
    bad["address"][0]["postalCode"] = json!("nowhere");
    let criteria = [("family", "Edwards"), ("birthdate", "1982-07-10")];
    let found = cluster.allocate(&unless(&criteria, &bad, "b")).unwrap();
    assert!(found.existing && found.patient.unwrap().nhs_number == given);
    // Whoever is alike, too.
    let alike = cluster.allocate(&unless(&[], &bad, "c")).unwrap();
    assert_eq!(alike.alike, [given]);
    // Where nobody is found, nobody is created.
    bad["birthDate"] = json!("1982-07-11");
    let criteria = [("family", "Edwards"), ("birthdate", "1982-07-11")];
    let refused = cluster.allocate(&unless(&criteria, &bad, "d")).err().unwrap();
    assert_eq!((&*refused.rule, &*refused.reason), ("PDS-31", "INVALID_CREATE"));
    assert_eq!((cluster.patients(), cluster.claims()), (1, 0));
}
