//! Several callers ask for a number for the same new person at once. Whatever goes wrong meanwhile, there is one record
//! for each person, whoever is told of a number is told of that one, and no number is two persons'.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use spine_client::{AllocateOptions, Allocated, Pds, Searched};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Shared;

const CALLERS: u32 = 3;
/// Each allocation takes several steps in several shards.
const THINK: Duration = Duration::from_millis(150);
/// Persons of a run, so that the end need not search for ever.
const PERSONS_MAX: u32 = 60;
/// Days of birth: who is born on the same day waits for each other.
const BIRTH_DAYS: u32 = 4;

pub(super) struct Newcomers {
    told: Told,
}

/// Person -> what each caller was told of its number; `None` where nobody knows.
type Told = Arc<Mutex<BTreeMap<u32, Vec<Option<Number>>>>>;

/// A number that somebody was told, and whether it was made for this very request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Number {
    number: String,
    is_new: bool,
}

impl Newcomers {
    pub(super) fn start(shared: &Shared, tasks: &mut Vec<JoinHandle<()>>) -> Self {
        let told = Told::default();
        for caller in 0..CALLERS {
            tasks.push(tokio::spawn(ask(shared.clone(), caller, Arc::clone(&told))));
        }
        Self { told }
    }

    /// How many persons have a number.
    pub(super) async fn finish(&self, shared: &Shared) -> u64 {
        let told = self.told.lock().clone();
        let mut owners = BTreeMap::new();
        for (person, answers) in &told {
            let what = format!("newcomer {person}");
            let stored = shared.at_the_end(&what, || stored(shared, *person)).await;
            let Some(stored) = stored else { continue };
            if let Some(problem) = judge(answers, &stored) {
                shared.found(&what, problem);
            }
            for number in stored {
                if let Some(other) = owners.insert(number, *person) {
                    shared.found(&what, format!("has the number of newcomer {other}"));
                }
            }
        }
        owners.len() as u64
    }
}

async fn ask(shared: Shared, caller: u32, told: Told) {
    for person in 0..PERSONS_MAX {
        if !shared.goes_on() {
            return;
        }
        let id = format!("newcomer-{}-{person}-{caller}", shared.run);
        let pds = shared.client.pds().with_request_id(id);
        let answer = allocate(&pds, shared.run, person).await;
        let answer = answer.unwrap_or_else(|problem| {
            shared.found(&format!("newcomer {person}"), problem);
            None
        });
        told.lock().entry(person).or_default().push(answer);
        sleep(THINK).await;
    }
}

/// # Errors
/// An answer that cannot be.
async fn allocate(pds: &Pds, run: u32, person: u32) -> Result<Option<Number>, String> {
    match pds.allocate(body(run, person), AllocateOptions::default()).await {
        Ok(Allocated::New(new)) => Ok(Some(Number {
            number: new.patient.nhs_number,
            is_new: true,
        })),
        Ok(Allocated::Alike(alike)) => match alike.as_slice() {
            [one] => Ok(Some(Number {
                number: one.expose().to_owned(),
                is_new: false,
            })),
            several => Err(format!("{} records are alike", several.len())),
        },
        Ok(Allocated::Existing(_) | Allocated::Several) => {
            Err("nothing was asked that it answers".to_owned())
        }
        Err(_) => Ok(None),
    }
}

/// The numbers under which a person is stored.
async fn stored(shared: &Shared, person: u32) -> spine_client::Result<BTreeSet<String>> {
    let birth = format!("eq{}", birth_date(person));
    let given = given_name(shared.run, person);
    let parameters = [("family", "Newcomer"), ("given", &given), ("birthdate", &birth)];
    Ok(match shared.client.pds().search(parameters).await? {
        Searched::Matches(matches) => matches
            .into_iter()
            .map(|found| found.patient.nhs_number)
            .collect(),
        Searched::TooMany => (0..2).map(|number| format!("too many {number}")).collect(),
    })
}

/// Why this end cannot be right.
fn judge(told: &[Option<Number>], stored: &BTreeSet<String>) -> Option<String> {
    if stored.len() > 1 {
        return Some(format!("is stored {} times", stored.len()));
    }
    let told: Vec<&Number> = told.iter().flatten().collect();
    if told.iter().filter(|told| told.is_new).count() > 1 {
        return Some("was given two new numbers".to_owned());
    }
    let lost = told.iter().any(|told| !stored.contains(&told.number));
    lost.then(|| "was told of a number under which it is not stored".to_owned())
}

fn body(run: u32, person: u32) -> String {
    json!({
        "resourceType": "Patient",
        "name": [{ "use": "usual", "family": "Newcomer", "given": [given_name(run, person)] }],
        "gender": "female",
        "birthDate": birth_date(person),
    })
    .to_string()
}

fn birth_date(person: u32) -> String {
    format!("1990-03-{:02}", 1 + person % BIRTH_DAYS)
}

/// More than a slip apart from every other one.
fn given_name(run: u32, person: u32) -> String {
    let letter = |number: u32| char::from(b'a' + u8::try_from(number % 26).unwrap_or(0));
    let (high, low) = (person / 26, person % 26);
    [run, high, low, low, run, high, low, high]
        .map(letter)
        .iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: &str, is_new: bool) -> Option<Number> {
        Some(Number {
            number: number.to_owned(),
            is_new,
        })
    }

    fn judged(told: &[Option<Number>], stored: &[&str]) -> Option<String> {
        judge(told, &stored.iter().map(|number| (*number).to_owned()).collect())
    }

    #[test]
    fn one_record_that_all_are_told_of_passes() {
        let told = [number("1", true), number("1", false), None];
        assert_eq!(judged(&told, &["1"]), None);
        assert_eq!(judged(&[None, None], &["1"]), None, "nobody knows whose it is");
        assert_eq!(judged(&[None], &[]), None);
    }

    #[test]
    fn two_records_two_new_numbers_and_a_lost_one_are_found() {
        assert!(judged(&[None], &["1", "2"]).unwrap().contains("2 times"));
        let two = [number("1", true), number("1", true)];
        assert!(judged(&two, &["1"]).unwrap().contains("two new"));
        assert!(judged(&two[..1], &[]).unwrap().contains("not stored"));
        assert!(judged(&two[..1], &["2"]).unwrap().contains("not stored"));
    }

    #[test]
    fn names_are_apart() {
        let names: BTreeSet<String> = (0..PERSONS_MAX).map(|person| given_name(0, person)).collect();
        assert_eq!(names.len(), 60);
    }
}
