//! A caller of Spine, through the client library.

use bytes::Bytes;
use serde_json::Value;
use spine_client::population::Population;
use spine_client::{Error, Key, ListOptions, SpineClient};

use super::Prepare;
use super::work::{Caller, Kind, Work};

/// Chooses the patients of a measurement.
const POPULATION: u64 = 1;
/// Records of one page.
const PAGE: u32 = 100;

/// Calls through one of the clients, which it shares with others.
#[derive(Clone)]
pub(super) struct SpineCaller(pub(super) SpineClient);

impl Caller for SpineCaller {
    async fn act(&mut self, work: Work) -> Result<(), String> {
        self.call(work).await.map_err(|error| error.reason)
    }
}

impl SpineCaller {
    async fn call(&self, work: Work) -> Result<(), Error> {
        let Work { kind, key, value } = work;
        match kind {
            Kind::Put => self.0.records().put(&name(key), value).await.map(drop),
            Kind::Get => self.0.records().get(&name(key)).await.map(drop),
            Kind::CompareAndSet => self.compare_and_set(&name(key), value).await,
            Kind::List => {
                let options = ListOptions {
                    page_size: PAGE,
                    ..ListOptions::default()
                };
                let records = self.0.records();
                records.list(&name(key).routing_key, options).await.map(drop)
            }
            Kind::Retrieve => self.0.pds().retrieve(&number(key)).await.map(drop),
            Kind::Update => self.update(&number(key)).await,
        }
    }

    async fn compare_and_set(&self, key: &Key, value: Bytes) -> Result<(), Error> {
        let records = self.0.records();
        loop {
            let found = records.get(key).await?.record;
            // A key that was never filled is in conflict for ever.
            let again = found.is_some();
            let revision = found.map_or(0, |record| record.revision);
            match records.compare_and_set(key, revision, value.clone()).await {
                Err(error) if again && error.is_conflict() => {}
                done => return done.map(drop),
            }
        }
    }

    async fn update(&self, number: &str) -> Result<(), Error> {
        loop {
            let patient = self.0.pds().retrieve(number).await?;
            let json = changed(&patient.fhir_json, patient.version_id);
            match self.0.pds().update(number, patient.version_id, json).await {
                Err(error) if error.is_conflict() => {}
                done => return done.map(drop),
            }
        }
    }
}

impl Prepare for SpineCaller {
    async fn register(&mut self, key: u32) -> Result<(), String> {
        let patient = Population::new(POPULATION).patient(u64::from(key));
        match self.0.pds().register(patient.json).await {
            Err(error) if error.is_conflict() => Ok(()),
            done => done.map(drop).map_err(|error| error.reason),
        }
    }
}

/// As an update from a practice is: one telephone number is another.
fn changed(fhir_json: &[u8], version: u32) -> Bytes {
    let Ok(mut patient) = serde_json::from_slice::<Value>(fhir_json) else {
        return Bytes::copy_from_slice(fhir_json);
    };
    patient["telecom"] = serde_json::json!([{
        "system": "phone",
        "use": "home",
        "value": format!("01632 {:06}", version % 1_000_000),
    }]);
    patient.to_string().into()
}

/// Every key has a routing key of its own: they spread over all shards.
fn name(key: u32) -> Key {
    Key::new(format!("bench{key:010}"), "v")
}

fn number(key: u32) -> String {
    Population::new(POPULATION).nhs_number(u64::from(key))
}
