//! What one caller of a measurement does.

use bytes::Bytes;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use spine_client::{Error, Key, SpineClient};

use crate::args::{Bench, Mix};

/// One call to make.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Put(u32),
    Get(u32),
}

pub(super) struct Caller {
    client: SpineClient,
    rng: ChaCha8Rng,
    /// Random, so that no compression flatters the figures.
    value: Vec<u8>,
    keys: u32,
    turn: u64,
}

impl Caller {
    pub(super) fn new(clients: &[SpineClient], number: u32, arguments: &Bench) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(arguments.seed);
        rng.set_stream(u64::from(number));
        let mut value = vec![0; arguments.value_bytes];
        rng.fill_bytes(&mut value);
        let client = clients[number as usize % clients.len()].clone();
        Self {
            client,
            rng,
            value,
            keys: arguments.keys,
            turn: u64::from(number),
        }
    }

    pub(super) fn next_work(&mut self, mix: Mix) -> Work {
        let key = self.rng.random_range(0..self.keys);
        self.turn += 1;
        match mix {
            Mix::Put => Work::Put(key),
            Mix::Get => Work::Get(key),
            Mix::PutGet if self.turn.is_multiple_of(2) => Work::Put(key),
            Mix::PutGet => Work::Get(key),
        }
    }

    pub(super) async fn act(&mut self, work: Work) -> Result<(), Error> {
        match work {
            Work::Put(key) => self.put(key).await,
            Work::Get(key) => self.get(key).await,
        }
    }

    pub(super) async fn put(&mut self, key: u32) -> Result<(), Error> {
        // Another value each time, at the cost of eight random bytes.
        let fresh = self.rng.next_u64().to_le_bytes();
        for (byte, new) in self.value.iter_mut().zip(fresh) {
            *byte = new;
        }
        let value = Bytes::copy_from_slice(&self.value);
        self.client.records().put(&name(key), value).await.map(drop)
    }

    async fn get(&mut self, key: u32) -> Result<(), Error> {
        self.client.records().get(&name(key)).await.map(drop)
    }
}

/// Every key has a routing key of its own: they spread over all shards.
fn name(key: u32) -> Key {
    Key::new(format!("bench{key:010}"), "v")
}
