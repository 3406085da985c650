//! Whose state is right where digests at one index differ: that of a majority of the group.

use spine_mutants::mutant;
use spine_statemachine::Digest;

/// What the digests at one index say of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// A majority of the group has its digest.
    Acquitted,
    /// A majority of the group has another digest.
    Convicted,
    /// Too few have answered.
    Open,
    /// All have answered, and there is no majority: nobody knows who is right.
    NoMajority,
}

/// Judges a replica by the digests of the other voters; `None` of who gave none.
pub(super) fn judge(ours: Digest, others: &[Option<Digest>]) -> Judgement {
    let majority = others.len().div_ceil(2) + 1;
    let have = |digest: Digest| others.iter().filter(|other| **other == Some(digest)).count();
    if have(ours) + 1 >= majority {
        return Judgement::Acquitted;
    }
    let convicts = if mutant!("one-witness-convicts") {
        1
    } else {
        majority
    };
    if others.iter().flatten().any(|theirs| have(*theirs) >= convicts) {
        return Judgement::Convicted;
    }
    if others.contains(&None) {
        Judgement::Open
    } else {
        Judgement::NoMajority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_of_all_voters_decides_and_nobody_else() {
        let digest = |byte: u8| Digest::from_bytes(&[byte; 16]).expect("16 bytes");
        let judged = |others: &[u8]| {
            let others: Vec<Option<Digest>> = others.iter().map(|d| (*d != 0).then(|| digest(*d))).collect();
            judge(digest(1), &others)
        };
        use Judgement::{Acquitted, Convicted, NoMajority, Open};
        // 1 is the replica's own digest, 0 no answer.
        assert_eq!(judged(&[1, 2]), Acquitted);
        assert_eq!(judged(&[2, 2]), Convicted);
        assert_eq!(judged(&[2, 0]), Open, "one witness convicts nobody");
        assert_eq!(judged(&[0, 0]), Open);
        assert_eq!(judged(&[2, 3]), NoMajority);
        assert_eq!(judged(&[2, 2, 1, 1]), Acquitted);
        assert_eq!(judged(&[2, 2, 0, 0]), Open);
        assert_eq!(judged(&[2, 2, 2, 0]), Convicted);
        assert_eq!(judged(&[2, 2, 1, 3]), NoMajority);
        assert_eq!(judged(&[2]), NoMajority, "of two, neither is a majority");
        assert_eq!(judged(&[2, 2, 2]), Convicted);
        assert_eq!(judged(&[2, 2, 1]), NoMajority);
        assert_eq!(judged(&[]), Acquitted, "alone");
    }
}
