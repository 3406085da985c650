//! Organisations, and the rules that ask for them.

use serde_json::{Value, json};
use spine_proto::pds::v1::{
    LoadOrganisationsRequest, LoadOrganisationsResponse, Organisation, OrganisationRole, PatchFormat,
    PatchRequest, PatchResponse, RegisterRequest, RegisterResponse,
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
