use proptest::prelude::*;

use super::*;
use crate::scenario::Focus;

/// One of every kind. A new kind stands here, for the count is checked.
fn every() -> Vec<Fault> {
    let by = Duration::from_millis(25);
    vec![
        Fault::Kill(vec![0, 2]),
        Fault::Pause(vec![1]),
        Fault::PowerCut(vec![0, 1, 2]),
        Fault::Isolate(vec![2]),
        Fault::OneWay(0, 1),
        Fault::Bridge(2),
        Fault::Hold(vec![1, 2]),
        Fault::Reset(1, 0),
        Fault::Forge(0),
        Fault::HalfClose(0, 2),
        Fault::Truncate(2, 0),
        Fault::HideFromClients(1),
        Fault::LostReplies(1),
        Fault::LateReplies(1, by),
        Fault::Slow(by),
        Fault::Narrow(0, 20_000),
        Fault::DiskStall(2),
        Fault::DiskFull(0),
        Fault::FsyncFails(1),
        Fault::CorruptState(2),
        Fault::ClientStorm(16),
        Fault::PurgeWhileDown(0),
        Fault::ClockJump(1, -5_000),
    ]
}

fn scenario(steps: Vec<Step>) -> Scenario {
    Scenario {
        seed: 5,
        nodes: 3,
        shards: 2,
        time: Duration::from_millis(8_000),
        steps,
    }
}

#[test]
fn every_kind_reads_back_as_it_was_written() {
    let steps: Vec<Step> = (0..)
        .zip(every())
        .map(|(number, fault)| Step::of(number * 10, 800, fault))
        .collect();
    let names: std::collections::BTreeSet<_> = steps.iter().map(|step| step.fault.name()).collect();
    assert_eq!((steps.len(), names.len()), (23, 23));
    let written = scenario(steps);
    assert_eq!(written.to_string().parse(), Ok(written));
}

#[test]
fn the_text_is_what_the_documentation_shows() {
    let text = "seed 5\nnodes 3\nshards 2\ntime 8000\nat 1200 for 800: kill n1\n";
    let read: Scenario = text.parse().unwrap();
    assert_eq!(read, scenario(vec![Step::of(1_200, 800, Fault::Kill(vec![0]))]));
    assert_eq!(read.to_string(), text);
}

#[test]
fn comments_and_defaults() {
    let read: Scenario = "# why\n\n  at 0 for 1: slow 3 ms  \n".parse().unwrap();
    assert_eq!(
        (read.seed, read.nodes, read.shards, read.steps.len()),
        (1, 3, 2, 1)
    );
    assert_eq!(read.time, Duration::from_secs(8));
}

#[test]
fn a_bad_line_is_told_with_its_number() {
    let bad = [
        "at 1200 for 800: explode n1",
        "at 1200 for 800: kill",
        "at 1200 for 800: kill n4",
        "at 1200 for 800: kill n0",
        "at 1200 for 800: kill 1",
        "at 1200 for 800: kill n1 n1",
        "at 1200 for 800: one-way n1 n1",
        "at 1200 for 800: one-way n1",
        "at 1200 for 800: reset n1 n2 n3",
        "at 1200 for 800: slow 3",
        "at 1200 for 800: slow 3 s",
        "at 1200 for 800: client-storm 0",
        "at 1200 for 800: client-storm 257",
        "at 1200 for 800:",
        "at 1200 for 800",
        "at 1200: kill n1",
        "at -1 for 800: kill n1",
        "at 8000 for 800: kill n1",
        "at 1200 for 800 ms: kill n1",
        "time 4000",
        "seed",
        "seed: 4",
        "speed 4",
        "nodes 17",
    ];
    for line in bad {
        let text = format!("time 8000\nat 0 for 1: kill n1\n\n{line}\n");
        let read: Result<Scenario, _> = text.parse();
        assert_eq!(read.unwrap_err().line, 4, "{line}");
    }
    let twice: Result<Scenario, _> = "seed 1\nseed 2\n".parse();
    assert_eq!(twice.unwrap_err().line, 2);
}

proptest! {
    #[test]
    fn drawn_scenarios_read_back(seed: u64, nodes in 2..6_usize, focus in 0..5_usize) {
        let focus = <Focus as clap::ValueEnum>::value_variants()[focus];
        let drawn = Scenario::draw(seed, nodes, 2, Duration::from_secs(20), focus);
        prop_assert_eq!(drawn.to_string().parse(), Ok(drawn));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z0-9:# \n-]{0,80}") {
        let _: Result<Scenario, _> = text.parse();
    }
}
