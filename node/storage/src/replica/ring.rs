//! Digests of the last applied indexes, and what the leader's Verify entries said about them.

use std::collections::VecDeque;

use spine_mutants::mutant;
use spine_statemachine::Digest;

/// Applied indexes whose digests are kept: 24 bytes each.
const RING_ENTRIES: usize = 4096;

/// Of so many Verify entries this replica's digest is kept for longer: peers may ask for it.
const VERIFIED_MAX: usize = 16;

/// A digest of a Verify entry, or of a peer, that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Index both digests are of.
    pub index: u64,
    /// This replica's digest.
    pub ours: Digest,
    /// The other digest.
    pub theirs: Digest,
}

/// What Verify entries found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Newest index at which our digest was compared and equal.
    pub equal_at: Option<u64>,
    /// First mismatch since the replica was opened or acquitted. It convicts nobody: a majority does.
    pub mismatch: Option<Mismatch>,
}

#[derive(Default)]
pub(crate) struct DigestRing {
    digests: VecDeque<(u64, Digest)>,
    verified: VecDeque<(u64, Digest)>,
    verdict: Verdict,
}

impl DigestRing {
    pub(crate) fn push(&mut self, index: u64, digest: Digest) {
        if self.digests.len() == RING_ENTRIES {
            self.digests.pop_front();
        }
        self.digests.push_back((index, digest));
    }

    pub(crate) fn at(&self, index: u64) -> Option<Digest> {
        let found = self.digests.binary_search_by_key(&index, |(index, _)| *index);
        let recent = found.ok().and_then(|found| self.digests.get(found));
        let verified = || self.verified.iter().find(|(verified, _)| *verified == index);
        recent.or_else(verified).map(|(_, digest)| *digest)
    }

    /// A Verify entry is applied. An index that is not in the ring gives no verdict.
    pub(crate) fn compare(&mut self, index: u64, theirs: Digest) {
        let Some(ours) = self.at(index) else { return };
        if self.verified.len() == VERIFIED_MAX {
            self.verified.pop_front();
        }
        self.verified.push_back((index, ours));
        if ours == theirs {
            self.verdict.equal_at = self.verdict.equal_at.max(Some(index));
        }
        self.doubt(index, theirs);
    }

    /// Another replica has this digest at this index.
    pub(crate) fn doubt(&mut self, index: u64, theirs: Digest) {
        let Some(ours) = self.at(index) else { return };
        if ours != theirs && self.verdict.mismatch.is_none() && !mutant!("divergence-not-noticed") {
            self.verdict.mismatch = Some(Mismatch { index, ours, theirs });
        }
    }

    /// A majority has our digest at this index: the mismatch there is the other's.
    pub(crate) fn acquit(&mut self, index: u64) {
        self.verdict.mismatch.take_if(|mismatch| mismatch.index == index);
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes(&[byte; 16]).expect("16 bytes")
    }

    #[test]
    fn compares_what_it_still_holds() {
        let mut ring = DigestRing::default();
        let limit = u64::try_from(RING_ENTRIES).expect("small");
        for index in 0..=limit {
            ring.push(index, digest(u8::try_from(index % 251).expect("small")));
        }
        assert_eq!(ring.at(0), None, "the oldest went");
        ring.compare(0, digest(9));
        assert_eq!(ring.verdict(), Verdict::default());
        ring.compare(5, digest(5));
        assert_eq!(
            ring.verdict(),
            Verdict {
                equal_at: Some(5),
                mismatch: None
            }
        );
        ring.compare(6, digest(5));
        assert_eq!(
            ring.verdict().mismatch,
            Some(Mismatch {
                index: 6,
                ours: digest(6),
                theirs: digest(5)
            })
        );
    }

    #[test]
    fn what_was_verified_is_known_for_longer_and_a_doubt_ends_by_acquittal() {
        let mut ring = DigestRing::default();
        ring.push(7, digest(7));
        ring.compare(7, digest(7));
        let limit = u64::try_from(RING_ENTRIES).expect("small");
        (8..=8 + limit).for_each(|index| ring.push(index, digest(1)));
        assert_eq!(ring.at(7), Some(digest(7)));
        ring.doubt(7, digest(7));
        assert_eq!(ring.verdict().mismatch, None, "a peer agrees");
        ring.doubt(7, digest(8));
        assert_eq!(ring.verdict().mismatch.map(|found| found.index), Some(7));
        ring.acquit(6);
        assert!(ring.verdict().mismatch.is_some(), "of another index");
        ring.acquit(7);
        assert_eq!(ring.verdict().mismatch, None);
        assert_eq!(ring.verdict().equal_at, Some(7));
    }
}
