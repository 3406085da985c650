//! One closed-loop client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::mix::Kind;
use super::{Call, Caller, Mix, Register, Registers, seeded};
use crate::history::{Action, ClientId, Outcome, Recorder, Value};

/// How fast and how long a client calls.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Pause between an answer and the next call, at most; drawn evenly from 0.
    pub think: Duration,
    /// The client ends after its current call once this is set.
    pub stop: Arc<AtomicBool>,
    /// Length of written values, bytes.
    pub value_len: usize,
}

/// One client and what it remembers.
pub struct Client {
    id: ClientId,
    recorder: Recorder,
    caller: Arc<dyn Caller>,
    random: ChaCha8Rng,
    mix: Mix,
    registers: Registers,
    /// What it last saw of each register: content and revision, 0 = absent.
    known: BTreeMap<Register, (Option<Value>, u64)>,
    last: Option<Change>,
}

struct Change {
    register: Register,
    action: Action,
    expected_revision: u64,
    request_id: String,
}

impl Client {
    #[must_use]
    pub fn new(
        seed: u64,
        recorder: Recorder,
        caller: Arc<dyn Caller>,
        mix: Mix,
        registers: Registers,
    ) -> Self {
        let id = recorder.next_client();
        let random = seeded(seed, &format!("client {}", id.0));
        Self {
            id,
            recorder,
            caller,
            random,
            mix,
            registers,
            known: BTreeMap::new(),
            last: None,
        }
    }

    /// Calls until told to stop.
    pub async fn run(mut self, pace: Pace) {
        while !pace.stop.load(Ordering::Relaxed) {
            self.step(&pace).await;
            let think = u64::try_from(pace.think.as_micros()).unwrap_or(u64::MAX);
            let pause = Duration::from_micros(self.random.random_range(0..=think));
            tokio::time::sleep(pause).await;
        }
    }

    async fn step(&mut self, pace: &Pace) {
        match self.mix.draw(&mut self.random) {
            Kind::Read => {
                let register = self.registers.draw(&mut self.random);
                self.read(&register, pace).await;
            }
            Kind::Resend => {
                if let Some(change) = self.last.take() {
                    self.change(change, pace).await;
                }
            }
            kind => {
                let change = self.draft(kind);
                self.change(change, pace).await;
            }
        }
    }

    fn draft(&mut self, kind: Kind) -> Change {
        let value = self.recorder.next_value();
        let request_id = format!("r-{}-{}", self.registers.run, value.0);
        let mut register = self.registers.draw(&mut self.random);
        let mut expected_revision = 0;
        let action = match kind {
            Kind::Delete => Action::Delete,
            Kind::CompareAndSet => {
                let (expected, revision) = self.known.get(&register).copied().unwrap_or_default();
                expected_revision = revision;
                Action::Cas { expected, value }
            }
            Kind::Journal => {
                let routing = format!("jrn-{}-{}", self.registers.run, self.id.0);
                register = Register {
                    routing,
                    suffix: format!("{:08}", value.0),
                };
                Action::Put { value }
            }
            Kind::Read | Kind::Put | Kind::Resend => Action::Put { value },
        };
        Change {
            register,
            action,
            expected_revision,
            request_id,
        }
    }

    async fn read(&mut self, register: &Register, pace: &Pace) {
        let started = self.recorder.start(self.id, &register.name(), Action::Read, None);
        let call = Call {
            register,
            action: &Action::Read,
            expected_revision: 0,
            request_id: "",
            value_len: pace.value_len,
        };
        let outcome = self.caller.call(call).await;
        if let Outcome::Ok(seen) = &outcome {
            self.known.insert(register.clone(), (seen.value, seen.revision));
        }
        started.finish(outcome);
    }

    async fn change(&mut self, change: Change, pace: &Pace) {
        let Change {
            register,
            action,
            expected_revision,
            request_id,
        } = &change;
        let name = register.name();
        let started = self
            .recorder
            .start(self.id, &name, action.clone(), Some(request_id.clone()));
        let call = Call {
            register,
            action,
            expected_revision: *expected_revision,
            request_id,
            value_len: pace.value_len,
        };
        let outcome = self.caller.call(call).await;
        match &outcome {
            Outcome::Ok(seen) if seen.replayed => {}
            Outcome::Ok(seen) => {
                let content = action.written();
                let revision = if content.is_some() { seen.revision } else { 0 };
                self.known.insert(register.clone(), (content, revision));
            }
            Outcome::Unknown { .. } => self.id = self.recorder.next_client(),
            Outcome::Rejected { .. } | Outcome::Failed { .. } => {
                self.known.remove(register);
            }
        }
        if matches!(outcome, Outcome::Ok(_)) {
            self.last = Some(change);
        }
        started.finish(outcome);
    }
}
