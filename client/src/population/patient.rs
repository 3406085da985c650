//! One FHIR R4 Patient (UK Core) from a seed, an index and an NHS Number.

use serde_json::{Map, Value, json};

use super::calendar::Date;
use super::contact;
use super::draw::Draw;
use super::lists::{FAMILY, GIVEN_FEMALE_OLDER, GIVEN_FEMALE_YOUNGER, GIVEN_MALE_OLDER, GIVEN_MALE_YOUNGER};
use super::organisations::{PHARMACIES, PRACTICES};
use super::place::Place;

/// The day the population is as of: no clock is read, so a seed means the same for ever.
const AS_OF: Date = Date::new(2026, 1, 1);
/// Per mille of the population by five years of age from 0, roughly as in England.
const AGE_BANDS: [u32; 20] = [
    52, 58, 60, 58, 61, 66, 69, 66, 64, 61, 67, 68, 60, 50, 48, 42, 27, 16, 6, 1,
];
/// Who is born before this year has a name of the older lists.
const OLDER_NAMES_BEFORE_YEAR: i32 = 1972;
const NHS_NUMBER_SYSTEM: &str = "https://fhir.nhs.uk/Id/nhs-number";
const ODS_SYSTEM: &str = "https://fhir.nhs.uk/Id/ods-organization-code";
const UK_CORE: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-";
/// Languages of those who do not speak English best: code and name.
const LANGUAGES: [(&str, &str); 10] = [
    ("pl", "Polish"),
    ("ro", "Romanian"),
    ("pa", "Panjabi"),
    ("ur", "Urdu"),
    ("pt", "Portuguese"),
    ("es", "Spanish"),
    ("ar", "Arabic"),
    ("bn", "Bengali"),
    ("gu", "Gujarati"),
    ("cy", "Welsh"),
];

/// What several parts of a patient share.
struct Person {
    female: bool,
    gender: &'static str,
    birth: Date,
    /// In whole years on [`AS_OF`].
    age: u32,
    /// The day of death, or the day before [`AS_OF`]: nothing happens later.
    last_day: i32,
    given: Vec<&'static str>,
    family: &'static str,
}

pub(super) fn build(seed: u64, index: u64, nhs_number: &str) -> Value {
    let mut draw = Draw::new(seed, index);
    let mut person = Person::draw(&mut draw);
    let deceased = person.draw_death(&mut draw);
    if let Some(date) = deceased {
        person.last_day = date.to_days();
    }
    let mut patient = Map::new();
    patient.insert("resourceType".to_owned(), json!("Patient"));
    patient.insert("id".to_owned(), json!(nhs_number));
    patient.insert("identifier".to_owned(), json!([identifier(nhs_number)]));
    patient.insert("meta".to_owned(), meta());
    patient.insert("name".to_owned(), names(&mut draw, &person));
    patient.insert("gender".to_owned(), json!(person.gender));
    patient.insert("birthDate".to_owned(), json!(person.birth.text()));
    if draw.chance(15) {
        patient.insert("multipleBirthInteger".to_owned(), json!(draw.between(1, 2)));
    }
    if let Some(date) = deceased {
        patient.insert(
            "deceasedDateTime".to_owned(),
            json!(format!("{}T00:00:00+00:00", date.text())),
        );
    }
    patient.insert("address".to_owned(), addresses(&mut draw, &person));
    let telecom = telecom(&mut draw, &person);
    if !telecom.is_empty() {
        patient.insert("telecom".to_owned(), Value::Array(telecom));
    }
    if draw.chance(150) {
        patient.insert("contact".to_owned(), json!([emergency_contact(&mut draw)]));
    }
    if draw.chance(970) {
        patient.insert(
            "generalPractitioner".to_owned(),
            json!([practice(&mut draw, &person)]),
        );
    }
    let extensions = extensions(&mut draw, deceased);
    if !extensions.is_empty() {
        patient.insert("extension".to_owned(), Value::Array(extensions));
    }
    Value::Object(patient)
}

