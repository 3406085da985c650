use std::cell::RefCell;
use std::rc::Rc;

use spine_consensus::net::Net;
use spine_storage::disk::{Disk, DiskFile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::*;
use crate::sim::net::{Flow, SimNet};

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

/// When node j answered node i, or its client where i is none, in 1,000 ms.
type Heard = BTreeMap<(Option<Node>, Node), Vec<u64>>;

/// Three nodes that ask each other, each with a client, under faults with begin and end. Also what each disk looked
/// like at each millisecond: stalled, and refusing a write and a sync.
struct Stand {
    heard: Heard,
    disks: Vec<SimDisk>,
}

fn host(sim: &Sim<'_>, wires: &Wires, name: &str) -> SimNet {
    SimNet {
        wires: wires.clone(),
        own: sim.lookup(name),
    }
}

async fn ask_on(net: SimNet, node: String, answers: Answers) {
    loop {
        let _ = ask(&net, &node, &answers).await;
        sleep(Duration::from_millis(5)).await;
    }
}

fn stand(steps: &[(u64, u64, Fault)], mut look: impl FnMut(u64, &[SimDisk])) -> Stand {
    let mut sim = turmoil::Builder::new()
        .rng_seed(1)
        .max_message_latency(LATENCY_MAX)
        .build();
    let wires = Wires::default();
    let names: Vec<String> = (1..=3).map(|node| format!("n{node}")).collect();
    let mut all: BTreeMap<(Option<Node>, Node), Answers> = BTreeMap::new();
    for (number, name) in names.iter().enumerate() {
        let net = host(&sim, &wires, name);
        let others: Vec<(String, Answers)> = (0..3)
            .filter(|other| *other != number)
            .map(|other| {
                let answers = all.entry((Some(number), other)).or_default().clone();
                (names[other].clone(), answers)
            })
            .collect();
        sim.host(&**name, move || {
            let (net, others) = (net.clone(), others.clone());
            async move {
                for (other, answers) in others {
                    tokio::task::spawn_local(ask_on(net.clone(), other, answers));
                }
                echo(net).await
            }
        });
    }
    for (number, name) in names.iter().enumerate() {
        let client = format!("asks-{name}");
        let net = host(&sim, &wires, &client);
        let answers = all.entry((None, number)).or_default().clone();
        let name = name.clone();
        sim.client(&*client, async move {
            ask_on(net, name, answers).await;
            Ok(())
        });
    }
    let disks: Vec<SimDisk> = (0..3).map(SimDisk::new).collect();
    let mut faults = Faults::new(Targets {
        wires,
        clock_errors: Vec::new(),
        disks: disks.clone(),
        clients: names.iter().map(|name| format!("asks-{name}")).collect(),
        nodes: names,
        fallen: Rc::default(),
        storm: Rc::default(),
        random: crate::workload::seeded(1, "faults"),
    });
    for now in 0..1_000 {
        for (begin, end, fault) in steps {
            let step = Step::of(0, 0, fault.clone());
            if now == *begin {
                faults.begin(&mut sim, &step);
            }
            if now == *end {
                faults.end(&mut sim, &step);
            }
        }
        sim.step().unwrap();
        look(now, &disks);
    }
    let heard = all
        .into_iter()
        .map(|(pair, answers)| (pair, answers.borrow().clone()));
    Stand {
        heard: heard.collect(),
        disks,
    }
}

/// When each of three nodes answered its client.
fn answers_under(steps: &[(u64, u64, Fault)]) -> Vec<Vec<u64>> {
    let stand = stand(steps, |_, _| ());
    (0..3).map(|node| stand.heard[&(None, node)].clone()).collect()
}

/// When nodes answered each other.
fn peers_under(fault: Fault) -> Heard {
    stand(&[(200, 500, fault)], |_, _| ()).heard
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
        Fault::Pause(vec![0]),
        Fault::LostReplies(0),
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
        (Fault::Pause(vec![0]), Fault::Hold(vec![0])),
        (Fault::LostReplies(0), Fault::Hold(vec![0])),
        (Fault::LostReplies(0), Fault::LostReplies(0)),
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

#[test]
fn a_bridge_hears_all_and_its_ends_not_each_other() {
    let heard = peers_under(Fault::Bridge(1));
    for (pair, answers) in heard {
        let across = matches!(pair, (Some(0), 2) | (Some(2), 0));
        assert_eq!(silent(&answers, 215, 495), across, "{pair:?}: {answers:?}");
        assert!(!silent(&answers, 520, 1_000), "{pair:?}: {answers:?}");
    }
}

#[test]
fn a_forged_node_lives_and_nobody_can_reach_it_anew() {
    let heard = peers_under(Fault::Forge(0));
    for (pair, answers) in heard {
        // Connections of its clients are not broken; its own connects to others are not refused.
        let unreachable = matches!(pair, (Some(_), 0));
        assert_eq!(silent(&answers, 215, 495), unreachable, "{pair:?}: {answers:?}");
        assert!(!silent(&answers, 520, 1_000), "{pair:?}: {answers:?}");
    }
}

#[test]
fn a_paused_node_is_silent_to_all_and_loses_nothing() {
    let stand = stand(&[(200, 500, Fault::Pause(vec![0]))], |now, disks| {
        assert_eq!(disks[0].stalled(), (200..500).contains(&now), "{now}");
        assert!(!disks[1].stalled());
    });
    for (pair, answers) in stand.heard {
        let touches = pair.0 == Some(0) || pair.1 == 0;
        assert_eq!(silent(&answers, 215, 495), touches, "{pair:?}: {answers:?}");
        // The bytes that were held come, on the connections that were there.
        assert!(!silent(&answers, 500, 515), "{pair:?}: {answers:?}");
    }
}

#[test]
fn a_disk_stalls_until_the_last_fault_ends_also_through_a_power_cut() {
    let steps = [
        (100, 300, Fault::DiskStall(0)),
        (200, 500, Fault::Pause(vec![0])),
        (350, 400, Fault::PowerCut(vec![0])),
    ];
    stand(&steps, |now, disks| {
        assert_eq!(disks[0].stalled(), (100..500).contains(&now), "{now}");
    });
}

fn file(disk: &SimDisk, name: &str) -> std::io::Result<std::sync::Arc<dyn DiskFile>> {
    disk.open(std::path::Path::new(name), true)
}

#[test]
fn a_full_disk_takes_nothing_until_it_ends() {
    let steps = [(100, 300, Fault::DiskFull(0)), (200, 400, Fault::DiskFull(0))];
    let stand = stand(&steps, |now, disks| {
        let file = file(&disks[0], &format!("/{now}")).unwrap();
        let full = file.write_all_at(&[1; 9_000], 0).is_err();
        assert_eq!(full, (100..400).contains(&now), "{now}");
    });
    assert!(stand.disks[0].free_bytes(std::path::Path::new("/")).unwrap() > 1 << 30);
}

#[test]
fn a_sync_fails_once_and_not_after_the_fault() {
    let steps = [(100, 200, Fault::FsyncFails(0)), (300, 400, Fault::FsyncFails(0))];
    let mut failed = Vec::new();
    stand(&steps, |now, disks| {
        // Nothing is synced in the second fault's time.
        if !(250..500).contains(&now) {
            let file = file(&disks[0], &format!("/{now}")).unwrap();
            file.write_all_at(b"x", 0).unwrap();
            failed.extend(file.sync_data().is_err().then_some(now));
        }
    });
    assert_eq!(failed, [100]);
}

/// Milliseconds from one answer to the next, at most, in a time.
fn pause(answers: &[u64], from: u64, to: u64) -> u64 {
    let within: Vec<&u64> = answers.iter().filter(|at| (from..to).contains(*at)).collect();
    within
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(to - from)
}

#[test]
fn late_replies_are_late_and_all_of_them_come() {
    let late = Duration::from_millis(60);
    let heard = peers_under(Fault::LateReplies(0, late));
    for (pair, answers) in heard {
        let is_late = pair == (None, 0);
        assert_eq!(pause(&answers, 215, 495) > 60, is_late, "{pair:?}: {answers:?}");
        assert!(!silent(&answers, 215, 495), "{pair:?}: {answers:?}");
        assert!(pause(&answers, 600, 1_000) < 40, "{pair:?}: {answers:?}");
    }
}

#[test]
fn only_replies_are_lost_and_only_to_clients() {
    let heard = peers_under(Fault::LostReplies(0));
    for (pair, answers) in heard {
        assert_eq!(
            silent(&answers, 215, 495),
            pair == (None, 0),
            "{pair:?}: {answers:?}"
        );
    }
}

/// What a client asks arrives, on connections that it opens meanwhile too.
#[test]
fn a_node_whose_replies_are_lost_hears_what_it_is_asked() {
    let mut sim = turmoil::Builder::new().rng_seed(1).build();
    let wires = Wires::default();
    let heard = Answers::default();
    let (node, client) = (host(&sim, &wires, "n1"), host(&sim, &wires, "asks"));
    let told = heard.clone();
    sim.host("n1", move || {
        let (net, told) = (node.clone(), told.clone());
        async move {
            let listener = net.bind("0.0.0.0:7").await?;
            loop {
                let (mut stream, _) = listener.accept().await?;
                stream.read_exact(&mut [0; 1]).await?;
                stream.write_all(b"a").await?;
                told.borrow_mut().push(1);
            }
        }
    });
    let net = client.clone();
    sim.client("asks", async move {
        let mut stream = net.connect("n1:7").await?;
        stream.write_all(b"a").await?;
        let answer = timeout(Duration::from_millis(200), stream.read_exact(&mut [0; 1])).await;
        assert!(answer.is_err(), "no reply");
        let end = stream.read_exact(&mut [0; 1]).await.map_err(|error| error.kind());
        assert_eq!(
            end,
            Err(std::io::ErrorKind::ConnectionReset),
            "it ends with the fault"
        );
        Ok(())
    });
    let lost = Flow {
        lost: true,
        ..Flow::default()
    };
    let (own, to) = (sim.lookup("n1"), client.own);
    wires.set_flow(own, to, lost);
    while !sim.step().unwrap() {
        if sim.elapsed().as_millis() == 400 {
            wires.set_flow(own, to, Flow::default());
        }
    }
    assert_eq!(*heard.borrow(), [1]);
}

#[test]
fn the_slowest_of_overlapping_latencies_counts() {
    let slow = |ms| Fault::Slow(Duration::from_millis(ms));
    let answers = answers_under(&[(100, 900, slow(80)), (200, 300, slow(5))]);
    assert!(pause(&answers[0], 350, 900) > 30, "{:?}", answers[0]);
}

#[test]
fn storms_add_up_and_go() {
    let mut sim = turmoil::Builder::new().rng_seed(1).build();
    let storm: Rc<Cell<u32>> = Rc::default();
    let mut faults = Faults::new(Targets {
        wires: Wires::default(),
        clock_errors: Vec::new(),
        disks: Vec::new(),
        nodes: Vec::new(),
        clients: Vec::new(),
        fallen: Rc::default(),
        storm: storm.clone(),
        random: crate::workload::seeded(1, "faults"),
    });
    let step = |clients| Step::of(0, 0, Fault::ClientStorm(clients));
    faults.begin(&mut sim, &step(4));
    faults.begin(&mut sim, &step(5));
    assert_eq!(storm.get(), 9);
    faults.end(&mut sim, &step(4));
    faults.end(&mut sim, &step(5));
    assert_eq!(storm.get(), 0);
}
