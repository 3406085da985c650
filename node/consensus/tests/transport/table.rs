//! The truth table of liveness, without any network.

use std::time::Duration;

use spine_consensus::transport::WatchTiming;
use spine_consensus::transport::liveness::{LivenessEvent, LivenessTable, Proof};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::Watch;
use tokio::time::Instant;

const ME: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);
const ALL: [NodeId; 3] = [ME, TWO, THREE];

struct Scene {
    table: LivenessTable,
    start: Instant,
    now: u64,
}

impl Scene {
    fn new() -> Self {
        let mut table = LivenessTable::new(WatchTiming::default());
        let start = Instant::now();
        table.set_nodes(ME, &ALL.into(), start);
        table.tick(start);
        Self { table, start, now: 0 }
    }
    fn at(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }
    /// Ticks on time until then; `speaking` are heard at each tick, calling `silent` silent.
    fn until(&mut self, ms: u64, speaking: &[NodeId], silent: &[NodeId]) {
        while self.now < ms {
            self.now += 25;
            self.table.tick(self.at());
            self.hear(speaking, silent);
        }
    }
    fn hear(&mut self, speaking: &[NodeId], silent: &[NodeId]) {
        let watch = Watch {
            silent_nodes: silent.iter().map(|node| node.0).collect(),
            ..Watch::default()
        };
        for peer in speaking {
            self.table.heard(*peer, &watch, self.at());
        }
    }
    fn dead(&self, peer: NodeId) -> Option<Proof> {
        self.table.snapshot(self.at()).dead(peer, &ALL)
    }
}

#[test]
fn silence_needs_time_and_a_majority() {
    let mut scene = Scene::new();
    scene.until(225, &[TWO], &[]);
    assert!(!scene.table.silent(THREE, scene.at()));
    scene.until(250, &[TWO], &[]);
    assert!(scene.table.silent(THREE, scene.at()));
    // I alone am no majority of three.
    assert_eq!(scene.dead(THREE), None);
    assert!(!scene.table.agreed_dead(THREE, &ALL, scene.at()));
    scene.hear(&[TWO], &[THREE]);
    assert!(matches!(scene.dead(THREE), Some(Proof::Silence { agreeing, .. }) if agreeing == [ME, TWO]));
    // Of five, two are not enough; of two, both are needed and the dead one is one of them.
    let five = [ME, TWO, THREE, NodeId(4), NodeId(5)];
    assert!(!scene.table.agreed_dead(THREE, &five, scene.at()));
    assert!(!scene.table.agreed_dead(THREE, &[ME, THREE], scene.at()));
    // A voter named twice counts once; nobody means nobody.
    assert!(
        !scene
            .table
            .agreed_dead(THREE, &[ME, ME, THREE, NodeId(4)], scene.at())
    );
    assert!(!scene.table.agreed_dead(THREE, &[], scene.at()));
}

#[test]
fn a_peer_that_hears_no_majority_counts_as_dead_by_its_own_word() {
    let mut scene = Scene::new();
    scene.until(500, &[TWO, THREE], &[]);
    scene.hear(&[THREE], &[TWO]);
    assert_eq!(scene.dead(THREE), None, "it and I are a majority of three");
    scene.hear(&[THREE], &[ME, TWO]);
    assert_eq!(
        scene.dead(THREE),
        Some(Proof::Deaf {
            unheard: vec![ME, TWO]
        })
    );
    assert_eq!(
        scene.dead(TWO),
        None,
        "the word of a deaf peer convinces nobody of others"
    );
    scene.hear(&[THREE], &[]);
    assert_eq!(scene.dead(THREE), None);
}

#[test]
fn others_alone_do_not_convince_us() {
    let mut scene = Scene::new();
    scene.until(500, &[TWO, THREE], &[]);
    scene.hear(&[TWO], &[THREE]);
    assert!(!scene.table.agreed_dead(THREE, &ALL, scene.at()));
}

#[test]
fn the_word_of_a_silent_peer_does_not_count() {
    let mut scene = Scene::new();
    scene.until(100, &[TWO], &[THREE]);
    scene.until(400, &[], &[]);
    assert!(scene.table.silent(TWO, scene.at()) && scene.table.silent(THREE, scene.at()));
    assert!(!scene.table.agreed_dead(THREE, &ALL, scene.at()));
}

#[test]
fn our_own_lateness_proves_nothing() {
    let mut scene = Scene::new();
    scene.until(100, &[TWO, THREE], &[]);
    // A pause of ten seconds, and before our loop comes round somebody asks.
    scene.now += 10_000;
    assert!(scene.table.late(scene.at()) && !scene.table.silent(TWO, scene.at()));
    assert!(scene.table.snapshot(scene.at()).late);
    scene.table.tick(scene.at());
    assert!(scene.table.late_by() > Duration::from_secs(9));
    assert!(!scene.table.silent(TWO, scene.at()));
    let back = scene.now;
    scene.until(back + 225, &[], &[]);
    assert!(!scene.table.silent(TWO, scene.at()));
    scene.until(back + 250, &[], &[]);
    assert!(scene.table.silent(TWO, scene.at()));
}

#[test]
fn evidence_needs_both_halves_and_ends_when_heard() {
    let mut scene = Scene::new();
    scene.until(100, &[TWO, THREE], &[]);
    // Refused without a connection that closed: it may never have run.
    assert!(!scene.table.refused(THREE, scene.at()));
    let connection = scene.table.connected(THREE);
    assert!(!scene.table.refused(THREE, scene.at()));
    scene.table.closed(THREE, connection);
    assert_eq!(scene.dead(THREE), None);
    let before = scene.table.snapshot(scene.at());
    assert!(scene.table.refused(THREE, scene.at()));
    let Some(Proof::Evidence(evidence)) = scene.dead(THREE) else {
        panic!("no proof")
    };
    assert_eq!(evidence.connection, connection);
    let gone = scene.table.snapshot(scene.at());
    assert_eq!(gone.changes(&before), [LivenessEvent::Gone(THREE, evidence)]);
    // Its last frames, still in our kernel, change nothing.
    scene.until(125, &[THREE], &[]);
    assert!(scene.dead(THREE).is_some());
    scene.until(200, &[THREE], &[]);
    assert_eq!(scene.dead(THREE), None);
    let back = scene.table.snapshot(scene.at());
    assert_eq!(back.changes(&gone), [LivenessEvent::Back(THREE)]);
}

#[test]
fn an_older_connection_or_another_error_is_no_evidence() {
    let mut scene = Scene::new();
    let old = scene.table.connected(TWO);
    let new = scene.table.connected(TWO);
    scene.table.closed(TWO, old);
    assert!(!scene.table.refused(TWO, scene.at()));
    scene.table.closed(TWO, new);
    assert!(scene.table.refused(TWO, scene.at()));
    assert!(scene.table.not_refused(TWO));
    assert_eq!(scene.dead(TWO), None);
}

#[test]
fn who_comes_back_is_told_once() {
    let mut scene = Scene::new();
    scene.until(300, &[TWO], &[]);
    let silent = scene.table.snapshot(scene.at());
    scene.hear(&[THREE], &[]);
    let back = scene.table.snapshot(scene.at());
    assert_eq!(back.changes(&silent), [LivenessEvent::Back(THREE)]);
    scene.until(400, &[TWO, THREE], &[]);
    assert!(scene.table.snapshot(scene.at()).changes(&back).is_empty());
}
