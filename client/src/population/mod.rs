//! A synthetic population: believable patients that are nobody.
//!
//! [`Population::patient`] is a pure function of the seed and an index: the same seed gives the same bytes on every
//! machine and in every release, which the frozen hashes in `tests.rs` hold fast. NHS Numbers are valid, begin with 9
//! and lie in ranges that are never issued; none repeats. Telephone numbers are of the ranges kept for drama, e-mail
//! addresses of `example.org`. See `lists/README.md` for where the words come from.
//!
//! ```
//! let population = spine_client::population::Population::new(42);
//! let mut lines = Vec::new();
//! population.write_ndjson(&mut lines, 0..3)?;
//! assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 3);
//! # Ok::<(), std::io::Error>(())
//! ```

mod calendar;
mod contact;
mod draw;
mod lists;
mod number;
pub mod organisations;
mod patient;
mod permutation;
mod place;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::ops::Range;

use number::NumberSequence;

/// The patients of one seed, by index.
pub struct Population {
    seed: u64,
    numbers: NumberSequence,
}

/// One synthetic patient.
#[derive(Clone, PartialEq, Eq)]
pub struct PatientJson {
    /// Ten digits.
    pub nhs_number: String,
    /// A FHIR R4 Patient (UK Core) on one line.
    pub json: String,
}

impl fmt::Debug for PatientJson {
    /// Even an invented patient does not belong in a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PatientJson({} bytes)", self.json.len())
    }
}

impl Population {
    /// The population that `seed` chooses.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            numbers: NumberSequence::new(seed),
        }
    }

    /// How many patients there are before numbers would repeat: more than 90 million.
    pub fn capacity(&self) -> u64 {
        self.numbers.capacity()
    }

    /// Patient `index`, counted from 0; indices at and above [`Population::capacity`] begin again.
    pub fn patient(&self, index: u64) -> PatientJson {
        let index = index % self.capacity();
        let nhs_number = self.nhs_number(index);
        let json = patient::build(self.seed, index, &nhs_number).to_string();
        PatientJson { nhs_number, json }
    }

    /// The NHS Number of patient `index` without the patient: ten digits.
    pub fn nhs_number(&self, index: u64) -> String {
        self.numbers
            .at(index % self.capacity())
            .map(|digit| char::from(b'0' + digit))
            .iter()
            .collect()
    }

    /// The patients of these indices, one after another.
    pub fn patients(&self, indices: Range<u64>) -> impl Iterator<Item = PatientJson> + '_ {
        indices.map(|index| self.patient(index))
    }

    /// Writes the patients of these indices as newline-delimited JSON. The writer should be buffered.
    ///
    /// # Errors
    /// Whatever the writer fails with.
    pub fn write_ndjson(&self, writer: &mut impl io::Write, indices: Range<u64>) -> io::Result<()> {
        for patient in self.patients(indices) {
            writer.write_all(patient.json.as_bytes())?;
            writer.write_all(b"\n")?;
        }
        Ok(())
    }
}
