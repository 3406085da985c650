//! What clients ask for, and of which registers.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Register;

/// Weights of the kinds of calls; they need not add up to anything.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    pub reads: u32,
    pub puts: u32,
    pub compare_and_sets: u32,
    pub deletes: u32,
    /// A put to a register of its own, never overwritten: each of these must be there at the end.
    pub journal: u32,
    /// The last acknowledged change again, with its request id.
    pub resends: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            reads: 40,
            puts: 25,
            compare_and_sets: 15,
            deletes: 3,
            journal: 12,
            resends: 5,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Put,
    CompareAndSet,
    Delete,
    Journal,
    Resend,
}

impl Mix {
    pub(super) fn draw(&self, random: &mut ChaCha8Rng) -> Kind {
        let choices = [
            (self.reads, Kind::Read),
            (self.puts, Kind::Put),
            (self.compare_and_sets, Kind::CompareAndSet),
            (self.deletes, Kind::Delete),
            (self.journal, Kind::Journal),
            (self.resends, Kind::Resend),
        ];
        let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
        let mut dice = random.random_range(0..total.max(1));
        for (weight, kind) in choices {
            if dice < weight {
                return kind;
            }
            dice -= weight;
        }
        Kind::Read
    }
}

/// The contended registers of a run.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// How many there are; few make contention, many spread over shards.
    pub count: u32,
    /// Keeps the registers and request ids of several runs against one cluster apart.
    pub run: u32,
}

impl Registers {
    /// Register number `number`, from 0.
    #[must_use]
    pub fn get(self, number: u32) -> Register {
        Register {
            routing: format!("reg-{}-{number}", self.run),
            suffix: String::new(),
        }
    }

    pub(super) fn draw(self, random: &mut ChaCha8Rng) -> Register {
        self.get(random.random_range(0..self.count.max(1)))
    }
}
