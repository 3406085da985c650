//! Patients are updated by several callers at once. A history names every version once, from the newest to the
//! first, and each acknowledged update stands under the version it was told.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use parking_lot::Mutex;
use spine_client::HistoryPage;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Shared, THINK, mark_of, patient};

const PATIENTS: u64 = 4;
const UPDATERS: u32 = 2;
/// Small, so that a history takes several pages.
const PAGE: u32 = 20;
/// Updates between two looks at a whole history.
const UPDATES_BETWEEN_LOOKS: u64 = 40;

pub(super) struct Gapless {
    told: Told,
}

/// Patient's index and version -> the mark that was acknowledged.
type Told = Arc<Mutex<BTreeMap<(u64, u32), String>>>;

impl Gapless {
    pub(super) fn start(shared: &Shared, tasks: &mut Vec<JoinHandle<()>>) -> Self {
        let told = Told::default();
        for updater in 0..UPDATERS {
            tasks.push(tokio::spawn(update(shared.clone(), updater, told.clone())));
        }
        Self { told }
    }

    /// Acknowledged updates.
    pub(super) async fn finish(&self, shared: &Shared) -> u64 {
        for index in 0..PATIENTS {
            let what = format!("patient {index}");
            let read = || history(shared, index);
            if let Some(versions) = shared.at_the_end(&what, read).await {
                check(shared, index, &versions, &self.told);
            } else if self.told.lock().keys().any(|(of, _)| *of == index) {
                shared.found(&what, "has acknowledged versions and no history");
            }
        }
        self.told.lock().len() as u64
    }
}

/// Odd indices of the population; the other workload has the even ones.
fn number(shared: &Shared, index: u64) -> String {
    shared
        .population
        .nhs_number((u64::from(shared.run) * 1_000_000 + index) * 2 + 1)
}

/// Versions and marks, newest first.
type Versions = Vec<(u32, String)>;

async fn history(shared: &Shared, index: u64) -> spine_client::Result<Versions> {
    let pages: Vec<HistoryPage> = shared
        .client
        .pds()
        .history_pages(&number(shared, index), PAGE)
        .try_collect()
        .await?;
    let versions = pages.iter().flat_map(|page| &page.versions);
    Ok(versions
        .map(|one| (one.version_id, mark_of(&one.fhir_json)))
        .collect())
}

async fn update(shared: Shared, updater: u32, told: Told) {
    let mut turn = 0_u64;
    while shared.goes_on() {
        turn += 1;
        sleep(THINK).await;
        let index = turn % PATIENTS;
        if turn.is_multiple_of(UPDATES_BETWEEN_LOOKS) {
            // What was told before the look began must be in it.
            let before = Arc::new(Mutex::new(told.lock().clone()));
            if let Ok(versions) = history(&shared, index).await {
                check(&shared, index, &versions, &before);
            }
        }
        let mark = format!("Mark-{updater}-{turn}");
        if let Ok(Some(version)) = change(&shared, index, &mark, updater, turn).await {
            let other = told.lock().insert((index, version), mark.clone());
            if let Some(other) = other.filter(|other| *other != mark) {
                shared.found(
                    &format!("patient {index}"),
                    format!("version {version} is {other} and {mark}"),
                );
            }
        }
    }
}

/// The version that holds the mark, if it was acknowledged.
async fn change(
    shared: &Shared,
    index: u64,
    mark: &str,
    updater: u32,
    turn: u64,
) -> spine_client::Result<Option<u32>> {
    let number = number(shared, index);
    let body = patient(&number, mark);
    let pds = shared.client.pds();
    let now = match pds.retrieve(&number).await {
        Ok(patient) => Some(patient.version_id),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let pds = pds.with_request_id(format!("mark-{}-{updater}-{turn}", shared.run));
    let changed = match now {
        Some(version) => pds.update(&number, version, body).await?,
        None => pds.register(body).await?,
    };
    Ok(Some(changed.patient.version_id))
}

fn check(shared: &Shared, index: u64, versions: &Versions, told: &Told) {
    let told = told.lock();
    let of_patient = told.range((index, 0)..=(index, u32::MAX));
    let of_patient = of_patient
        .map(|((_, version), mark)| (*version, mark.as_str()))
        .collect();
    if let Some(problem) = problem(versions, &of_patient) {
        shared.found(&format!("patient {index}"), problem);
    }
}

/// Why a history cannot be right.
fn problem(versions: &Versions, told: &BTreeMap<u32, &str>) -> Option<String> {
    let newest = versions.first().map_or(0, |(version, _)| *version);
    let expected = (1..=newest).rev();
    if !versions.iter().map(|(version, _)| *version).eq(expected) {
        let found: Vec<u32> = versions.iter().map(|(version, _)| *version).collect();
        return Some(format!("the history has a gap or a version twice: {found:?}"));
    }
    let held: BTreeMap<u32, &str> = versions
        .iter()
        .map(|(version, mark)| (*version, mark.as_str()))
        .collect();
    let wrong = told
        .iter()
        .find(|(version, mark)| held.get(version) != Some(mark))?;
    Some(format!(
        "version {} was told to be {}, and is {:?}",
        wrong.0,
        wrong.1,
        held.get(wrong.0)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(versions: &[(u32, &str)], told: &[(u32, &'static str)]) -> Option<String> {
        let versions = versions
            .iter()
            .map(|(version, mark)| (*version, (*mark).to_owned()))
            .collect();
        problem(&versions, &told.iter().copied().collect())
    }

    #[test]
    fn a_whole_history_passes() {
        assert_eq!(
            found(&[(3, "c"), (2, "b"), (1, "a")], &[(1, "a"), (3, "c")]),
            None
        );
        assert_eq!(found(&[], &[]), None);
    }

    #[test]
    fn a_gap_a_repeat_a_cut_end_and_a_wrong_mark_are_found() {
        assert!(found(&[(3, "c"), (1, "a")], &[]).unwrap().contains("gap"));
        assert!(
            found(&[(2, "b"), (2, "b"), (1, "a")], &[])
                .unwrap()
                .contains("twice")
        );
        assert!(found(&[(3, "c"), (2, "b")], &[]).unwrap().contains("gap"));
        assert!(
            found(&[(2, "x"), (1, "a")], &[(2, "b")])
                .unwrap()
                .contains("told to be b")
        );
        assert!(found(&[(1, "a")], &[(2, "b")]).unwrap().contains("told to be b"));
    }
}