impl Person {
    fn draw(draw: &mut Draw) -> Self {
        let band = i32::try_from(draw.weighted(&AGE_BANDS)).unwrap_or(0);
        let days_old = band * 1_826 + to_days(draw.below(1_826)) + 1;
        let birth = Date::from_days(AS_OF.to_days() - days_old);
        let (female, gender) = match draw.weighted(&[505, 490, 2, 3]) {
            0 => (true, "female"),
            1 => (false, "male"),
            2 => (draw.chance(500), "other"),
            _ => (draw.chance(500), "unknown"),
        };
        let given_names = match (female, birth.year < OLDER_NAMES_BEFORE_YEAR) {
            (true, true) => &GIVEN_FEMALE_OLDER,
            (true, false) => &GIVEN_FEMALE_YOUNGER,
            (false, true) => &GIVEN_MALE_OLDER,
            (false, false) => &GIVEN_MALE_YOUNGER,
        };
        let mut given = vec![draw.pick(given_names)];
        if draw.chance(600) {
            let middle = draw.pick(given_names);
            if middle != given[0] {
                given.push(middle);
            }
        }
        let age = u32::try_from(days_old / 366).unwrap_or(0);
        let last_day = AS_OF.to_days() - 1;
        Self {
            female,
            gender,
            birth,
            age,
            last_day,
            given,
            family: draw.pick(&FAMILY),
        }
    }

    fn draw_death(&self, draw: &mut Draw) -> Option<Date> {
        let per_mille = match self.age {
            0..40 => 1,
            40..70 => 8,
            70..85 => 50,
            _ => 200,
        };
        draw.chance(per_mille).then(|| self.draw_day(draw, 1_500))
    }

    /// One of the last `days_back` days of this life.
    fn draw_day(&self, draw: &mut Draw, days_back: u32) -> Date {
        let day = self.last_day - to_days(draw.below(days_back));
        Date::from_days(day.max(self.birth.to_days()))
    }

    /// A day of this life from `age` years on; the last day where there was none.
    fn draw_day_since(&self, draw: &mut Draw, age: u32) -> Date {
        let first = self.birth.to_days() + to_days(age) * 366;
        let span = u32::try_from((self.last_day - first).max(1)).unwrap_or(1);
        Date::from_days((first + to_days(draw.below(span))).min(self.last_day))
    }
}

fn identifier(nhs_number: &str) -> Value {
    json!({
        "system": NHS_NUMBER_SYSTEM,
        "value": nhs_number,
        "extension": [{
            "url": format!("{UK_CORE}NHSNumberVerificationStatus"),
            "valueCodeableConcept": { "coding": [{
                "system": "https://fhir.hl7.org.uk/CodeSystem/UKCore-NHSNumberVerificationStatus",
                "version": "1.0.0",
                "code": "01",
                "display": "Number present and verified",
            }] },
        }],
    })
}

fn meta() -> Value {
    json!({
        "versionId": "1",
        "security": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
            "code": "U",
            "display": "unrestricted",
        }],
    })
}

fn names(draw: &mut Draw, person: &Person) -> Value {
    let prefix = prefix(draw, person);
    let changed = person.age >= 20 && draw.chance(if person.female { 250 } else { 30 });
    let mut names = Vec::new();
    if changed {
        let date = person.draw_day_since(draw, 18);
        let maiden = person.female && draw.chance(800);
        let usual = name(
            "1",
            "usual",
            person,
            person.family,
            prefix,
            &json!({ "start": date.text() }),
        );
        let earlier = json!({ "start": person.birth.text(), "end": date.text() });
        let family = draw.pick(&FAMILY);
        names.push(usual);
        names.push(name(
            "2",
            if maiden { "maiden" } else { "old" },
            person,
            family,
            "",
            &earlier,
        ));
    } else {
        let period = json!({ "start": person.birth.text() });
        names.push(name("1", "usual", person, person.family, prefix, &period));
    }
    if draw.chance(30) {
        let short: String = person.given[0].chars().take(3).collect();
        let start = person.draw_day_since(draw, 0).text();
        names.push(json!({
            "id": "3",
            "use": "nickname",
            "period": { "start": start },
            "given": [short],
            "family": person.family,
        }));
    }
    Value::Array(names)
}

fn prefix(draw: &mut Draw, person: &Person) -> &'static str {
    if person.age >= 25 && draw.chance(15) {
        return "Dr";
    }
    match (person.female, person.age) {
        (true, 0..18) => "Miss",
        (true, _) => draw.pick(&["Mrs", "Ms", "Miss", "Mrs"]),
        (false, 0..16) => "Master",
        (false, _) => "Mr",
    }
}

fn name(id: &str, usage: &str, person: &Person, family: &str, prefix: &str, period: &Value) -> Value {
    let mut name =
        json!({ "id": id, "use": usage, "period": period, "given": person.given, "family": family });
    if !prefix.is_empty() {
        name["prefix"] = json!([prefix]);
    }
    name
}

