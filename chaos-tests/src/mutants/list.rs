//! Every mutant, the rule it breaks, and what must catch it.

use super::Detector;
use super::Detector::{Seeds, Test};

/// One seeded bug.
pub struct Mutant {
    /// As in `mutant!("name")`, which stands at one place.
    pub name: &'static str,
    /// What the process does wrong.
    pub does: &'static str,
    /// Which of the tests that every commit runs must notice.
    pub caught_by: Detector,
}

const fn test(package: &'static str, program: &'static str, name: &'static str) -> Detector {
    Test {
        package,
        program,
        name,
    }
}

const fn wal(name: &'static str) -> Detector {
    test("spine-storage", "wal", name)
}

const fn replica(name: &'static str) -> Detector {
    test("spine-storage", "replica_conformance", name)
}

const fn snapshot(name: &'static str) -> Detector {
    test("spine-storage", "snapshot", name)
}

const fn machine(name: &'static str) -> Detector {
    test("spine-statemachine", "machine", name)
}

const fn consensus(name: &'static str) -> Detector {
    test("spine-consensus", "spine_consensus", name)
}

/// The business rules.
const fn services(name: &'static str) -> Detector {
    test("spine-services", "it", name)
}

const fn node(name: &'static str) -> Detector {
    test("spine-node", "it", name)
}

/// A unit test of the node itself.
const fn inside(name: &'static str) -> Detector {
    test("spine-node", "spine_node", name)
}

const fn client(name: &'static str) -> Detector {
    test("spine-client", "retry", name)
}

const fn mutant(name: &'static str, does: &'static str, caught_by: Detector) -> Mutant {
    Mutant {
        name,
        does,
        caught_by,
    }
}

/// The seeds that `prove --quick` runs as `powercut-sim`.
const POWER_CUTS: Detector = Seeds {
    layer: "cluster",
    focus: "power-cuts",
    first: 100_000,
    last: 100_010,
};

/// Some of the seeds that `prove --quick` runs as `forged-evidence`.
const FORGED: Detector = Seeds {
    layer: "group",
    focus: "forged",
    first: 300_090,
    last: 300_100,
};

