//! When who stands, group by group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::elections::*;

fn group(leader_node: Option<u64>, leading: bool) -> GroupView {
    GroupView {
        shard: 0,
        members: vec![(11, 1), (12, 2), (13, 3)],
        leader_node,
        leading,
        abdicated: false,
        term: 1,
        changing: false,
        committed_index: 0,
        last_log: (1, 100),
        caught_up: vec![],
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn nothing_is_handed_over_while_voters_change() {
    let mut driver = ElectionDriver::new(2);
    let nodes = NodesView {
        fit_for: BTreeMap::from([(1, BALANCE_AFTER)]),
        ..NodesView::default()
    };
    let led = GroupView {
        caught_up: vec![1],
        ..group(Some(2), true)
    };
    let changing = GroupView {
        changing: true,
        ..led.clone()
    };
    assert_eq!(driver.decide(ms(0), &changing, &nodes, 0.5), None);
    assert_eq!(driver.decide(LEADS_AT_LEAST, &changing, &nodes, 0.5), None);
    assert_eq!(
        driver.decide(LEADS_AT_LEAST, &led, &nodes, 0.5),
        Some(Action::TransferTo(11))
    );
}

#[test]
fn a_living_leader_is_left_alone() {
    let mut driver = ElectionDriver::new(2);
    let nodes = NodesView {
        claims: BTreeMap::from([(1, vec![0])]),
        ..NodesView::default()
    };
    for at in 0..100 {
        assert_eq!(
            driver.decide(ms(at * 50), &group(Some(1), false), &nodes, 0.5),
            None
        );
    }
}

#[test]
fn a_dead_leader_is_taken_over_by_rank() {
    let nodes = NodesView {
        dead: vec![1],
        ..NodesView::default()
    };
    let mut second = ElectionDriver::new(2);
    let mut third = ElectionDriver::new(3);
    assert_eq!(
        second.decide(ms(0), &group(Some(1), false), &nodes, 0.0),
        Some(Action::TakeOver)
    );
    assert_eq!(third.decide(ms(0), &group(Some(1), false), &nodes, 0.0), None);
    assert_eq!(
        third.decide(ms(20), &group(Some(1), false), &nodes, 0.0),
        Some(Action::TakeOver)
    );
}

type LastLog = (u64, u64);

/// When the nodes that are left stand in a group that `leader` led, ms; `told`: what each knows of the other's log.
fn stand_at(leader: u64, logs: [(u64, LastLog); 2], told: [Option<LastLog>; 2]) -> Vec<(u64, u64)> {
    let mut standing = Vec::new();
    for (at, (node, last_log)) in logs.into_iter().enumerate() {
        let (other, _) = logs[1 - at];
        let mut nodes = NodesView {
            dead: vec![leader],
            ..NodesView::default()
        };
        if let Some(told) = told[at] {
            nodes.progress = BTreeMap::from([(other, BTreeMap::from([(0, told)]))]);
        }
        let seen = GroupView {
            last_log,
            ..group(Some(leader), false)
        };
        let mut driver = ElectionDriver::new(node);
        let first = (0..200).find(|at| driver.decide(ms(*at), &seen, &nodes, 0.0).is_some());
        standing.push((first.unwrap(), node));
    }
    standing.sort_unstable();
    standing
}

#[test]
fn whose_log_is_longer_stands_first_and_never_at_the_same_time() {
    let (stale, short, long, newer) = ((2, 90), (2, 100), (2, 101), (3, 1));
    // Nodes 1 and 2 are left, 1 is preferred. What each has, what each knows of the other, who stands when.
    let cases = [
        ([short, short], [Some(short), Some(short)], [(0, 1), (20, 2)]),
        ([long, short], [Some(short), Some(long)], [(0, 1), (40, 2)]),
        ([short, long], [Some(long), Some(short)], [(20, 2), (40, 1)]),
        ([long, newer], [Some(newer), Some(long)], [(20, 2), (40, 1)]),
        // What only one of them knows does not make two stand together.
        ([long, short], [Some(short), None], [(0, 1), (20, 2)]),
        ([long, short], [None, Some(long)], [(0, 1), (40, 2)]),
        ([short, long], [Some(long), None], [(20, 2), (40, 1)]),
        // The first loses.
        ([short, long], [None, Some(short)], [(0, 1), (20, 2)]),
        // Nor does what was true before both logs grew.
        ([short, long], [Some(stale), Some(stale)], [(0, 1), (20, 2)]),
        ([long, short], [Some(stale), Some(stale)], [(0, 1), (20, 2)]),
    ];
    for (logs, told, stand) in cases {
        assert_eq!(
            stand_at(3, [(1, logs[0]), (2, logs[1])], told),
            stand,
            "{logs:?} {told:?}"
        );
    }
}

/// Of many who are left, too, nobody who may win stands together with another.
#[test]
fn of_three_who_are_left_the_longest_log_stands_alone_and_first() {
    let logs = [(1, (2, 100)), (2, (2, 100)), (3, (2, 101))];
    let mut standing = Vec::new();
    for (node, last_log) in logs {
        let others = logs.iter().filter(|(other, _)| *other != node);
        let nodes = NodesView {
            dead: vec![4],
            progress: others
                .map(|(other, log)| (*other, BTreeMap::from([(0, *log)])))
                .collect(),
            ..NodesView::default()
        };
        let seen = GroupView {
            last_log,
            members: (1..=4).map(|node| (node, node)).collect(),
            ..group(Some(4), false)
        };
        let mut driver = ElectionDriver::new(node);
        let first = (0..300).find(|at| driver.decide(ms(*at), &seen, &nodes, 0.0).is_some());
        standing.push((first.unwrap(), node));
    }
    standing.sort_unstable();
    assert_eq!(standing[0].1, 3, "{standing:?}");
    assert!(
        standing.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "{standing:?}"
    );
}

#[test]
fn candidates_that_doubted_before_still_stand_one_step_apart() {
    // Not heard any more, so it claims nothing; then a majority says the same.
    let doubted = NodesView::default();
    let dead = NodesView {
        dead: vec![1],
        ..NodesView::default()
    };
    let mut second = ElectionDriver::new(2);
    let mut third = ElectionDriver::new(3);
    let seen = group(Some(1), false);
    for driver in [&mut second, &mut third] {
        assert_eq!(driver.decide(ms(0), &seen, &doubted, 0.0), None);
    }
    assert_eq!(second.decide(ms(60), &seen, &dead, 0.0), Some(Action::TakeOver));
    assert_eq!(third.decide(ms(60), &seen, &dead, 0.0), None);
    assert_eq!(
        third.decide(ms(60) + RANK_STEP, &seen, &dead, 0.0),
        Some(Action::TakeOver)
    );
}

#[test]
fn polite_tries_do_not_spend_the_impolite_one() {
    // Silent for a majority, and yet it commits: nobody who asks politely gets a vote.
    let mut nodes = NodesView {
        dead: vec![1],
        silence_limit: ms(250),
        ..NodesView::default()
    };
    let mut driver = ElectionDriver::new(2);
    let mut seen = group(Some(1), false);
    let mut polite = 0;
    for at in (0..5_000).step_by(20) {
        seen.committed_index += 1;
        match driver.decide(ms(at), &seen, &nodes, 0.9) {
            Some(Action::Elect) => polite += 1,
            decided => assert_eq!(decided, None),
        }
    }
    assert!(polite > 3);
    // Then its process ends.
    nodes.evidence = BTreeMap::from([(1, 5)]);
    assert_eq!(
        driver.decide(ms(5_000), &seen, &nodes, 0.9),
        Some(Action::TakeOver)
    );
}

#[test]
fn evidence_is_used_once() {
    let nodes = NodesView {
        dead: vec![1],
        ..NodesView::default()
    };
    let mut driver = ElectionDriver::new(2);
    assert_eq!(
        driver.decide(ms(0), &group(Some(1), false), &nodes, 0.0),
        Some(Action::TakeOver)
    );
    let later: Vec<Action> = (1..100)
        .filter_map(|at| driver.decide(ms(at * 50), &group(Some(1), false), &nodes, 0.0))
        .collect();
    assert!(
        !later.is_empty() && later.iter().all(|action| *action == Action::Elect),
        "{later:?}"
    );
}

#[test]
fn a_challenged_leader_gives_the_challenger_time() {
    let nodes = NodesView::default();
    let mut first = ElectionDriver::new(1);
    assert_eq!(first.decide(ms(0), &group(Some(1), true), &nodes, 0.0), None);
    let mut challenged = group(None, false);
    challenged.term = 2;
    for at in (20..20 + 150).step_by(10) {
        assert_eq!(first.decide(ms(at), &challenged, &nodes, 0.0), None, "at {at}");
    }
    let later = ms(20) + CANDIDATE_GRACE;
    assert_eq!(first.decide(later, &challenged, &nodes, 0.0), Some(Action::Elect));
}

#[test]
fn a_candidate_waits_for_its_own_election() {
    let nodes = NodesView {
        dead: vec![1],
        ..NodesView::default()
    };
    let mut second = ElectionDriver::new(2);
    assert_eq!(
        second.decide(ms(0), &group(Some(1), false), &nodes, 0.0),
        Some(Action::TakeOver)
    );
    let mut standing = group(None, false);
    standing.term = 2;
    for at in (20..250).step_by(10) {
        assert_eq!(second.decide(ms(at), &standing, &nodes, 0.0), None, "at {at}");
    }
    assert_eq!(
        second.decide(RETRY + RANK_STEP, &standing, &nodes, 0.0),
        Some(Action::Elect)
    );
}

#[test]
fn a_second_try_gives_way_to_whoever_stands_now() {
    let nodes = NodesView {
        dead: vec![1],
        ..NodesView::default()
    };
    let mut second = ElectionDriver::new(2);
    assert_eq!(
        second.decide(ms(0), &group(Some(1), false), &nodes, 0.0),
        Some(Action::TakeOver)
    );
    let in_term = |term| {
        let mut seen = group(None, false);
        seen.term = term;
        seen
    };
    assert_eq!(second.decide(ms(20), &in_term(2), &nodes, 0.0), None);
    let challenged = ms(250);
    assert_eq!(second.decide(challenged, &in_term(3), &nodes, 0.0), None);
    for at in (260..400).step_by(10) {
        assert_eq!(second.decide(ms(at), &in_term(3), &nodes, 0.0), None, "at {at}");
    }
    let after = challenged + CANDIDATE_GRACE;
    assert_eq!(
        second.decide(after, &in_term(3), &nodes, 0.0),
        Some(Action::Elect)
    );
}

#[test]
fn the_end_of_one_connection_moves_a_leader_once() {
    let mut nodes = NodesView {
        dead: vec![1],
        evidence: BTreeMap::from([(1, 5)]),
        ..NodesView::default()
    };
    let mut driver = ElectionDriver::new(2);
    assert_eq!(
        driver.decide(ms(0), &group(Some(1), false), &nodes, 0.0),
        Some(Action::TakeOver)
    );
    // It lives after all, leads again in a later term, and connects to it are still refused.
    assert_eq!(driver.decide(ms(40), &group(Some(2), true), &nodes, 0.0), None);
    let mut again = group(Some(1), false);
    again.term = 7;
    assert_eq!(driver.decide(ms(80), &again, &nodes, 0.0), None);
    // A later connection that ended is news.
    nodes.evidence.insert(1, 6);
    assert_eq!(
        driver.decide(ms(120), &again, &nodes, 0.0),
        Some(Action::TakeOver)
    );
}

#[test]
fn a_node_that_nobody_hears_does_not_stand() {
    let nodes = NodesView {
        dead: vec![1],
        self_unheard: true,
        ..NodesView::default()
    };
    let mut driver = ElectionDriver::new(2);
    for at in 0..100 {
        let decided = driver.decide(ms(at * 50), &group(Some(1), false), &nodes, 0.0);
        assert_eq!(decided, None);
    }
}

#[test]
fn without_any_leader_the_preferred_node_stands_first() {
    let nodes = NodesView::default();
    let mut first = ElectionDriver::new(1);
    let mut second = ElectionDriver::new(2);
    assert_eq!(
        first.decide(ms(0), &group(None, false), &nodes, 0.0),
        Some(Action::Elect)
    );
    assert_eq!(second.decide(ms(0), &group(None, false), &nodes, 0.0), None);
    assert_eq!(
        second.decide(RETRY, &group(None, false), &nodes, 0.0),
        Some(Action::Elect)
    );
}

#[test]
fn a_leader_that_restarted_and_does_not_claim_is_replaced() {
    let nodes = NodesView {
        claims: BTreeMap::from([(1, vec![])]),
        ..NodesView::default()
    };
    let mut driver = ElectionDriver::new(2);
    assert_eq!(driver.decide(ms(0), &group(Some(1), false), &nodes, 0.0), None);
    let at = CLAIM_GRACE + RETRY;
    assert_eq!(
        driver.decide(at, &group(Some(1), false), &nodes, 0.0),
        Some(Action::Elect)
    );
}

#[test]
fn a_leader_that_is_unfit_and_does_not_claim_is_taken_over() {
    let mut nodes = NodesView {
        claims: BTreeMap::from([(1, vec![0])]),
        unfit: vec![1],
        ..NodesView::default()
    };
    let mut driver = ElectionDriver::new(2);
    assert_eq!(
        driver.decide(ms(0), &group(Some(1), false), &nodes, 0.0),
        None,
        "it leads"
    );
    nodes.claims.clear();
    assert_eq!(driver.decide(ms(20), &group(Some(1), false), &nodes, 0.0), None);
    assert_eq!(
        driver.decide(ms(20) + UNFIT_GRACE, &group(Some(1), false), &nodes, 0.0),
        Some(Action::TakeOver)
    );
}

#[test]
fn an_unfit_node_stands_only_where_no_voter_is_fit() {
    let unfit_of = |others: &[u64]| NodesView {
        self_unfit: true,
        unfit: others.to_vec(),
        dead: vec![1],
        ..NodesView::default()
    };
    let mut second = ElectionDriver::new(2);
    let seen = group(Some(1), false);
    assert_eq!(second.decide(ms(0), &seen, &unfit_of(&[]), 0.0), None);
    assert_eq!(
        second.decide(ms(20), &seen, &unfit_of(&[3]), 0.0),
        Some(Action::TakeOver)
    );
    let mut third = ElectionDriver::new(3);
    assert_eq!(third.decide(ms(20), &seen, &unfit_of(&[2]), 0.0), None);
    assert_eq!(
        third.decide(ms(40), &seen, &unfit_of(&[2]), 0.0),
        Some(Action::TakeOver),
        "one step behind"
    );
}

#[test]
fn a_leader_whose_successor_never_came_asks_another_unless_it_gives_way() {
    let mut driver = ElectionDriver::new(1);
    let in_vain = GroupView {
        abdicated: true,
        caught_up: vec![2, 3],
        ..group(Some(1), true)
    };
    let gives_way = NodesView {
        self_unfit: true,
        unfit: vec![2],
        ..NodesView::default()
    };
    assert_eq!(driver.decide(ms(0), &in_vain, &gives_way, 0.0), None);
    let none_is_fit = NodesView {
        unfit: vec![2, 3],
        ..gives_way.clone()
    };
    assert_eq!(
        driver.decide(ms(0), &in_vain, &none_is_fit, 0.0),
        Some(Action::TransferTo(12))
    );
    assert_eq!(
        driver.decide(ms(20), &in_vain, &none_is_fit, 0.0),
        None,
        "it has time"
    );
    let one_is_fit = NodesView {
        unfit: vec![2],
        ..NodesView::default()
    };
    assert_eq!(
        driver.decide(RETRY, &in_vain, &one_is_fit, 0.0),
        Some(Action::TransferTo(13))
    );
}

#[test]
fn leadership_returns_to_the_preferred_node_when_it_is_caught_up() {
    let mut driver = ElectionDriver::new(2);
    let mut seen = group(Some(2), true);
    let nodes = NodesView {
        fit_for: BTreeMap::from([(1, BALANCE_AFTER)]),
        ..NodesView::default()
    };
    assert_eq!(driver.decide(ms(0), &seen, &nodes, 0.0), None);
    assert_eq!(
        driver.decide(LEADS_AT_LEAST, &seen, &nodes, 0.0),
        None,
        "not caught up"
    );
    seen.caught_up = vec![1];
    assert_eq!(
        driver.decide(LEADS_AT_LEAST, &seen, &nodes, 0.0),
        Some(Action::TransferTo(11))
    );
}

/// Who handed it over may be about to stop: it would get it back before it could say so, and take it along.
#[test]
fn who_has_just_come_to_lead_does_not_hand_back_at_once() {
    let mut driver = ElectionDriver::new(2);
    let led = |term| GroupView {
        caught_up: vec![1],
        term,
        ..group(Some(2), true)
    };
    let nodes = NodesView {
        fit_for: BTreeMap::from([(1, BALANCE_AFTER * 100)]),
        ..NodesView::default()
    };
    let tick = ms(20);
    assert_eq!(driver.decide(tick, &led(1), &nodes, 0.0), None);
    assert_eq!(
        driver.decide(tick + LEADS_AT_LEAST - ms(1), &led(1), &nodes, 0.0),
        None
    );
    let again = tick + LEADS_AT_LEAST;
    assert_eq!(
        driver.decide(again, &led(3), &nodes, 0.0),
        None,
        "it has lost it meanwhile"
    );
    let followed = NodesView {
        claims: BTreeMap::from([(1, vec![0])]),
        ..nodes.clone()
    };
    assert_eq!(
        driver.decide(again + ms(1), &group(Some(1), false), &followed, 0.0),
        None
    );
    assert_eq!(
        driver.decide(again + LEADS_AT_LEAST, &led(3), &nodes, 0.0),
        None,
        "nor has it led since"
    );
    assert_eq!(
        driver.decide(again + LEADS_AT_LEAST * 2, &led(3), &nodes, 0.0),
        Some(Action::TransferTo(11))
    );
    let gives_way = NodesView {
        self_unfit: true,
        ..nodes
    };
    let mut driver = ElectionDriver::new(2);
    assert_eq!(
        driver.decide(tick, &led(1), &gives_way, 0.0),
        Some(Action::TransferTo(11)),
        "who should not lead does not wait"
    );
}

#[test]
fn a_node_without_its_replica_is_unfit_for_that_shard_and_no_other() {
    let nodes = NodesView {
        fit_for: BTreeMap::from([(1, BALANCE_AFTER), (3, BALANCE_AFTER)]),
        unfit_for: BTreeMap::from([(1, BTreeSet::from([0]))]),
        ..NodesView::default()
    };
    let led = GroupView {
        // What is known of the replica that is gone is as old as the quiet.
        caught_up: vec![1, 3],
        ..group(Some(2), true)
    };
    let mut driver = ElectionDriver::new(2);
    let other = GroupView {
        shard: 3,
        ..led.clone()
    };
    assert_eq!(driver.decide(ms(0), &led, &nodes, 0.0), None);
    assert_eq!(driver.decide(ms(0), &other, &nodes, 0.0), None);
    assert_eq!(driver.decide(LEADS_AT_LEAST, &led, &nodes, 0.0), None);
    assert_eq!(
        driver.decide(LEADS_AT_LEAST, &other, &nodes, 0.0),
        Some(Action::TransferTo(11))
    );
}

#[test]
fn a_leader_whose_replica_is_lost_is_taken_over_and_stands_in_nobodys_way() {
    let nodes = NodesView {
        unfit_for: BTreeMap::from([(1, BTreeSet::from([0]))]),
        ..NodesView::default()
    };
    let mut second = ElectionDriver::new(2);
    let led = group(Some(1), false);
    assert_eq!(second.decide(ms(0), &led, &nodes, 0.0), None);
    assert_eq!(
        second.decide(UNFIT_GRACE, &led, &nodes, 0.0),
        Some(Action::TakeOver)
    );
    let mut first_of_the_rest = ElectionDriver::new(2);
    let nobody = group(None, false);
    assert_eq!(
        first_of_the_rest.decide(ms(0), &nobody, &nodes, 0.0),
        Some(Action::Elect)
    );
}

#[test]
fn leaders_spread_over_the_nodes() {
    let members = vec![(11, 1), (12, 2), (13, 3)];
    let first: Vec<u64> = (1..=6).map(|shard| preference(shard, &members)[0]).collect();
    assert_eq!(first, vec![2, 3, 1, 2, 3, 1]);
}
