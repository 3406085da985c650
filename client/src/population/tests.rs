//! The population as its users see it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Population;

/// FNV-1a, 64 bits: enough to notice any change of the frozen bytes.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn lines(seed: u64, count: u64) -> Vec<u8> {
    let mut lines = Vec::new();
    Population::new(seed).write_ndjson(&mut lines, 0..count).unwrap();
    lines
}

#[test]
fn a_seed_means_the_same_bytes_for_ever() {
    assert_eq!(fingerprint(&lines(0, 1_000)), 335_705_410_008_597_408);
    assert_eq!(fingerprint(&lines(42, 1_000)), 11_535_780_171_288_613_356);
}

#[test]
fn a_patient_depends_on_its_index_alone() {
    let population = Population::new(9);
    let all: Vec<_> = population.patients(0..50).collect();
    for (index, patient) in (0..50_i32).zip(&all).rev() {
        let index = u64::try_from(index).unwrap();
        assert!(Population::new(9).patient(index) == *patient);
        assert_eq!(population.nhs_number(index), patient.nhs_number);
    }
    assert!(Population::new(10).patient(0) != all[0]);
}

#[test]
fn indices_beyond_the_capacity_begin_again() {
    let population = Population::new(3);
    assert!(population.capacity() > 90_000_000);
    assert!(population.patient(population.capacity()) == population.patient(0));
    assert_eq!(population.patient(u64::MAX).nhs_number.len(), 10);
}

fn texts<'a>(patient: &'a Value, list: &str, member: &str) -> Vec<&'a str> {
    let items = patient[list].as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| item[member].as_str()).collect()
}

#[test]
fn every_patient_is_plausible() {
    let population = Population::new(5);
    let mut numbers = BTreeSet::new();
    for index in 0..3_000 {
        let made = population.patient(index);
        assert!(!made.json.contains('\n'));
        let patient: Value = serde_json::from_str(&made.json).unwrap();
        assert_eq!(patient["id"], made.nhs_number.as_str());
        assert_eq!(patient["identifier"][0]["value"], made.nhs_number.as_str());
        assert!(numbers.insert(made.nhs_number));
        let birth = patient["birthDate"].as_str().unwrap();
        assert!(("1920-01-01".."2026-01-01").contains(&birth), "{birth}");
        if let Some(death) = patient["deceasedDateTime"].as_str() {
            assert!(death >= birth && death < "2026-01-01", "{index}");
        }
        assert_eq!(
            texts(&patient, "name", "use")
                .iter()
                .filter(|&&usage| usage == "usual")
                .count(),
            1
        );
        assert!(["male", "female", "other", "unknown"].contains(&patient["gender"].as_str().unwrap()));
        for telephone in texts(&patient, "telecom", "value") {
            let kept_free = telephone.starts_with("07700900") && telephone.len() == 11
                || telephone.starts_with("01632960") && telephone.len() == 11
                || telephone.ends_with("@example.org");
            assert!(kept_free, "{index}");
        }
        for list in ["name", "address", "telecom"] {
            for item in patient[list].as_array().map_or(&[][..], Vec::as_slice) {
                let (start, end) = (&item["period"]["start"], &item["period"]["end"]);
                assert!(start.as_str().unwrap() >= birth, "{index} {list}");
                assert!(end.is_null() || end.as_str() >= start.as_str(), "{index} {list}");
            }
        }
        for postcode in texts(&patient, "address", "postalCode") {
            let (outward, inward) = postcode.split_once(' ').unwrap();
            assert!((2..=4).contains(&outward.len()) && inward.len() == 3, "{index}");
        }
    }
}

#[test]
fn the_population_has_variety() {
    let population = Population::new(1);
    let text: String = population
        .patients(0..5_000)
        .map(|patient| patient.json)
        .collect();
    for wanted in [
        "\"maiden\"",
        "\"old\"",
        "\"nickname\"",
        "\"temp\"",
        "Student Accommodation",
        "deceasedDateTime",
        "\"female\"",
        "\"male\"",
        "\"other\"",
        "\"unknown\"",
        "NominatedPharmacy",
        "NHSCommunication",
        "multipleBirthInteger",
        "ZZ99 3VZ",
        "Emergency Contact",
        "O'Brien",
        "Müller",
    ] {
        assert!(text.contains(wanted), "nobody has {wanted}");
    }
}
