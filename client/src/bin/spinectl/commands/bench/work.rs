//! What a caller does next, and what any store must be able to do for a measurement.

use bytes::Bytes;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::args::Mix;

/// One kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Put,
    /// Linearizable.
    Get,
    /// A read of a record, then a write guarded by what was read; again where another one came first.
    CompareAndSet,
    /// A page of the records of one routing key.
    List,
    /// A patient.
    Retrieve,
    /// A patient retrieved and replaced.
    Update,
}

impl Kind {
    /// As the report names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::CompareAndSet => "cas",
            Self::List => "list",
            Self::Retrieve => "retrieve",
            Self::Update => "update",
        }
    }

    pub(super) const fn writes(self) -> bool {
        matches!(self, Self::Put | Self::CompareAndSet | Self::Update)
    }
}

/// The kinds of a mix, each as often as the others.
pub(super) const fn kinds(mix: Mix) -> &'static [Kind] {
    match mix {
        Mix::Put => &[Kind::Put],
        Mix::Get => &[Kind::Get],
        Mix::PutGet => &[Kind::Put, Kind::Get],
        Mix::Cas => &[Kind::CompareAndSet],
        Mix::List => &[Kind::List],
        Mix::Retrieve => &[Kind::Retrieve],
        Mix::Update => &[Kind::Update],
        Mix::Patients => &[
            Kind::Retrieve,
            Kind::Retrieve,
            Kind::Retrieve,
            Kind::Retrieve,
            Kind::Update,
        ],
    }
}

/// One operation to make.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) kind: Kind,
    pub(super) key: u32,
    /// For a write.
    pub(super) value: Bytes,
}

/// One caller of a store, as a task of its own.
pub(super) trait Caller: Send + 'static {
    /// # Errors
    /// A word for the report.
    fn act(&mut self, work: Work) -> impl Future<Output = Result<(), String>> + Send;
}

/// Draws what one caller does, the same for one seed.
pub(super) struct Draw {
    random: ChaCha8Rng,
    kinds: &'static [Kind],
    turn: usize,
    keys: u32,
    /// Random, so that no compression flatters the figures.
    value: Vec<u8>,
}

impl Draw {
    pub(super) fn new(mix: Mix, keys: u32, value_bytes: usize, seed: u64, caller: u32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(u64::from(caller));
        let mut value = vec![0; value_bytes];
        random.fill_bytes(&mut value);
        Self {
            random,
            kinds: kinds(mix),
            turn: caller as usize,
            keys,
            value,
        }
    }

    pub(super) fn next(&mut self) -> Work {
        let key = self.random.random_range(0..self.keys);
        self.turn += 1;
        self.work(self.kinds[self.turn % self.kinds.len()], key)
    }

    pub(super) fn work(&mut self, kind: Kind, key: u32) -> Work {
        let value = if kind.writes() { self.fresh() } else { Bytes::new() };
        Work { kind, key, value }
    }

    /// Another value each time, at the cost of eight random bytes.
    fn fresh(&mut self) -> Bytes {
        let fresh = self.random.next_u64().to_le_bytes();
        for (byte, new) in self.value.iter_mut().zip(fresh) {
            *byte = new;
        }
        Bytes::copy_from_slice(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_draws_the_same_and_values_differ() {
        let draw = |caller| Draw::new(Mix::PutGet, 100, 16, 1, caller);
        let (mut one, mut same, mut other) = (draw(1), draw(1), draw(2));
        let keys = |draw: &mut Draw| (0..20).map(|_| draw.next().key).collect::<Vec<_>>();
        assert_eq!(keys(&mut one), keys(&mut same));
        assert_ne!(keys(&mut same), keys(&mut other));
        let first = one.work(Kind::Put, 1).value;
        assert_ne!(first, one.work(Kind::Put, 1).value);
        assert!(one.work(Kind::Get, 1).value.is_empty());
    }
}