fn addresses(draw: &mut Draw, person: &Person) -> Value {
    let moved = person.draw_day(draw, 9_000);
    let mut addresses = vec![Place::draw(draw).address("1", "home", &json!({ "start": moved.text() }))];
    let student = (18..23).contains(&person.age) && draw.chance(300);
    if student || draw.chance(10) {
        let start = person.draw_day(draw, 200);
        let end = Date::from_days(start.to_days() + to_days(draw.between(30, 300)));
        let mut address =
            Place::draw(draw).address("2", "temp", &json!({ "start": start.text(), "end": end.text() }));
        let text = if student {
            "Student Accommodation"
        } else {
            draw.pick(&[
                "Second Home",
                "Respite Care Address",
                "Temporary Residence Address",
                "Convalescence Home",
                "Holiday Home",
            ])
        };
        address["text"] = json!(text);
        addresses.push(address);
    }
    Value::Array(addresses)
}

fn telecom(draw: &mut Draw, person: &Person) -> Vec<Value> {
    let mut points = Vec::new();
    let start = person.draw_day(draw, 4_000).text();
    if draw.chance(if person.age < 16 { 200 } else { 850 }) {
        points.push(contact::point(
            "1",
            "phone",
            "mobile",
            &contact::mobile(draw),
            &start,
        ));
    }
    if draw.chance(if person.age < 40 { 200 } else { 700 }) {
        points.push(contact::point(
            "2",
            "phone",
            "home",
            &contact::landline(draw),
            &start,
        ));
    }
    if person.age >= 16 && draw.chance(550) {
        points.push(contact::point(
            "3",
            "email",
            "home",
            &contact::email(draw, person.given[0], person.family),
            &start,
        ));
    }
    points
}

fn emergency_contact(draw: &mut Draw) -> Value {
    let start = Date::from_days(AS_OF.to_days() - 1 - to_days(draw.below(3_000))).text();
    json!({
        "id": "1",
        "period": { "start": start },
        "relationship": [{ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v2-0131",
            "code": "C",
            "display": "Emergency Contact",
        }] }],
        "telecom": [{ "system": "phone", "value": contact::mobile(draw) }],
    })
}

fn practice(draw: &mut Draw, person: &Person) -> Value {
    // Codes of this form, but of a range that no organisation holds.
    let code = format!("Y9{:04}", draw.below(PRACTICES));
    json!({
        "id": "1",
        "type": "Organization",
        "identifier": { "system": ODS_SYSTEM, "value": code, "period": { "start": person.draw_day(draw, 9_000).text() } },
    })
}

fn extensions(draw: &mut Draw, deceased: Option<Date>) -> Vec<Value> {
    let mut extensions = Vec::new();
    if draw.chance(350) {
        extensions.push(json!({
            "url": format!("{UK_CORE}NominatedPharmacy"),
            "valueReference": { "identifier": { "system": ODS_SYSTEM, "value": format!("FZZ{:02}", draw.below(PHARMACIES)) } },
        }));
    }
    if draw.chance(60) {
        let (code, display) = LANGUAGES[draw.weighted(&[1; LANGUAGES.len()])];
        let system = "https://fhir.hl7.org.uk/CodeSystem/UKCore-HumanLanguage";
        extensions.push(json!({
            "url": format!("{UK_CORE}NHSCommunication"),
            "extension": [
                {
                    "url": "language",
                    "valueCodeableConcept": { "coding": [{ "system": system, "version": "1.0.0", "code": code, "display": display }] },
                },
                { "url": "interpreterRequired", "valueBoolean": draw.chance(500) },
            ],
        }));
    }
    if let Some(date) = deceased {
        extensions.push(json!({
            "url": format!("{UK_CORE}DeathNotificationStatus"),
            "extension": [
                {
                    "url": "deathNotificationStatus",
                    "valueCodeableConcept": { "coding": [{
                        "system": "https://fhir.hl7.org.uk/CodeSystem/UKCore-DeathNotificationStatus",
                        "version": "1.0.0",
                        "code": "2",
                        "display": "Formal - death notice received from Registrar of Deaths",
                    }] },
                },
                { "url": "systemEffectiveDate", "valueDateTime": format!("{}T00:00:00+00:00", date.text()) },
            ],
        }));
    }
    extensions
}

fn to_days(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
