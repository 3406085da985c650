use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::history::testing::History;
use crate::history::{Action, ClientId, Outcome, Seen, Value};

fn rules(build: impl FnOnce(&mut History)) -> Vec<Rule> {
    let mut history = History::new();
    build(&mut history);
    check(&history.operations(), Limits::default())
        .into_iter()
        .map(|violation| violation.rule)
        .collect()
}

const BAD: [Rule; 1] = [Rule::NotLinearizable];

#[test]
fn sequential_and_concurrent_good_histories_pass() {
    let found = rules(|h| {
        h.read(1, "a").at(0, 1).sees(None, 0, 0, 1);
        h.put(1, "a", 1).at(2, 6).ok(0, 5);
        h.read(2, "a").at(3, 4).sees(Some(1), 0, 5, 5);
        h.put(3, "a", 2).at(3, 9).ok(0, 6);
        h.cas(4, "a", Some(2), 3).at(8, 10).ok(0, 7);
        h.cas(4, "a", Some(2), 4).at(11, 12).rejected();
        h.delete(4, "a").at(13, 14).ok(0, 9);
        h.read(2, "a").at(15, 16).sees(None, 0, 0, 9);
    });
    assert_eq!(found, []);
}

#[test]
fn stale_reads_are_found() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.put(1, "a", 2).at(2, 3).ok(0, 6);
        h.read(2, "a").at(4, 5).sees(Some(1), 0, 5, 6);
    });
    assert_eq!(found, BAD);
}

#[test]
fn two_reads_may_not_see_a_concurrent_write_and_then_not() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.put(2, "a", 2).at(2, 20).ok(0, 6);
        h.read(3, "a").at(3, 4).sees(Some(2), 0, 6, 6);
        h.read(4, "a").at(5, 6).sees(Some(1), 0, 5, 6);
    });
    assert_eq!(found, BAD);
}

#[test]
fn a_lost_update_is_found() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.cas(1, "a", Some(1), 2).at(2, 5).ok(0, 6);
        h.cas(2, "a", Some(1), 3).at(3, 6).ok(0, 7);
    });
    assert_eq!(found, BAD);
}

#[test]
fn a_refusal_is_a_read() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.cas(2, "a", Some(1), 3).at(2, 3).rejected();
    });
    assert_eq!(found, BAD);
}

#[test]
fn an_unknown_write_stays_open_for_ever_but_happens_once() {
    let late = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.put(2, "a", 2).at(2, 3).unknown();
        h.read(3, "a").at(10, 11).sees(Some(1), 0, 5, 6);
        h.read(3, "a").at(20, 21).sees(Some(2), 0, 8, 8);
    });
    assert_eq!(late, []);
    let twice = rules(|h| {
        h.put(2, "a", 2).at(0, 1).unknown();
        h.read(3, "a").at(2, 3).sees(Some(2), 0, 5, 5);
        h.put(1, "a", 3).at(4, 5).ok(0, 6);
        h.read(3, "a").at(6, 7).sees(Some(2), 0, 7, 7);
    });
    assert_eq!(twice, BAD);
}

#[test]
fn an_unknown_change_may_explain_a_refusal() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.put(2, "a", 2).at(2, 3).unknown();
        h.cas(3, "a", Some(1), 3).at(4, 5).rejected();
    });
    assert_eq!(found, []);
}

#[test]
fn a_chain_of_unknown_changes_is_searched() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).unknown();
        h.cas(2, "a", Some(1), 2).at(2, 3).unknown();
        h.cas(3, "a", Some(2), 3).at(4, 5).unknown();
        h.read(4, "a").at(6, 7).sees(Some(3), 0, 9, 9);
    });
    assert_eq!(found, []);
}

#[test]
fn a_limit_is_a_failure() {
    let mut history = History::new();
    for value in 0..12 {
        history.put(value, "a", value).at(0, 100).ok(0, 5);
    }
    history.read(99, "a").at(101, 102).sees(Some(77), 0, 6, 6);
    let limits = Limits {
        configurations: 100,
        ..Limits::default()
    };
    let found = check(&history.operations(), limits);
    assert_eq!(found[0].rule, Rule::GaveUp);
}

/// A made-up run of a correct register: operations take effect at a moment inside their calls.
fn honest(seed: u64, count: u64, clients: u64) -> Vec<Operation> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut free_at = vec![0_u64; usize::try_from(clients).unwrap()];
    let mut drafts = Vec::new();
    for id in 0..count {
        let client = random.random_range(0..clients);
        let slot = &mut free_at[usize::try_from(client).unwrap()];
        let invoked = *slot + random.random_range(1..20);
        let effect = invoked + random.random_range(1..40);
        let returned = effect + random.random_range(1..40);
        *slot = returned;
        drafts.push((effect, id, client, invoked, returned, random.random_range(0..10)));
    }
    drafts.sort_unstable();
    let mut state: Option<Value> = None;
    let mut operations = Vec::new();
    for (_, id, client, invoked, returned, dice) in drafts {
        let value = Value(id + 1);
        let ok = |value| {
            Outcome::Ok(Seen {
                value,
                revision: 1,
                shard: 0,
                index: 1,
                replayed: false,
            })
        };
        let (action, outcome) = match dice {
            0..4 => (Action::Read, ok(state)),
            4..7 => (Action::Put { value }, ok(Some(value))),
            7 => (Action::Delete, ok(None)),
            8 => (
                Action::Cas {
                    expected: state,
                    value,
                },
                ok(Some(value)),
            ),
            _ => {
                let expected = if state.is_none() {
                    Some(Value(1 << 40))
                } else {
                    None
                };
                (
                    Action::Cas { expected, value },
                    Outcome::Rejected {
                        reason: String::new(),
                    },
                )
            }
        };
        match (&action, &outcome) {
            (Action::Put { .. } | Action::Cas { .. }, Outcome::Ok(_)) => state = Some(value),
            (Action::Delete, _) => state = None,
            _ => {}
        }
        let unknown = dice == 4;
        operations.push(Operation {
            id,
            client: ClientId(if unknown { 1_000 + id } else { client }),
            key: "a".to_owned(),
            action,
            request_id: None,
            invoked,
            returned: (!unknown).then_some(returned),
            invoked_ns: 0,
            returned_ns: None,
            outcome: if unknown {
                Outcome::Unknown {
                    reason: String::new(),
                }
            } else {
                outcome
            },
        });
    }
    operations
}

#[test]
fn long_honest_histories_pass_quickly() {
    for seed in 0..20 {
        let operations = honest(seed, 1_000, 8);
        assert_eq!(check(&operations, Limits::default()), [], "seed {seed}");
    }
}

#[test]
fn one_changed_answer_is_found() {
    let mut caught = 0;
    for seed in 0..20 {
        let mut operations = honest(seed, 300, 4);
        operations.sort_by_key(|operation| operation.invoked);
        let reads: Vec<usize> = (0..operations.len())
            .filter(|at| operations[*at].action.is_read())
            .collect();
        let at = reads[reads.len() / 2];
        let Outcome::Ok(seen) = &mut operations[at].outcome else {
            continue;
        };
        // A value overwritten long before.
        seen.value = Some(Value(1));
        caught += usize::from(!check(&operations, Limits::default()).is_empty());
    }
    assert!(caught >= 19, "{caught} of 20");
}
