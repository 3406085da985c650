//! Clients of FHIR over HTTP/1.1 that do what `docs/api/pds.md` tells them: a call that was cut is sent again with the same
//! request id, to the next node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;
use spine_client::options::{SLOW_CALL, SLOW_CALL_TARGET};
use spine_client::population::Population;
use spine_proto::ids::NhsNumber;

use super::load::Client;
use crate::http::{Call, Caller};
use crate::processes::Cluster;

/// The patients of these clients.
const POPULATION: u64 = 11;
/// Keys of one client, at most.
const KEYS: u64 = 100;
const SLOTS: u64 = 16_384;
/// Where a value stands in a patient.
const EXTENSION: &str = "https://example.org/value";
/// The same, for a patch.
const VALUE_PATH: &str = "/extension/0/valueString";

/// How a client changes a patient that it has created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changes {
    /// The whole patient is sent (PUT).
    Whole,
    /// What differs is sent (PATCH).
    Part,
}

/// What befell the clients besides answers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Befell {
    /// Calls that were under way when their connection broke; each was sent again.
    pub cut: u64,
    /// Answers 429 and 503; each was sent again.
    pub put_off: u64,
}

struct Fhir {
    number: u64,
    caller: Caller,
    calls: u64,
    shards: u64,
    deadline: Duration,
    changes: Changes,
    /// Patients that are there.
    created: BTreeSet<String>,
    befell: Arc<Mutex<Befell>>,
}

impl Fhir {
    /// The patient that stands for this key, and its shard.
    fn patient(&self, key: &str) -> (String, u32) {
        let last = key.rsplit('-').next().and_then(|text| text.parse().ok());
        let index = self.number * KEYS + last.unwrap_or(0);
        let nhs_number = Population::new(POPULATION).nhs_number(index);
        let slot = NhsNumber::parse(&nhs_number).map_or(0, |number| number.routing_key().slot().get());
        // Slots are spread evenly over the shards, which are counted from 1.
        let shard = (u64::from(slot) * self.shards) / SLOTS + 1;
        (nhs_number, u32::try_from(shard).unwrap_or(0))
    }

    async fn ask(&mut self, call: &Call, shard: u32) -> Result<crate::http::Answer, String> {
        let (before, began) = (self.caller.mishaps, Instant::now());
        let answer = self.caller.ask(call, self.deadline).await;
        let after = self.caller.mishaps;
        let took = began.elapsed();
        if took >= SLOW_CALL {
            // As the client library tells of its own; the time is for the logs of the nodes.
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let (node, cut) = (self.caller.node(), after.cut - before.cut);
            let tries = format!(
                "shard {shard} at {node}, {cut} cut, ended {} ms since 1970",
                since.as_millis()
            );
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(target: SLOW_CALL_TARGET, ms, %tries, "slow call");
        }
        let mut befell = self.befell.lock();
        befell.cut += after.cut - before.cut;
        befell.put_off += after.put_off - before.put_off;
        answer
    }
}

#[async_trait]
impl Client for Fhir {
    async fn put(&mut self, key: &str, value: Bytes) -> Result<u32, String> {
        let (nhs_number, shard) = self.patient(key);
        self.calls += 1;
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        let call = match self.changes {
            Changes::Part if self.created.contains(&nhs_number) => part(&nhs_number, &hex),
            Changes::Whole | Changes::Part => whole(&nhs_number, &hex),
        };
        let call = call.header(
            "x-request-id",
            format!("{:08x}-0000-4000-8000-{:012x}", self.number, self.calls),
        );
        let answer = self.ask(&call, shard).await?;
        match answer.status {
            200 | 201 => {
                self.created.insert(nhs_number);
                Ok(shard)
            }
            status => Err(format!("{} answered {status}", call.method)),
        }
    }

    async fn get(&mut self, key: &str) -> Result<(u32, Option<Bytes>), String> {
        let (nhs_number, shard) = self.patient(key);
        let call = Call::get(format!("/fhir/R4/Patient/{nhs_number}"));
        let answer = self.ask(&call, shard).await?;
        match answer.status {
            200 => {
                let patient = answer.json();
                let hex = patient["extension"][0]["valueString"]
                    .as_str()
                    .unwrap_or_default();
                Ok((shard, Some(bytes_of(hex))))
            }
            404 => Ok((shard, None)),
            status => Err(format!("GET answered {status}")),
        }
    }
}

/// Creates the patient, or replaces it.
fn whole(nhs_number: &str, hex: &str) -> Call {
    let body = json!({
        "resourceType": "Patient",
        "id": nhs_number,
        "name": [{ "id": "1", "use": "usual", "family": "Example" }],
        "gender": "female",
        "birthDate": "1980-05-17",
        "extension": [{ "url": EXTENSION, "valueString": hex }],
    });
    Call::get(format!("/fhir/R4/Patient/{nhs_number}"))
        .header("content-type", "application/fhir+json")
        .with("PUT", body.to_string())
}

/// Changes the value of one that is there.
fn part(nhs_number: &str, hex: &str) -> Call {
    let patches = json!([{ "op": "replace", "path": VALUE_PATH, "value": hex }]);
    Call::get(format!("/fhir/R4/Patient/{nhs_number}"))
        .header("content-type", "application/json-patch+json")
        .with("PATCH", patches.to_string())
}

fn bytes_of(hex: &str) -> Bytes {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// As many clients as asked for, all knowing all nodes; each begins with another one.
pub(super) fn clients(
    cluster: &Cluster,
    count: usize,
    deadline: Duration,
) -> (Vec<Box<dyn Client>>, Arc<Mutex<Befell>>) {
    clients_that(Changes::Whole, cluster, count, deadline)
}

/// The same, but they patch what they have created.
pub(super) fn patching_clients(
    cluster: &Cluster,
    count: usize,
    deadline: Duration,
) -> (Vec<Box<dyn Client>>, Arc<Mutex<Befell>>) {
    clients_that(Changes::Part, cluster, count, deadline)
}

fn clients_that(
    changes: Changes,
    cluster: &Cluster,
    count: usize,
    deadline: Duration,
) -> (Vec<Box<dyn Client>>, Arc<Mutex<Befell>>) {
    let befell = Arc::<Mutex<Befell>>::default();
    let clients = (0..count).map(|number| {
        Box::new(Fhir {
            number: number as u64,
            caller: Caller::new(cluster.http().to_vec(), number),
            calls: 0,
            shards: u64::from(cluster.shards()),
            deadline,
            changes,
            created: BTreeSet::new(),
            befell: Arc::clone(&befell),
        }) as Box<dyn Client>
    });
    (clients.collect(), befell)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_patch_hits_where_the_value_of_a_patient_stands() {
        let json = |call: &Call| serde_json::from_slice::<Value>(&call.body).unwrap();
        let whole = json(&whole("9990000018", "0a"));
        let part = json(&part("9990000018", "0b"));
        assert_eq!(whole.pointer(VALUE_PATH), Some(&Value::from("0a")));
        assert_eq!(part[0]["value"], "0b");
    }
}
