//! The hosts that call.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spine_node::version::Release;
use turmoil::Sim;

use super::net::Wires;
use super::operator::{self, Addresses, Desk};
use super::options::SimOptions;
use super::releases::Releases;
use super::rolls::{ClientOf, Roller, Rolls, roll};
use crate::domain::{Domain, DomainReport};
use crate::history::Recorder;
use crate::workload::{Client, LibraryCaller, Mix, Pace, Registers, seeded};
use rand::RngExt;

/// One call of the client library.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Longest pause between two calls of a client.
const THINK: Duration = Duration::from_millis(30);
const VALUE_LEN: usize = 64;
/// Storms have registers of their own: ten clients at one register at once are as many as a search can follow.
const STORM_REGISTERS: Registers = Registers { count: 24, run: 1 };

/// What all hosts that call share.
pub(super) struct Callers<'a> {
    pub(super) options: &'a SimOptions,
    pub(super) addresses: &'a Addresses,
    pub(super) wires: &'a Wires,
    pub(super) recorder: &'a Recorder,
    pub(super) desk: &'a Rc<RefCell<Desk>>,
    pub(super) stop: &'a Arc<AtomicBool>,
    /// Hosts of clients that have made their last call.
    pub(super) done: &'a Rc<Cell<usize>>,
}

impl Callers<'_> {
    /// Adds the operator's host.
    pub(super) fn operator(&self, sim: &mut Sim<'_>) {
        let own = sim.lookup("operator");
        let seed = seeded(self.options.seed, "operator").random();
        let (desk, addresses, wires) = (self.desk.clone(), self.addresses.clone(), self.wires.clone());
        let (shards, recorder) = (self.options.shards, self.recorder.clone());
        sim.client("operator", async move {
            // Made in here: a client reads its host's clock from its first moment on.
            let client = operator::client(&addresses, &wires, own, seed, CALL_DEADLINE)?;
            operator::run(desk, addresses, client, shards, recorder).await
        });
    }

    /// Adds the host that upgrades.
    pub(super) fn roller(
        &self,
        sim: &mut Sim<'_>,
        rolls: &Rc<RefCell<Rolls>>,
        releases: &Releases,
        known: Vec<Release>,
    ) {
        let own = sim.lookup("roller");
        let mut random = seeded(self.options.seed, "roller");
        let (rolls, releases) = (rolls.clone(), releases.clone());
        let (addresses, wires) = (self.addresses.clone(), self.wires.clone());
        let first: u64 = random.random();
        let made = Cell::new(0);
        sim.client("roller", async move {
            let grpc = addresses.grpc.clone();
            let client_of: ClientOf = Rc::new(move |grpc| {
                let addresses = Addresses {
                    grpc: grpc.to_vec(),
                    ..addresses.clone()
                };
                // Each draws request ids of its own.
                made.set(made.get() + 1);
                operator::client(
                    &addresses,
                    &wires,
                    own,
                    first.wrapping_add(made.get()),
                    CALL_DEADLINE,
                )
            });
            let roller = Roller {
                rolls,
                known,
                releases,
                grpc,
                client_of,
                random,
            };
            roll(roller).await
        });
    }

    /// Adds the host of the clients; they begin to call once the cluster is made. One host for all: each costs time at
    /// every tick, and faults do not tell clients apart.
    pub(super) fn clients(&self, sim: &mut Sim<'_>) -> String {
        let name = "clients".to_owned();
        let own = sim.lookup(&*name);
        let seed = |number| seeded(self.options.seed, &format!("client{number}")).random();
        let seeds: Vec<u64> = (0..self.options.clients).map(seed).collect();
        let (addresses, wires) = (self.addresses.clone(), self.wires.clone());
        let registers = Registers {
            count: self.options.registers,
            run: 0,
        };
        let (recorder, run_seed) = (self.recorder.clone(), self.options.seed);
        let (desk, done) = (self.desk.clone(), self.done.clone());
        let stop = self.stop.clone();
        sim.client(&*name, async move {
            while !desk.borrow().initialised {
                tokio::time::sleep(THINK).await;
            }
            let mut calling = Vec::new();
            for seed in seeds {
                let pace = Pace {
                    think: THINK,
                    stop: stop.clone(),
                    value_len: VALUE_LEN,
                };
                let client = operator::client(&addresses, &wires, own, seed, CALL_DEADLINE)?;
                let caller = Arc::new(LibraryCaller::new(&client));
                let client = Client::new(run_seed, recorder.clone(), caller, Mix::default(), registers);
                calling.push(tokio::spawn(client.run(pace)));
            }
            for client in calling {
                client.await?;
            }
            done.set(done.get() + 1);
            Ok(())
        });
        name
    }

    /// Adds the host of the applications that keep patients; what they found when they ended goes to `found`.
    pub(super) fn applications(
        &self,
        sim: &mut Sim<'_>,
        found: &Rc<RefCell<Option<DomainReport>>>,
    ) -> String {
        let name = "applications".to_owned();
        let own = sim.lookup(&*name);
        let seed = seeded(self.options.seed, &name).random();
        let (addresses, wires) = (self.addresses.clone(), self.wires.clone());
        let (desk, done, stop) = (self.desk.clone(), self.done.clone(), self.stop.clone());
        let found = found.clone();
        sim.client(&*name, async move {
            while !desk.borrow().initialised {
                tokio::time::sleep(THINK).await;
            }
            let client = operator::client(&addresses, &wires, own, seed, CALL_DEADLINE)?;
            let domain = Domain::start(&client, seed, 0);
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(THINK).await;
            }
            *found.borrow_mut() = Some(domain.stop().await);
            done.set(done.get() + 1);
            Ok(())
        });
        name
    }

    /// Adds the host of those clients that come at once and go again: as many as are wanted at each moment.
    pub(super) fn storm(&self, sim: &mut Sim<'_>, wanted: &Rc<Cell<u32>>) -> String {
        let name = "storm".to_owned();
        let own = sim.lookup(&*name);
        let mut random = seeded(self.options.seed, &name);
        let (addresses, wires, recorder) =
            (self.addresses.clone(), self.wires.clone(), self.recorder.clone());
        let (run_seed, stop) = (self.options.seed, self.stop.clone());
        let (wanted, done) = (wanted.clone(), self.done.clone());
        sim.client(&*name, async move {
            let (mut here, mut leaving) = (Vec::new(), Vec::new());
            loop {
                let over = stop.load(Ordering::Relaxed);
                let count = if over { 0 } else { wanted.get() as usize };
                while here.len() < count {
                    let pace = Pace {
                        think: THINK,
                        stop: Arc::default(),
                        value_len: VALUE_LEN,
                    };
                    let client = operator::client(&addresses, &wires, own, random.random(), CALL_DEADLINE)?;
                    let caller = Arc::new(LibraryCaller::new(&client));
                    let leave = pace.stop.clone();
                    let client = Client::new(
                        run_seed,
                        recorder.clone(),
                        caller,
                        Mix::default(),
                        STORM_REGISTERS,
                    );
                    here.push((leave, tokio::spawn(client.run(pace))));
                }
                for (leave, client) in here.drain(count..) {
                    leave.store(true, Ordering::Relaxed);
                    leaving.push(client);
                }
                if over {
                    break;
                }
                tokio::time::sleep(THINK).await;
            }
            for client in leaving {
                client.await?;
            }
            done.set(done.get() + 1);
            Ok(())
        });
        name
    }
}
