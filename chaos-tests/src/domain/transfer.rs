//! Registrations move between two practices, each move one guarded commit. At every moment the practices' counts
//! are those of their patients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use spine_client::{Commit, ListOptions, Record};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Shared, THINK};
use crate::workload::seeded;

const PATIENTS: u64 = 8;
const MOVERS: u32 = 2;
const PRACTICES: [&str; 2] = ["count-a", "count-b"];

pub(super) struct Transfer {
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

/// All records of the workload at one index: suffix -> number and revision. A patient's number is its practice.
type Book = BTreeMap<String, (u64, u64)>;

impl Transfer {
    pub(super) fn start(shared: &Shared, seed: u64, tasks: &mut Vec<JoinHandle<()>>) -> Self {
        let tally = Arc::new(Tally::default());
        for mover in 0..MOVERS {
            let random = seeded(seed, &format!("mover {mover}"));
            tasks.push(tokio::spawn(move_patients(
                shared.clone(),
                mover,
                random,
                tally.clone(),
            )));
        }
        Self { tally }
    }

    /// Acknowledged transfers. Each happened once, and no other but those of unknown outcome.
    pub(super) async fn finish(&self, shared: &Shared) -> u64 {
        let acknowledged = self.tally.acknowledged.load(Ordering::Relaxed);
        let unknown = self.tally.unknown.load(Ordering::Relaxed);
        if let Some(book) = shared.at_the_end("transfers", || book(shared)).await {
            let problem = conserved(&book).or_else(|| counted(&book, acknowledged, unknown));
            if let Some(problem) = problem {
                shared.found("transfers", problem);
            }
        }
        acknowledged
    }
}

fn routing(shared: &Shared) -> String {
    format!("gp-{}", shared.run)
}

async fn book(shared: &Shared) -> spine_client::Result<Book> {
    let page = shared
        .client
        .records()
        .list(&routing(shared), ListOptions::default())
        .await?;
    Ok(page.records.iter().map(entry).collect())
}

fn entry(record: &Record) -> (String, (u64, u64)) {
    let suffix = String::from_utf8_lossy(&record.key.suffix).into_owned();
    let number = String::from_utf8_lossy(&record.value).parse().unwrap_or(u64::MAX);
    (suffix, (number, record.revision))
}

async fn move_patients(shared: Shared, mover: u32, mut random: ChaCha8Rng, tally: Arc<Tally>) {
    let mut number = 0_u64;
    while shared.goes_on() {
        sleep(THINK).await;
        let Ok(book) = book(&shared).await else { continue };
        if let Some(problem) = conserved(&book) {
            shared.found("transfers", problem);
            return;
        }
        number += 1;
        let id = format!("move-{}-{mover}-{number}", shared.run);
        let commit = if book.is_empty() {
            opening(&routing(&shared)).request_id(id)
        } else {
            let patient = random.random_range(0..PATIENTS);
            let Some(commit) = transfer(&routing(&shared), &book, patient) else {
                continue;
            };
            commit.request_id(id)
        };
        match shared.client.records().commit(commit).await {
            // The first commit opens the book; it moves nobody.
            Ok(_) if book.is_empty() => {}
            Ok(_) => {
                tally.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.is_definite() => {}
            Err(_) => {
                tally.unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Everybody is registered at the first practice.
fn opening(routing: &str) -> Commit {
    let commit = Commit::new(routing)
        .if_absent(PRACTICES[0])
        .put(PRACTICES[0], PATIENTS.to_string())
        .put(PRACTICES[1], "0")
        .put("moves", "0");
    (0..PATIENTS).fold(commit, |commit, patient| {
        commit.put(format!("patient-{patient}"), "0")
    })
}

/// Moves a patient to the other practice, if nobody changed what that rests on.
fn transfer(routing: &str, book: &Book, patient: u64) -> Option<Commit> {
    let name = format!("patient-{patient}");
    let (from, seen) = *book.get(&name)?;
    let from = usize::try_from(from).ok().filter(|from| *from < 2)?;
    let (leaves, enters) = (PRACTICES[from], PRACTICES[1 - from]);
    let (less, left_at) = *book.get(leaves)?;
    let (more, entered_at) = *book.get(enters)?;
    let (moves, moved_at) = *book.get("moves")?;
    Some(
        Commit::new(routing)
            .if_revision(name.clone(), seen)
            .if_revision(leaves, left_at)
            .if_revision(enters, entered_at)
            .if_revision("moves", moved_at)
            .put(name, (1 - from).to_string())
            .put(leaves, less.checked_sub(1)?.to_string())
            .put(enters, (more + 1).to_string())
            .put("moves", (moves + 1).to_string()),
    )
}

/// Why the book cannot be right; an empty one is.
fn conserved(book: &Book) -> Option<String> {
    if book.is_empty() {
        return None;
    }
    let number = |name: &str| book.get(name).map(|(number, _)| *number);
    for (practice, count) in (0_u64..).zip(PRACTICES) {
        let patients =
            (0..PATIENTS).filter(|patient| number(&format!("patient-{patient}")) == Some(practice));
        let patients = patients.count() as u64;
        if number(count) != Some(patients) {
            return Some(format!(
                "{count} is {:?}, and {patients} patients are there",
                number(count)
            ));
        }
    }
    let all: u64 = PRACTICES.iter().filter_map(|count| number(count)).sum();
    (all != PATIENTS).then(|| format!("{all} patients are registered, not {PATIENTS}"))
}

/// Why the number of moves cannot be right.
fn counted(book: &Book, acknowledged: u64, unknown: u64) -> Option<String> {
    let moves = book.get("moves").map_or(0, |(moves, _)| *moves);
    let possible = acknowledged..=acknowledged + unknown;
    (!possible.contains(&moves))
        .then(|| format!("{moves} moves happened; {acknowledged} were acknowledged, {unknown} unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Book {
        let mut book: Book = (0..PATIENTS)
            .map(|patient| (format!("patient-{patient}"), (patient % 2, 1)))
            .collect();
        book.insert("count-a".to_owned(), (4, 1));
        book.insert("count-b".to_owned(), (4, 1));
        book.insert("moves".to_owned(), (4, 1));
        book
    }

    #[test]
    fn a_book_that_adds_up_passes() {
        assert_eq!(conserved(&good()), None);
        assert_eq!(conserved(&Book::new()), None);
        assert_eq!(counted(&good(), 3, 1), None);
        assert!(transfer("r", &good(), 3).is_some());
    }

    #[test]
    fn half_a_transfer_a_lost_patient_and_a_second_move_are_found() {
        let mut half = good();
        half.insert("count-a".to_owned(), (3, 2));
        assert!(conserved(&half).unwrap().contains("count-a"));
        let mut lost = good();
        lost.remove("patient-0");
        lost.insert("count-a".to_owned(), (3, 2));
        assert!(conserved(&lost).unwrap().contains("7 patients"));
        assert!(counted(&good(), 3, 0).is_some());
        assert!(counted(&good(), 5, 3).is_some());
    }
}
