use std::cell::RefCell;
use std::rc::Rc;

use spine_consensus::net::Net;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::*;
use crate::sim::net::SimNet;

/// Milliseconds at which a node answered.
type Answers = Rc<RefCell<Vec<u64>>>;

async fn echo(net: SimNet) -> turmoil::Result {
    let listener = net.bind("0.0.0.0:7").await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buf = [0; 1];
            while stream.read_exact(&mut buf).await.is_ok() && stream.write_all(&buf).await.is_ok() {}
        });
    }
}

async fn ask(net: &SimNet, node: &str, answers: &Answers) -> std::io::Result<()> {
    let mut stream = net.connect(&format!("{node}:7")).await?;
    loop {
        stream.write_all(b"a").await?;
        timeout(Duration::from_secs(5), stream.read_exact(&mut [0; 1])).await??;
        let now = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        answers.borrow_mut().push(u64::try_from(now).unwrap());
        sleep(Duration::from_millis(5)).await;
    }
}

/// When each of three nodes answered client `asks` in 1,000 ms, under faults with begin and end.
fn answers_under(steps: &[(u64, u64, Fault)]) -> Vec<Vec<u64>> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(1)
        .max_message_latency(LATENCY_MAX)
        .build();
    let wires = Wires::default();
    let names: Vec<String> = (1..=3).map(|node| format!("n{node}")).collect();
    for name in &names {
        let net = SimNet {
            wires: wires.clone(),
            own: sim.lookup(&**name),
        };
        sim.host(&**name, move || echo(net.clone()));
    }
    let all: Vec<Answers> = names.iter().map(|_| Answers::default()).collect();
    let net = SimNet {
        wires: wires.clone(),
        own: sim.lookup("asks"),
    };
    for (name, answers) in names.clone().into_iter().zip(all.clone()) {
        let net = net.clone();
        let host = format!("asks-{name}");
        let net = SimNet {
            own: sim.lookup(&*host),
            ..net
        };
        sim.host(&*host, move || {
            let (net, name, answers) = (net.clone(), name.clone(), answers.clone());
            async move {
                loop {
                    let _ = ask(&net, &name, &answers).await;
                    sleep(Duration::from_millis(5)).await;
                }
            }
        });
    }
    let clients = names.iter().map(|name| format!("asks-{name}")).collect();
    let mut faults = Faults::new(Targets {
        wires,
        disks: (0..3).map(SimDisk::new).collect(),
        nodes: names,
        clients,
        fallen: Rc::default(),
        storm: Rc::default(),
        random: crate::workload::seeded(1, "faults"),
    });
    for now in 0..1_000 {
        for (begin, end, fault) in steps {
            let step = Step {
                at: Duration::ZERO,
                lasts: Duration::ZERO,
                fault: fault.clone(),
            };
            if now == *begin {
                faults.begin(&mut sim, &step);
            }
            if now == *end {
                faults.end(&mut sim, &step);
            }
        }
        sim.step().unwrap();
    }
    all.into_iter().map(|answers| answers.borrow().clone()).collect()
}

fn silent(answers: &[u64], from: u64, to: u64) -> bool {
    !answers.iter().any(|at| (from..to).contains(at))
}

#[test]
fn without_faults_all_answer() {
    assert!(answers_under(&[]).iter().all(|answers| answers.len() > 60));
}

#[test]
fn every_way_to_silence_a_node_ends() {
    let ways = [
        Fault::Kill(vec![0]),
        Fault::PowerCut(vec![0]),
        Fault::Isolate(vec![0]),
        Fault::HideFromClients(0),
        Fault::Hold(vec![0]),
    ];
    for fault in ways {
        let answers = answers_under(&[(200, 500, fault.clone())]);
        assert!(silent(&answers[0], 215, 495), "{fault:?}: {:?}", answers[0]);
        assert!(!silent(&answers[0], 500, 1_000), "{fault:?}: {:?}", answers[0]);
        assert!(!silent(&answers[1], 215, 495), "{fault:?}");
    }
}

#[test]
fn overlapping_faults_end_with_the_last() {
    let overlaps = [
        (Fault::Isolate(vec![0]), Fault::PowerCut(vec![0])),
        (Fault::Kill(vec![0]), Fault::PowerCut(vec![0, 1, 2])),
        (Fault::Hold(vec![0]), Fault::Isolate(vec![0])),
        (Fault::HideFromClients(0), Fault::Hold(vec![0])),
    ];
    for (first, second) in overlaps {
        let answers = answers_under(&[(200, 500, first.clone()), (300, 700, second.clone())]);
        assert!(
            silent(&answers[0], 215, 695),
            "{first:?}, {second:?}: {:?}",
            answers[0]
        );
        assert!(
            !silent(&answers[0], 700, 1_000),
            "{first:?}, {second:?}: {:?}",
            answers[0]
        );
        let answers = answers_under(&[(200, 700, first.clone()), (300, 500, second.clone())]);
        assert!(
            silent(&answers[0], 215, 695),
            "{first:?} around {second:?}: {:?}",
            answers[0]
        );
        assert!(
            !silent(&answers[0], 700, 1_000),
            "{first:?} around {second:?}: {:?}",
            answers[0]
        );
    }
}
