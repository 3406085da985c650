//! Several callers register the same NHS Number at once, each with a body of its own. One wins, and what is
//! stored is the winner's.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::RngExt;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Shared, THINK, mark_of, patient};
use crate::workload::seeded;

const CLAIMANTS: u32 = 3;
/// A number is drawn from so many newest; few make several claim one at once.
const WINDOW: u64 = 3;
/// Claims of one claimant, so that the end need not read for ever.
const CLAIMS_MAX: u64 = 400;

pub(super) struct Unique {
    claims: Claims,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Registered,
    Refused,
    Unknown,
}

/// Number's index -> mark of each claim and how it ended.
type Claims = Arc<Mutex<BTreeMap<u64, BTreeMap<String, Outcome>>>>;

impl Unique {
    pub(super) fn start(shared: &Shared, seed: u64, tasks: &mut Vec<JoinHandle<()>>) -> Self {
        let claims = Claims::default();
        for claimant in 0..CLAIMANTS {
            let (shared, claims) = (shared.clone(), claims.clone());
            tasks.push(tokio::spawn(claim(shared, claimant, seed, claims)));
        }
        Self { claims }
    }

    /// How often a number was claimed.
    pub(super) async fn finish(&self, shared: &Shared) -> u64 {
        let claims = self.claims.lock().clone();
        let mut count = 0;
        for (index, of_number) in &claims {
            count += of_number.len() as u64;
            let number = number(shared, *index);
            let what = format!("number {index}");
            let errors = shared.violations.lock().len();
            let stored = shared
                .at_the_end(&what, || async { shared.client.pds().retrieve(&number).await })
                .await;
            if shared.violations.lock().len() > errors {
                continue;
            }
            let stored = stored.map(|patient| (mark_of(&patient.fhir_json), patient.version_id));
            if let Some(problem) = judge(of_number, stored.as_ref()) {
                shared.found(&what, problem);
            }
        }
        count
    }
}

/// Even indices of the population; the other workload has the odd ones.
fn number(shared: &Shared, index: u64) -> String {
    shared
        .population
        .nhs_number((u64::from(shared.run) * 1_000_000 + index) * 2)
}

async fn claim(shared: Shared, claimant: u32, seed: u64, claims: Claims) {
    let mut random = seeded(seed, &format!("claimant {claimant}"));
    for turn in 0..CLAIMS_MAX {
        if !shared.goes_on() {
            return;
        }
        let index = turn + random.random_range(0..WINDOW);
        let mark = format!("Claim-{claimant}-{turn}");
        note(&claims, index, &mark, Outcome::Unknown);
        let id = format!("claim-{}-{claimant}-{turn}", shared.run);
        let body = patient(&number(&shared, index), &mark);
        let outcome = match shared.client.pds().with_request_id(id).register(body).await {
            Ok(_) => Outcome::Registered,
            Err(error) if error.is_definite() => Outcome::Refused,
            Err(_) => Outcome::Unknown,
        };
        note(&claims, index, &mark, outcome);
        sleep(THINK).await;
    }
}

fn note(claims: &Claims, index: u64, mark: &str, outcome: Outcome) {
    claims
        .lock()
        .entry(index)
        .or_default()
        .insert(mark.to_owned(), outcome);
}

/// Why this end cannot be right. `stored`: mark and version.
fn judge(claims: &BTreeMap<String, Outcome>, stored: Option<&(String, u32)>) -> Option<String> {
    let of = |outcome| move |claim: &&String| claims.get(*claim) == Some(&outcome);
    let winners: Vec<&String> = claims.keys().filter(of(Outcome::Registered)).collect();
    if winners.len() > 1 {
        return Some(format!("was registered {} times: {winners:?}", winners.len()));
    }
    match (winners.first(), stored) {
        (Some(winner), None) => Some(format!("{winner} was acknowledged, and nothing is stored")),
        (Some(winner), Some((mark, _))) if *winner != mark => {
            Some(format!("{winner} was acknowledged, {mark} is stored"))
        }
        (_, Some((mark, version))) if *version != 1 => {
            Some(format!("{mark} has version {version}, and nobody updated it"))
        }
        (None, Some((mark, _))) if claims.get(mark) != Some(&Outcome::Unknown) => Some(format!(
            "{mark} is stored, and was never acknowledged or in doubt"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(claims: &[(&str, Outcome)], stored: Option<(&str, u32)>) -> Option<String> {
        let claims = claims
            .iter()
            .map(|(mark, outcome)| ((*mark).to_owned(), *outcome))
            .collect();
        judge(
            &claims,
            stored.map(|(mark, version)| (mark.to_owned(), version)).as_ref(),
        )
    }

    #[test]
    fn one_winner_or_one_in_doubt_passes() {
        let claims = [
            ("a", Outcome::Registered),
            ("b", Outcome::Refused),
            ("c", Outcome::Unknown),
        ];
        assert_eq!(judged(&claims, Some(("a", 1))), None);
        assert_eq!(judged(&claims[1..], Some(("c", 1))), None);
        assert_eq!(judged(&claims[1..], None), None);
    }

    #[test]
    fn two_winners_a_lost_one_a_wrong_one_and_a_refused_one_are_found() {
        let two = [("a", Outcome::Registered), ("b", Outcome::Registered)];
        assert!(judged(&two, Some(("a", 1))).unwrap().contains("2 times"));
        assert!(judged(&two[..1], None).unwrap().contains("nothing is stored"));
        assert!(judged(&two[..1], Some(("x", 1))).unwrap().contains("x is stored"));
        assert!(judged(&two[..1], Some(("a", 2))).unwrap().contains("version 2"));
        assert!(
            judged(&[("a", Outcome::Refused)], Some(("a", 1)))
                .unwrap()
                .contains("never acknowledged")
        );
    }
}
