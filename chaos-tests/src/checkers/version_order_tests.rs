use super::*;
use crate::history::testing::History;

fn rules(build: impl FnOnce(&mut History)) -> Vec<Rule> {
    let mut history = History::new();
    build(&mut history);
    check(&history.operations())
        .into_iter()
        .map(|violation| violation.rule)
        .collect()
}

#[test]
fn a_good_history_passes() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 2).ok(0, 5);
        h.put(2, "a", 2).at(1, 3).ok(0, 5);
        h.read(1, "a").at(4, 5).sees(Some(2), 0, 5, 7);
        h.put(2, "b", 3).at(6, 7).unknown();
        h.read(1, "b").at(8, 9).sees(Some(3), 0, 8, 9);
        h.delete(1, "a").at(10, 11).ok(0, 12);
        h.read(2, "a").at(12, 13).sees(None, 0, 0, 12);
        h.cas(1, "a", Some(9), 10).at(14, 15).rejected();
    });
    assert_eq!(found, []);
}

#[test]
fn stale_index_after_an_answer() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.read(2, "b").at(2, 3).sees(None, 0, 0, 4);
    });
    assert_eq!(found, [Rule::RealTimeOrder]);
}

#[test]
fn a_write_below_a_read_that_had_returned() {
    let found = rules(|h| {
        h.read(1, "b").at(0, 1).sees(None, 0, 0, 6);
        h.put(2, "a", 1).at(2, 3).ok(0, 6);
    });
    assert_eq!(found, [Rule::RealTimeOrder]);
}

#[test]
fn other_shards_do_not_order_each_other() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(1, 50);
        h.put(1, "b", 2).at(2, 3).ok(2, 4);
    });
    assert_eq!(found, []);
}

#[test]
fn a_session_going_backwards() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.read(2, "a").at(2, 3).sees(Some(1), 0, 5, 9);
        h.read(2, "a").at(4, 5).sees(Some(1), 0, 5, 8);
    });
    assert_eq!(found, [Rule::WentBackwards]);
}

#[test]
fn a_read_that_misses_a_write_below_its_index() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.put(1, "a", 2).at(2, 3).ok(0, 6);
        h.read(2, "a").at(4, 5).sees(Some(1), 0, 5, 7);
    });
    assert_eq!(found, [Rule::StaleRead]);
}

#[test]
fn an_unknown_write_once_seen_may_not_vanish() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.put(1, "a", 2).at(2, 3).unknown();
        h.read(2, "a").at(4, 5).sees(Some(2), 0, 8, 8);
        h.read(2, "a").at(6, 7).sees(Some(1), 0, 5, 9);
    });
    assert_eq!(found, [Rule::StaleRead]);
}

#[test]
fn an_unknown_write_learnt_below_what_was_answered_before_it() {
    let found = rules(|h| {
        h.put(1, "b", 1).at(0, 1).ok(0, 9);
        h.put(2, "a", 2).at(2, 3).unknown();
        h.read(3, "a").at(4, 5).sees(Some(2), 0, 7, 9);
    });
    assert_eq!(found, [Rule::RealTimeOrder]);
}

#[test]
fn phantoms_and_values_of_other_registers() {
    let found = rules(|h| {
        h.put(1, "b", 1).at(0, 1).ok(0, 5);
        h.read(2, "a").at(2, 3).sees(Some(1), 0, 5, 6);
        h.read(2, "b").at(4, 5).sees(Some(77), 0, 6, 6);
    });
    assert_eq!(found, [Rule::Phantom, Rule::Phantom]);
}

#[test]
fn failed_and_rejected_values_may_not_be_seen() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).failed();
        h.cas(1, "b", None, 2).at(2, 3).rejected();
        h.read(2, "a").at(4, 5).sees(Some(1), 0, 5, 6);
        h.read(2, "b").at(6, 7).sees(Some(2), 0, 6, 6);
    });
    assert_eq!(found, [Rule::FailedButSeen, Rule::FailedButSeen]);
}

#[test]
fn a_value_read_under_another_revision_was_applied_twice() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.read(2, "a").at(2, 3).sees(Some(1), 0, 8, 8);
    });
    assert_eq!(found, [Rule::AppliedTwice]);
}

#[test]
fn a_value_read_before_it_was_asked_for() {
    let found = rules(|h| {
        h.read(2, "a").at(0, 1).sees(Some(1), 0, 5, 5);
        h.put(1, "a", 1).at(2, 3).unknown();
    });
    assert_eq!(found, [Rule::RealTimeOrder, Rule::FromTheFuture]);
}

#[test]
fn an_acknowledged_value_may_not_be_absent() {
    let lost = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.read(2, "a").at(2, 3).sees(None, 0, 0, 6);
    });
    assert_eq!(lost, [Rule::LostValue]);
    let deleted = rules(|h| {
        h.put(1, "a", 1).at(0, 1).ok(0, 5);
        h.delete(3, "a").at(1, 2).unknown();
        h.read(2, "a").at(3, 4).sees(None, 0, 0, 6);
    });
    assert_eq!(deleted, []);
}

#[test]
fn one_revision_holds_one_value() {
    let found = rules(|h| {
        h.put(1, "a", 1).at(0, 9).ok(0, 5);
        h.put(2, "a", 2).at(1, 9).ok(0, 5);
        h.read(3, "a").at(10, 11).sees(Some(1), 0, 5, 5);
        h.read(3, "a").at(12, 13).sees(Some(2), 0, 5, 5);
    });
    assert_eq!(found, [Rule::RevisionReused]);
}
