//! Runs `testdata/*.txt`. `REWRITE=1` writes what was answered into them; read the difference before you commit it.

use std::collections::BTreeMap;

use datadriven::TestCase;
use spine_proto::ids::{RoutingKey, Slot};
use spine_statemachine::LevelRange;
use spine_statemachine::limits::REQUEST_SWEEP_EVERY;
use spine_statemachine::txn;

use crate::script::{millis, show, show_applied, show_outcomes, subs, unhex};
use crate::shard::Shard;

#[test]
fn transcripts() {
    datadriven::walk("testdata", |file| {
        let mut shard = Shard::default();
        let mut time_ms = 0;
        file.run(|case| run(&mut shard, &mut time_ms, case));
    });
}

fn run(shard: &mut Shard, time_ms: &mut i64, case: &TestCase) -> String {
    let args: BTreeMap<&str, &str> = case
        .args
        .iter()
        .map(|(name, values)| (name.as_str(), values.first().map_or("", String::as_str)))
        .collect();
    if let Some(at) = args.get("at") {
        *time_ms = millis(at);
    }
    match case.directive.as_str() {
        "own" => {
            let slot = |name| Slot::new(args[name].parse().unwrap()).unwrap();
            let first = txn::first_slots(&(slot("first")..=slot("last")));
            show_outcomes(&shard.txn(vec![first], *time_ms))
        }
        "slot-of" => {
            let slot = RoutingKey::parse(args["key"]).unwrap().slot();
            format!("{}\n", slot.get())
        }
        "txn" => show_applied(shard, &txn::entry(subs(&case.input), *time_ms)),
        "entries-until-sweep" => {
            for _ in 0..REQUEST_SWEEP_EVERY {
                shard.txn(Vec::new(), *time_ms);
            }
            "ok\n".to_string()
        }
        "level" => show_applied(shard, &txn::level(args["to"].parse().unwrap())),
        "program" => {
            let number = |name| args[name].parse().unwrap();
            let (min, max) = (number("min"), number("max"));
            shard.levels = LevelRange { min, max };
            "ok\n".to_string()
        }
        "noop" => show_applied(shard, &txn::noop()),
        "verify" => show_applied(shard, &txn::verify(shard.index, shard.state.digest)),
        "bytes" => show_applied(shard, &unhex(&case.input)),
        "restart" => {
            *shard = shard.restarted();
            "ok\n".to_string()
        }
        "show" => show(shard),
        "state" => format!(
            "index {}, log time {} ms, level {}, records {}, request ids {} of {} rows\n",
            shard.index,
            shard.state.log_time_ms,
            shard.state.level,
            shard.state.record_count,
            shard.state.requests.remembered_rows(),
            shard.state.requests.stored_rows()
        ),
        other => panic!("unknown directive {other}"),
    }
}
