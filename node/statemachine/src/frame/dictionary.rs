//! Dictionaries of zstd, each under a number that is never given to another.
//!
//! A dictionary is trained on generated records only (`node/services/examples/train_dictionary.rs`), and it is part of
//! what a node must have to read a cluster's data: a new one may be written only from the cluster level on that names
//! it. The first one belongs to the first release, so every node of every cluster has it.

use std::sync::LazyLock;

use zstd_safe::{CDict, DDict};

/// Level of compression: what a higher one saves on records of 1 KiB is less than 2 %.
const LEVEL: i32 = 3;

static PATIENTS_1: LazyLock<Prepared> =
    LazyLock::new(|| Prepared::new(include_bytes!("../../dictionaries/patients-1.zdict")));

/// A dictionary that this release has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dictionary {
    /// Version 1 for patients.
    Patients1,
}

/// A dictionary with its tables built.
pub(super) struct Prepared {
    pub(super) compress: CDict<'static>,
    pub(super) decompress: DDict<'static>,
}

impl Dictionary {
    /// Its number in a frame.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Patients1 => 1,
        }
    }

    /// The dictionary of a number in a frame.
    #[must_use]
    pub fn of_number(number: u16) -> Option<Self> {
        (number == 1).then_some(Self::Patients1)
    }

    pub(super) fn prepared(self) -> &'static Prepared {
        match self {
            Self::Patients1 => &PATIENTS_1,
        }
    }
}

impl Prepared {
    fn new(bytes: &'static [u8]) -> Self {
        Self {
            compress: CDict::create(bytes, LEVEL),
            decompress: DDict::create(bytes),
        }
    }
}
