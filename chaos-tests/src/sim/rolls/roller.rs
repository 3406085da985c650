//! The host that upgrades: chooses what to do next, and is killed while it does.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use spine_client::upgrade::{
    Failure, Finalize, FinalizeError, LiveFleet, Phase, Progress, Restart, Roll, Timings,
};
use spine_client::{Error, SpineClient};
use spine_node::version::Release;
use spine_proto::admin::v1::NodeSummary;
use tokio::time::{sleep, timeout};

use crate::sim::releases::{Releases, path_of, program_of};

/// Before something that was refused is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// A tool that is killed lives for so long.
const LIVES_MS: std::ops::Range<u64> = 1..4_000;
/// Shorter than an operator's: what hangs while something is wrong is to be gone back from within a run.
const TIMINGS: Timings = Timings {
    drain: Duration::from_secs(2),
    answer: Duration::from_secs(6),
    settle: Duration::from_secs(6),
    poll: Duration::from_millis(50),
};

/// What the run tells the host that upgrades, and the other way round, and what was done.
#[derive(Debug, Default)]
pub(in crate::sim) struct Rolls {
    pub(in crate::sim) begun: bool,
    /// Nothing goes wrong any more: the last release is to be everywhere, and its level in force.
    pub(in crate::sim) finish: bool,
    /// The level in the end.
    pub(in crate::sim) finished: Option<Result<u32, String>>,
    pub(in crate::sim) forward: u32,
    pub(in crate::sim) back: u32,
    pub(in crate::sim) finalized: u32,
    pub(in crate::sim) killed: u32,
    last: String,
}

/// Makes a client that begins at these addresses.
pub(in crate::sim) type ClientOf = Rc<dyn Fn(&[String]) -> Result<SpineClient, Error>>;

type OneOf = Box<dyn Fn(&str) -> Result<SpineClient, Error>>;

/// What the host needs.
pub(in crate::sim) struct Roller {
    pub(in crate::sim) rolls: Rc<RefCell<Rolls>>,
    pub(in crate::sim) known: Vec<Release>,
    pub(in crate::sim) releases: Releases,
    pub(in crate::sim) grpc: Vec<String>,
    pub(in crate::sim) client_of: ClientOf,
    pub(in crate::sim) random: ChaCha8Rng,
}

/// Runs until the simulation ends.
pub(in crate::sim) async fn run(mut roller: Roller) -> turmoil::Result {
    while !roller.rolls.borrow().begun {
        sleep(PAUSE).await;
    }
    let mut at = 0;
    while !roller.is_finishing() {
        at = roller.one_roll(at).await?;
    }
    let finished = roller.finish(at).await;
    roller.rolls.borrow_mut().finished = Some(finished);
    std::future::pending().await
}

impl Roller {
    fn is_finishing(&self) -> bool {
        self.rolls.borrow().finish
    }

    /// From release `at` to the next one, perhaps back, perhaps finalized; gives the release that runs then.
    async fn one_roll(&mut self, at: usize) -> Result<usize, Error> {
        let Some(next) = self.known.get(at + 1) else {
            sleep(PAUSE).await;
            return Ok(at);
        };
        let (from, to) = (path_of(&self.known[at]), path_of(next));
        let mut progress = Progress::new(String::new(), Some(from), to);
        self.carry_out(&mut progress, at).await?;
        if progress.phase != Phase::Done {
            return Ok(at);
        }
        match self.random.random_range(0..4) {
            0 => {
                progress.turn_back("drawn");
                self.carry_out(&mut progress, at).await?;
                return Ok(at);
            }
            1 | 2 => {
                // Whether it comes to its end or not: some shards may be at the level by now.
                let life = Duration::from_millis(self.random.random_range(LIVES_MS));
                let ended = timeout(life, self.finalize()).await;
                if let Ok(Ok(_)) = ended {
                    self.rolls.borrow_mut().finalized += 1;
                    self.goes_back_no_more(&mut progress, at).await?;
                }
            }
            _ => {}
        }
        Ok(at + 1)
    }

