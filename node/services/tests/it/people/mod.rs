//! What makes a person and what changes who they are: over several shards, whatever order steps come in and wherever
//! one of those who carry them out dies.

mod allocation;
mod death;
mod levels;
mod marks;
mod merging;
mod new_patients;
mod plain_patients;
mod related;
mod sensitive;

use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context as Waking, Poll, Waker};

use bytes::Bytes;
use serde_json::{Value, json};
use spine_proto::pds::v1::{
    AllocateRequest, AllocateResponse, Patient, RegisterRequest, RegisterResponse, RetrieveRequest,
    RetrieveResponse,
};
use spine_services::SpineError;
use spine_services::pds::allocate::allocate;
use spine_services::pds::allocate::steps::Steps;
use spine_statemachine::key::{self, Family};

use super::harness::Shard;

/// A shard that stands for all, and whoever carries out steps on it.
pub(super) struct Cluster(Mutex<Shard>);

impl Cluster {
    fn new() -> Self {
        Self(Mutex::new(Shard::new()))
    }

    fn shard<T>(&self, with: impl FnOnce(&mut Shard) -> T) -> T {
        with(&mut self.0.lock().unwrap())
    }

    fn register(&self, patient: &Value) {
        let request = RegisterRequest {
            fhir_json: patient.to_string().into(),
            request_id: format!("register {}", patient["id"]),
            ..RegisterRequest::default()
        };
        let _: RegisterResponse = self.shard(|shard| shard.call("pds.register", &request).unwrap());
    }

    /// What a number answers with: a version, the number that answers for it, or a reason.
    fn read(&self, nhs_number: &str) -> Result<Patient, String> {
        let request = RetrieveRequest {
            nhs_number: nhs_number.to_owned(),
        };
        let read: Result<RetrieveResponse, SpineError> =
            self.shard(|shard| shard.call("pds.retrieve", &request));
        match read {
            Err(error) => Err(error.reason.into_owned()),
            Ok(read) => read.patient.ok_or(read.superseded_by),
        }
    }

    /// Records of a family, of one kind.
    fn count(&self, family: Family, kind: u8) -> usize {
        let of = |bytes: &[u8]| {
            key::parse(bytes).is_some_and(|parts| parts.family == family as u8 && parts.kind == kind)
        };
        self.shard(|shard| shard.store.records().iter().filter(|(key, _)| of(key)).count())
    }

    fn patients(&self) -> usize {
        self.count(Family::Pds, 1)
    }

    fn claims(&self) -> usize {
        self.count(Family::PdsClaim, 1)
    }

    /// As the caller would who sends the request and waits.
    fn allocate(&self, request: &AllocateRequest) -> Result<AllocateResponse, SpineError> {
        finish(self.allocating(request))
    }

    fn allocating<'a>(
        &'a self,
        request: &'a AllocateRequest,
    ) -> impl Future<Output = Result<AllocateResponse, SpineError>> + 'a {
        let (principal, now_ms) = self.shard(|shard| (shard.principal.clone(), shard.now_ms));
        async move { allocate(self, request, &principal, now_ms).await }
    }
}

impl Steps for Cluster {
    /// Others may come before; then it is done at once.
    async fn call(&self, operation: &'static str, request: Bytes) -> Result<Bytes, SpineError> {
        Others(false).await;
        self.shard(|shard| {
            for byte in &mut shard.entropy[..8] {
                *byte = byte.wrapping_mul(167).wrapping_add(13);
            }
            let counter = shard.entropy[31].wrapping_add(1);
            shard.entropy[31] = counter;
            shard.entropy[1] = counter;
            shard.call_bytes(operation, &request).map(Bytes::from)
        })
    }

    async fn every_shard(&self, operation: &'static str, request: Bytes) -> Result<Vec<Bytes>, SpineError> {
        self.call(operation, request).await.map(|answer| vec![answer])
    }

    async fn pause(&self, _: u64) -> Result<(), SpineError> {
        Others(false).await;
        Ok(())
    }
}

/// Lets others go on, once.
struct Others(bool);

impl Future for Others {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Waking<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        Poll::Pending
    }
}

/// One step.
fn step<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Waking::from_waker(Waker::noop()))
}

/// All steps.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..10_000 {
        if let Poll::Ready(output) = step(future.as_mut()) {
            return output;
        }
    }
    panic!("it does not end")
}

/// So many steps, and then death; false where it ended before.
fn die_after<F: Future>(future: F, steps: usize) -> bool {
    let mut future = pin!(future);
    (0..steps).all(|_| step(future.as_mut()).is_pending())
}

/// All of them side by side, in an order that the seed chooses.
fn interleave<F: Future>(running: impl IntoIterator<Item = F>, seed: u64) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = running.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for _ in 0..100_000 {
        let left: Vec<usize> = (0..running.len()).filter(|at| outputs[*at].is_none()).collect();
        if left.is_empty() {
            return outputs.into_iter().map(Option::unwrap).collect();
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = left[usize::try_from(random % left.len() as u64).unwrap()];
        if let Poll::Ready(output) = step(running[at].as_mut()) {
            outputs[at] = Some(output);
        }
    }
    panic!("it does not end")
}

const UK_CORE: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-";

/// What the national service's own example of a create says, in short.
fn newcomer() -> Value {
    json!({
        "resourceType": "Patient",
        "name": [{ "use": "usual", "given": ["Jane"], "family": "Edwards", "prefix": ["Mrs"], "period": { "start": "1986-07-01" } }],
        "address": [{ "line": ["1 Trevelyan Square", "Boar Lane", "", "Leeds"], "period": { "start": "2020-01-01" }, "postalCode": "LS1 6AE", "use": "home" }],
        "gender": "female",
        "birthDate": "1982-07-10",
        "extension": [{
            "url": format!("{UK_CORE}RegisteringAuthority"),
            "extension": [{ "url": "organisationIdentifier", "valueString": "RGS" }],
        }],
    })
}

fn request(patient: &Value, id: &str) -> AllocateRequest {
    AllocateRequest {
        fhir_json: patient.to_string().into(),
        request_id: id.to_owned(),
        national: true,
        ..AllocateRequest::default()
    }
}

/// The number that was given; panics where none was.
fn number(answer: Result<AllocateResponse, SpineError>) -> String {
    let answer = answer.unwrap();
    assert!(answer.alike.is_empty() && !answer.existing && !answer.several);
    answer.patient.unwrap().nhs_number
}

fn json_of(patient: &Patient) -> Value {
    serde_json::from_slice(&patient.fhir_json).unwrap()
}
