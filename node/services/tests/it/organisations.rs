//! Organisations, and the rules that ask for them.

use serde_json::{Value, json};
use spine_proto::pds::v1::{
    CreateRequest, CreateResponse, LoadOrganisationsRequest, LoadOrganisationsResponse, Organisation,
    OrganisationRole, PatchFormat, PatchRequest, PatchResponse, RegisterRequest, RegisterResponse,
    UpdateRequest, UpdateResponse,
};
use spine_services::SpineError;

use super::harness::Shard;
use super::pds_rules::least;

const UK_CORE: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-";

fn organisation(code: &str, role: OrganisationRole) -> Organisation {
    Organisation {
        code: code.to_owned(),
        name: "Example".to_owned(),
        roles: vec![role.into()],
        closed: false,
    }
}

fn load(
    shard: &mut Shard,
    organisations: Vec<Organisation>,
) -> Result<LoadOrganisationsResponse, SpineError> {
    shard.call("organisations.load", &LoadOrganisationsRequest { organisations })
}

fn shard() -> Shard {
    let mut shard = Shard::new();
    let request = RegisterRequest {
        fhir_json: least().to_string().into(),
        request_id: "r".to_owned(),
        ..RegisterRequest::default()
    };
    let _: RegisterResponse = shard.call("pds.register", &request).unwrap();
    shard
}

/// The rule that refuses the first patch of a patient, if any.
fn patch(shard: &mut Shard, list: &str, value: &Value) -> Option<String> {
    let patches = json!({ "patches": [{ "op": "add", "path": format!("/{list}/-"), "value": value }] });
    let request = PatchRequest {
        nhs_number: "9990000018".to_owned(),
        version_id: 1,
        patch: patches.to_string().into(),
        format: PatchFormat::Pds.into(),
        request_id: "p".to_owned(),
        ..PatchRequest::default()
    };
    let answer: Result<PatchResponse, SpineError> = shard.call("pds.patch", &request);
    answer.err().map(|error| error.rule.to_string())
}

fn practice(code: &str) -> Value {
    json!({ "type": "Organization", "identifier": { "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": code } })
}

fn dispenser(kind: &str, code: &str) -> Value {
    json!({ "url": format!("{UK_CORE}{kind}"), "valueReference": { "identifier": { "value": code } } })
}

#[test]
fn without_organisations_every_well_formed_code_is_known() {
    assert_eq!(
        patch(&mut shard(), "generalPractitioner", &practice("Y12345")),
        None
    );
    assert_eq!(
        patch(
            &mut shard(),
            "extension",
            &dispenser("NominatedPharmacy", "FZZ01")
        ),
        None
    );
}

#[test]
fn a_practice_is_a_practice_and_a_pharmacy_a_pharmacy() {
    use OrganisationRole::{ApplianceSupplier, GeneralPractice, Pharmacy};
    let told = || {
        let mut shard = shard();
        let mut closed = organisation("A20049", GeneralPractice);
        closed.closed = true;
        let all = vec![
            organisation("A20047", GeneralPractice),
            organisation("FZZ01", Pharmacy),
            organisation("FYY01", ApplianceSupplier),
            closed,
        ];
        load(&mut shard, all).unwrap();
        shard
    };
    let refused = |list: &str, value: &Value| patch(&mut told(), list, value);
    let (gp, pharmacy) = (Some("PDS-42".to_owned()), Some("PDS-43".to_owned()));
    for (code, expected) in [
        ("A20047", &None),
        ("FZZ01", &gp),
        ("A20049", &gp),
        ("Y12345", &gp),
    ] {
        assert_eq!(
            refused("generalPractitioner", &practice(code)),
            *expected,
            "{code}"
        );
    }
    for (kind, code, expected) in [
        ("NominatedPharmacy", "FZZ01", &None),
        ("NominatedPharmacy", "A20047", &pharmacy),
        ("NominatedPharmacy", "FZZ02", &pharmacy),
        ("PreferredDispenserOrganization", "A20047", &None),
        ("PreferredDispenserOrganization", "FYY01", &pharmacy),
        ("MedicalApplianceSupplier", "FYY01", &None),
        ("MedicalApplianceSupplier", "A20047", &pharmacy),
    ] {
        assert_eq!(
            refused("extension", &dispenser(kind, code)),
            *expected,
            "{kind} {code}"
        );
    }
}

/// A shard that was told of one practice and one pharmacy.
fn told() -> Shard {
    let mut shard = shard();
    let all = vec![
        organisation("A20047", OrganisationRole::GeneralPractice),
        organisation("FZZ01", OrganisationRole::Pharmacy),
    ];
    load(&mut shard, all).unwrap();
    shard
}