    /// Begins the tool again wherever it was killed or stopped.
    async fn carry_out(&mut self, progress: &mut Progress, at: usize) -> Result<(), Error> {
        loop {
            let kills = !self.is_finishing() && self.random.random_range(0..3) == 0;
            let life = if kills {
                Duration::from_millis(self.random.random_range(LIVES_MS))
            } else {
                Duration::from_secs(3_600)
            };
            let ended = timeout(life, self.roll(progress, at)).await;
            let Ok(ended) = ended else {
                self.rolls.borrow_mut().killed += 1;
                continue;
            };
            self.rolls.borrow_mut().last = format!("{ended:?}");
            match ended? {
                Ok(()) => {
                    self.rolls.borrow_mut().forward += 1;
                    return Ok(());
                }
                Err(Failure::RolledBack(_)) => {
                    self.rolls.borrow_mut().back += 1;
                    return Ok(());
                }
                // Something is wrong with the cluster just now.
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// One life of the tool; what it noted is in `progress` whenever it ends.
    async fn roll(&self, progress: &mut Progress, at: usize) -> Result<Result<(), Failure>, Error> {
        let mut fleet = self.fleet()?;
        let mut under_way = progress.clone();
        let mut note = |noted: &Progress| {
            progress.clone_from(noted);
            Ok(())
        };
        let mut roll = Roll {
            fleet: &mut fleet,
            to: self.known.get(at + 1).map(program_of),
            from: self.known.get(at).map(program_of),
            timings: TIMINGS,
            note: &mut note,
            tell: &mut |_, _| (),
        };
        Ok(roll.run(&mut under_way).await)
    }

    async fn finalize(&self) -> Result<u32, String> {
        let mut fleet = self.fleet().map_err(|error| error.to_string())?;
        let mut finalize = Finalize {
            fleet: &mut fleet,
            timings: TIMINGS,
            tell: &mut |_| (),
        };
        let raised = finalize.run().await;
        raised
            .map(|raised| raised.level)
            .map_err(|error| error.to_string())
    }

    /// What was finalized is not taken back, and the attempt restarts nothing.
    async fn goes_back_no_more(&mut self, progress: &mut Progress, at: usize) -> Result<(), Error> {
        let before: Vec<String> = self.running();
        progress.turn_back("drawn");
        let ended = self.roll(progress, at).await?;
        let refused = matches!(&ended, Err(Failure::Stopped(_)));
        if !refused || self.running() != before {
            let why = format!("what was finalized was taken back: {ended:?}");
            self.rolls.borrow_mut().finished = Some(Err(why));
        }
        Ok(())
    }

    /// What each node runs as.
    fn running(&self) -> Vec<String> {
        (0..self.grpc.len())
            .map(|node| self.releases.of(node).name)
            .collect()
    }

    /// The last release everywhere, finalized.
    async fn finish(&mut self, mut at: usize) -> Result<u32, String> {
        if let Some(failed) = self.rolls.borrow_mut().finished.take() {
            return failed;
        }
        while at + 1 < self.known.len() {
            let (from, to) = (path_of(&self.known[at]), path_of(&self.known[at + 1]));
            let mut progress = Progress::new(String::new(), Some(from), to);
            let ended = self.carry_out(&mut progress, at).await;
            ended.map_err(|error| error.to_string())?;
            at += usize::from(progress.phase == Phase::Done);
        }
        loop {
            let mut fleet = self.fleet().map_err(|error| error.to_string())?;
            let mut finalize = Finalize {
                fleet: &mut fleet,
                timings: TIMINGS,
                tell: &mut |_| (),
            };
            match finalize.run().await {
                Ok(raised) => return Ok(raised.level),
                Err(why @ (FinalizeError::Refused(_) | FinalizeError::Stopped(_))) => {
                    self.rolls.borrow_mut().last = why.to_string();
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn fleet(&self) -> Result<LiveFleet<Machines, OneOf>, Error> {
        let machines = Machines {
            releases: self.releases.clone(),
            known: self.known.clone(),
            grpc: self.grpc.clone(),
        };
        let client_of = Rc::clone(&self.client_of);
        let one: OneOf = Box::new(move |address| client_of(&[address.to_owned()]));
        Ok(LiveFleet::new((self.client_of)(&self.grpc)?, one, machines))
    }
}

/// The machines as an operator's hook reaches them: whatever is wrong with the network.
struct Machines {
    releases: Releases,
    known: Vec<Release>,
    grpc: Vec<String>,
}

impl Restart for Machines {
    async fn restart(&mut self, node: &NodeSummary, program: &Path) -> Result<(), String> {
        let number = self.grpc.iter().position(|address| *address == node.grpc_address);
        let release = self.known.iter().find(|release| path_of(release) == program);
        let (Some(number), Some(release)) = (number, release) else {
            return Err("no such node or program".to_owned());
        };
        self.releases.set(number, release.clone());
        self.releases.restart(number);
        Ok(())
    }
}
