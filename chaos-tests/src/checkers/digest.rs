//! Replicas at one applied index have one digest.

use std::collections::BTreeMap;

use super::{Rule, Violation};

/// A replica's digest at one applied index.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Names the replica in violations.
    pub replica: String,
    pub shard: u32,
    pub applied_index: u64,
    /// As the node shows it, hexadecimal.
    pub digest: String,
}

/// Collects observations while a run goes on and keeps the first of each index.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    first: BTreeMap<(u32, u64), (String, String)>,
    compared: u64,
}

impl Digests {
    /// Notes an observation.
    ///
    /// # Errors
    /// The violation, if another replica had another digest at this index.
    pub fn observe(&mut self, seen: &Observation) -> Result<(), Box<Violation>> {
        let place = (seen.shard, seen.applied_index);
        let Some((digest, replica)) = self.first.get(&place) else {
            self.first
                .insert(place, (seen.digest.clone(), seen.replica.clone()));
            return Ok(());
        };
        self.compared += 1;
        if *digest == seen.digest {
            return Ok(());
        }
        let message = format!(
            "shard {} at index {}: {replica} has {digest}, {} has {}",
            seen.shard, seen.applied_index, seen.replica, seen.digest
        );
        Err(Box::new(Violation::new(Rule::DigestDiffers, "", &[], message)))
    }

    /// How often two observations met at one index.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_index_needs_equal_digest() {
        let seen = |replica: &str, shard, applied_index, digest: &str| Observation {
            replica: replica.to_owned(),
            shard,
            applied_index,
            digest: digest.to_owned(),
        };
        let mut digests = Digests::default();
        digests.observe(&seen("n1", 1, 5, "aa")).unwrap();
        digests.observe(&seen("n2", 1, 5, "aa")).unwrap();
        digests.observe(&seen("n2", 1, 6, "bb")).unwrap();
        digests.observe(&seen("n2", 2, 5, "cc")).unwrap();
        assert_eq!(digests.compared(), 1);
        let violation = digests.observe(&seen("n3", 1, 6, "bc")).unwrap_err();
        assert_eq!(violation.rule, Rule::DigestDiffers);
    }
}