/// All of them, from the disk to the client.
pub const MUTANTS: &[Mutant] = &[
    mutant(
        "ack-before-fsync",
        "acknowledges entries and votes that are not synced",
        POWER_CUTS,
    ),
    mutant(
        "directory-not-synced",
        "uses a log segment whose name a power cut takes away",
        wal("crash_points::power_may_go_at_every_operation"),
    ),
    mutant(
        "vote-not-written",
        "keeps votes in memory only",
        wal("crash_points::power_may_go_at_every_operation"),
    ),
    mutant(
        "truncation-not-written",
        "brings replaced entries back after a restart",
        wal("power_cuts::nothing_acknowledged_is_lost"),
    ),
    mutant(
        "commit-beyond-log",
        "stores a committed position whose entry is not stored",
        wal("conformance::a_committed_position_never_lies_beyond_the_log"),
    ),
    mutant(
        "log-cut-at-damage",
        "takes damage in the middle of the log for its end",
        wal("damage::flipped_bytes_in_the_middle_are_always_refused"),
    ),
    mutant(
        "recycled-segment-valid",
        "reads records of a segment's earlier use",
        wal("power_cuts::nothing_acknowledged_is_lost"),
    ),
    mutant(
        "torn-tail-accepted",
        "reads a record whose checksum is wrong",
        wal("crash_points::power_may_go_at_every_operation"),
    ),
    mutant(
        "freed-before-purge-is-durable",
        "frees segments on the word of a purge that may be lost",
        wal("crash_points::a_purge_that_is_not_durable_frees_nothing"),
    ),
    mutant(
        "rotten-entry-read",
        "hands out an entry that is not as it was written",
        wal("damage::an_entry_that_rots_is_not_read"),
    ),
    mutant(
        "log-survives-failed-sync",
        "goes on writing after a sync has failed",
        wal("disk_trouble::a_failed_sync_stops_the_log"),
    ),
    mutant(
        "mark-before-fsync",
        "marks a checkpoint that the engine has not synced",
        test(
            "spine-storage",
            "power_cut",
            "a_checkpoint_is_whole_or_not_at_all",
        ),
    ),
    mutant(
        "effects-not-synced",
        "writes to the engine before the effects file is durable",
        test(
            "spine-storage",
            "power_cut",
            "a_checkpoint_is_whole_or_not_at_all",
        ),
    ),
    mutant(
        "frozen-delta-lost",
        "drops the changes of a checkpoint that failed",
        replica("a_dropped_checkpoint_is_begun_again"),
    ),
    mutant(
        "damaged-effects-ignored",
        "opens without the effects that it cannot read",
        replica("damage_is_a_typed_error_and_the_replica_can_be_rebuilt"),
    ),
    mutant(
        "entries-in-any-order",
        "applies an entry that is not the next",
        replica("entries_must_follow_each_other"),
    ),
    mutant(
        "feed-loses-a-change",
        "leaves changes out of the feed of watches",
        test(
            "spine-storage",
            "replica_feed",
            "the_feed_alone_rebuilds_the_records_in_order",
        ),
    ),
    mutant(
        "snapshot-not-verified",
        "installs a snapshot whose digest is wrong",
        snapshot("a_spoilt_stream_is_refused_and_leaves_nothing"),
    ),
    mutant(
        "last-chunk-lost",
        "installs a snapshot without its last records",
        snapshot("a_snapshot_carries_the_whole_state_into_another_replica"),
    ),
    mutant(
        "request-ids-not-in-snapshots",
        "forgets request ids on the way through a snapshot",
        snapshot("a_snapshot_carries_the_whole_state_into_another_replica"),
    ),
    mutant(
        "request-filter-forgets",
        "takes request ids for new ones that are not",
        test(
            "spine-storage",
            "request_filter",
            "new_ids_are_not_looked_for_and_known_ones_are_found",
        ),
    ),
    mutant(
        "request-filter-not-stored",
        "forgets after a restart which request ids its filters held",
        test(
            "spine-storage",
            "request_filter",
            "new_ids_are_not_looked_for_and_known_ones_are_found",
        ),
    ),
    mutant(
        "older-snapshot-installed",
        "goes back to an older state",
        snapshot("an_older_snapshot_is_not_installed"),
    ),
    mutant(
        "guard-ignored",
        "changes records although a guard does not hold",
        machine("scripts::transcripts"),
    ),
    mutant(
        "request-digest-ignored",
        "answers another body with the outcome of the first",
        machine("scripts::transcripts"),
    ),
    mutant(
        "request-id-not-remembered",
        "lets a repeated request take effect again",
        machine("scripts::transcripts"),
    ),
    mutant(
        "failed-subtxn-remembered",
        "remembers the request id of a change that failed",
        machine("properties::a_failed_sub_txn_leaves_no_trace"),
    ),
    mutant(
        "expired-session-executed",
        "executes a call of a session that is forgotten",
        machine("sessions::no_call_takes_effect_twice"),
    ),
    mutant(
        "foreign-slot-accepted",
        "writes a key that another shard owns",
        machine("scripts::transcripts"),
    ),
    mutant(
        "log-time-backwards",
        "lets log time follow a clock that goes back",
        machine("properties::log_time_and_level_never_go_back"),
    ),
    mutant(
        "digest-keeps-the-deleted",
        "does not take replaced and deleted records out of the digest",
        machine("properties::the_same_sequence_gives_the_same_state_across_restarts"),
    ),
    mutant(
        "unknown-field-skipped",
        "applies an entry of a newer release as far as it understands it",
        machine("scripts::transcripts"),
    ),
    mutant(
        "handed-back-at-once",
        "gives a shard back to the node that has just handed it over to stop",
        consensus("elections_test::who_has_just_come_to_lead_does_not_hand_back_at_once"),
    ),
    mutant(
        "vote-before-fsync",
        "answers a candidate before the vote is durable",
        consensus("suite_test::a_vote_is_durable_before_it_is_answered"),
    ),
    mutant(
        "purge-too-far",
        "purges entries that nobody said may go",
        consensus("suite_test::openraft_suite_on_the_simulated_disk"),
    ),
    mutant(
        "living-leader-challenged",
        "stands for election while the leader lives",
        consensus("elections_test::a_living_leader_is_left_alone"),
    ),
    mutant(
        "old-word-believed",
        "replaces a new leader on what was known of it before it won",
        consensus("proofs::tests::what_was_known_before_a_leader_won_is_void_for_a_while"),
    ),
    mutant(
        "evidence-used-again",
        "replaces a leader twice for one connection that ended",
        consensus("proofs::tests::a_connection_is_believed_once_in_each_group"),
    ),
    mutant(
        "commits-ignored",
        "replaces a leader that is not heard while its entries are committed",
        consensus("proofs::tests::a_leader_that_commits_is_not_cut_off"),
    ),
    mutant(
        "log-length-ignored",
        "stands for election before a node whose log is longer",
        consensus("elections_test::whose_log_is_longer_stands_first_and_never_at_the_same_time"),
    ),
    mutant(
        "search-before-done",
        "searches a shard whose patients do not all have search tokens",
        services("people::levels::nobody_is_searched_for_until_everybody_from_before_the_level_can_be_found"),
    ),
    mutant(
        "level-not-guarded",
        "commits behind a level what was planned below it",
        services(
            "people::levels::a_change_that_was_planned_below_the_level_does_not_get_behind_it_without_tokens",
        ),
    ),
    mutant(
        "backlog-done-early",
        "says after the first lot that everybody has search tokens",
        node("level::everybody_from_before_the_level_is_found_behind_it"),
    ),
    mutant(
        "list-behind-reader",
        "shows a reader of the list less than it has seen",
        node("dispatch::no_replica_that_is_behind_a_readers_place_shows_the_list"),
    ),
    mutant(
        "absent-replica-preferred",
        "hands a quiet shard to a node that has lost its replica",
        consensus("elections_test::a_node_without_its_replica_is_unfit_for_that_shard_and_no_other"),
    ),
    mutant(
        "older-copy-accepted",
        "takes an older copy of a peer's data directory for that peer",
        inside("repair::history::tests::what_was_heard_between_handshakes_counts"),
    ),
    mutant(
        "refusals-ignored",
        "goes on voting with an older copy of its own data directory",
        node("members::a_node_that_got_an_older_disk_back_does_not_vote_and_gets_new_replicas"),
    ),
    mutant(
        "outlived-ignored",
        "goes on serving though the cluster was recovered without this node",
        node("members::lost_majority::an_old_majority_that_comes_back_serves_nobody"),
    ),
    mutant(
        "lost-log-votes",
        "votes with an empty log in the place of one that was lost or damaged",
        node("members::a_node_that_lost_its_log_gets_new_replicas"),
    ),
    mutant(
        "divergence-not-noticed",
        "does not compare its digest with that of a Verify entry",
        test(
            "spine-storage",
            "spine_storage",
            "replica::ring::tests::compares_what_it_still_holds",
        ),
    ),
    mutant(
        "one-witness-convicts",
        "deletes a state from which one other replica differs",
        inside("repair::judge::tests::the_majority_of_all_voters_decides_and_nobody_else"),
    ),
    mutant(
        "longer-log-of-older-term",
        "goes on from a longer log of an older term after a lost quorum",
        inside("cluster::survivors::tests::the_furthest_log_wins_as_in_an_election"),
    ),
    mutant(
        "earlier-incarnation-forgotten",
        "deletes what an earlier incarnation left while a shard stands on one node",
        inside(
            "repair::residence::tests::what_an_earlier_incarnation_left_goes_once_every_shard_stands_on_two_nodes",
        ),
    ),
    mutant("lease-read", "reads without asking a quorum who leads", FORGED),
    mutant(
        "anyone-answers",
        "answers from a replica that does not lead",
        node("dispatch::a_forwarded_call_is_executed_or_refused_and_never_forwarded_again"),
    ),
    mutant(
        "rejection-without-barrier",
        "says no on the word of a state that may be old",
        node("dispatch::a_leader_cut_off_answers_with_nothing_old_neither_reads_nor_rejections"),
    ),
    mutant(
        "barrier-of-the-past",
        "answers a read by a barrier that began before it",
        test(
            "spine-node",
            "spine_node",
            "shard::barriers::tests::a_barrier_counts_for_those_who_asked_before_it_began",
        ),
    ),
    mutant(
        "reused-request-id-replayed",
        "the leader takes a reused request id for a repetition",
        test(
            "spine-node",
            "it",
            "dispatch::a_request_id_with_another_body_is_refused",
        ),
    ),
    mutant(
        "forwarded-again",
        "forwards a call that was forwarded",
        node("dispatch::a_forwarded_call_is_executed_or_refused_and_never_forwarded_again"),
    ),
    mutant(
        "unknown-counts-as-not-done",
        "takes a forwarded call that was not answered for one that was not made",
        node("dispatch::a_call_whose_answer_was_lost_is_of_unknown_outcome"),
    ),
    mutant(
        "another-plan-accepted",
        "says yes to the plan of another cluster",
        node("bootstrap::a_node_with_data_refuses_another_plan_also_after_a_restart"),
    ),
    mutant(
        "new-request-id-for-each-try",
        "the client repeats a call under another request id",
        client("an_answer_lost_after_the_commit_is_asked_for_again_and_counted_once"),
    ),
    mutant(
        "unknown-is-failure",
        "the client gives up where the outcome is unknown",
        client("an_answer_lost_after_the_commit_is_asked_for_again_and_counted_once"),
    ),
    mutant(
        "refusal-ends-doubt",
        "the client calls a change failed that a lost try may still make",
        client("a_refusal_counts_once_no_try_can_take_effect_any_more"),
    ),
    mutant(
        "doubt-forgotten",
        "the client calls a change failed that may have happened",
        client("a_doubt_stays_even_when_later_tries_are_refused"),
    ),
];