/// The rule that refuses a change in the plain dialect, if any.
fn plain(format: Option<PatchFormat>, practice: &Value) -> Option<String> {
    let mut shard = told();
    let mut whole = least();
    whole["generalPractitioner"] = json!([practice]);
    let id = || "9990000018".to_owned();
    let answer = match format {
        None => {
            let request = UpdateRequest {
                nhs_number: id(),
                version_id: 1,
                fhir_json: whole.to_string().into(),
                request_id: "u".to_owned(),
                ..UpdateRequest::default()
            };
            shard.call("pds.update", &request).map(|_: UpdateResponse| ())
        }
        Some(format) => {
            let merge = json!({ "generalPractitioner": [practice] });
            let list = json!([{ "op": "add", "path": "/generalPractitioner", "value": [practice] }]);
            let patch = if format == PatchFormat::Merge { merge } else { list };
            let request = PatchRequest {
                nhs_number: id(),
                version_id: 1,
                patch: patch.to_string().into(),
                format: format.into(),
                request_id: "p".to_owned(),
                ..PatchRequest::default()
            };
            shard.call("pds.patch", &request).map(|_: PatchResponse| ())
        }
    };
    answer.err().map(|error: SpineError| error.rule.to_string())
}

#[test]
fn plain_changes_name_only_what_is_there() {
    for format in [None, Some(PatchFormat::Merge), Some(PatchFormat::Json)] {
        assert_eq!(plain(format, &practice("A20047")), None);
        for unknown in ["Y12345", "FZZ01"] {
            assert_eq!(
                plain(format, &practice(unknown)).as_deref(),
                Some("PDS-42"),
                "{unknown}"
            );
        }
    }
}

/// Rule and reason that refuse a new patient with this pharmacy, if any.
fn create(national: bool, pharmacy: &str) -> Option<(String, String)> {
    let resource = json!({
        "resourceType": "Patient",
        "name": [{ "use": "usual", "given": ["Jane"], "family": "Edwards" }],
        "address": [{ "use": "home", "line": ["1 High Street"], "postalCode": "LS1 6AE", "period": { "start": "2020-01-01" } }],
        "gender": "female",
        "birthDate": "1982-07-10",
        "extension": [
            { "url": format!("{UK_CORE}RegisteringAuthority") },
            dispenser("NominatedPharmacy", pharmacy),
        ],
    });
    let request = CreateRequest {
        nhs_number: "9990000026".to_owned(),
        holder: vec![1; 16].into(),
        body: vec![2; 16].into(),
        fhir_json: resource.to_string().into(),
        national,
        request_id: "c".to_owned(),
    };
    let answer: Result<CreateResponse, SpineError> = told().call("pds.create", &request);
    answer
        .err()
        .map(|error| (error.rule.to_string(), error.reason.to_string()))
}

#[test]
fn new_patients_name_only_what_is_there() {
    let refused = |rule: &str, reason: &str| Some((rule.to_owned(), reason.to_owned()));
    for national in [true, false] {
        assert_eq!(create(national, "FZZ01"), None);
    }
    for unknown in ["FZZ02", "A20047"] {
        assert_eq!(create(true, unknown), refused("PDS-50", "INVALID_CREATE"));
        assert_eq!(create(false, unknown), refused("PDS-43", "INVALID_CREATE"));
    }
}

#[test]
fn what_is_told_again_changes_nothing_and_what_is_told_anew_counts() {
    let mut shard = shard();
    let practice_of = |closed| {
        let mut one = organisation("A20047", OrganisationRole::GeneralPractice);
        one.closed = closed;
        vec![one]
    };
    load(&mut shard, practice_of(false)).unwrap();
    let index = shard.index;
    load(&mut shard, practice_of(false)).unwrap();
    assert_eq!(shard.index, index);
    load(&mut shard, practice_of(true)).unwrap();
    assert_eq!(
        patch(&mut shard, "generalPractitioner", &practice("A20047")).as_deref(),
        Some("PDS-42")
    );
}

#[test]
fn what_is_no_organisation_is_refused() {
    let mut shard = Shard::new();
    let mut nameless = organisation("A20047", OrganisationRole::Unspecified);
    assert!(load(&mut shard, vec![nameless.clone()]).is_err());
    nameless.roles.clear();
    nameless.name = "x".repeat(201);
    assert!(load(&mut shard, vec![nameless]).is_err());
    assert!(load(&mut shard, vec![organisation("a", OrganisationRole::Other)]).is_err());
    let many = vec![organisation("A20047", OrganisationRole::Other); 101];
    assert!(load(&mut shard, many).is_err());
}
