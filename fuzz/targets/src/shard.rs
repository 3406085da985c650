//! A shard with a few patients, without Raft: what an operation plans is applied as a replica would.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use spine_proto::ids::{NhsNumber, SLOTS};
use spine_proto::pds::v1::RegisterRequest;
use spine_proto::storage::v1::{Entry, Mutation, PatientRow, Put, SlotRange, SubTxn, Txn, entry, mutation};
use spine_services::operation::OperationSpec;
use spine_services::pds::search::backlog;
use spine_services::{Completed, Context, Failure, Plan, Principal, View, catalogue, submit};
use spine_statemachine::LevelRange;
use spine_statemachine::apply::{Applied, SubOutcome, apply};
use spine_statemachine::frame;
use spine_statemachine::key::{self, Family, PATIENT_KIND, SubjectKey, slots_owned};
use spine_statemachine::memory::MemoryStore;
use spine_statemachine::state::SystemState;
use spine_statemachine::store::OrderedRead as _;

/// 2026-01-01T00:00:00Z
const NOW_MS: i64 = 1_767_225_600_000;

pub(crate) struct Shard {
    pub(crate) store: MemoryStore,
    state: SystemState,
    index: u64,
}

impl Shard {
    /// With these patients.
    pub(crate) fn with(patients: &[&str]) -> Self {
        let mut shard = Self {
            store: MemoryStore::default(),
            state: SystemState::default(),
            index: 0,
        };
        let slots = SlotRange {
            first: 0,
            last: u32::from(SLOTS) - 1,
        };
        let put = Put {
            key: slots_owned(),
            value: frame::encode(&slots.encode_to_vec()),
            schema: 1,
        };
        let mut mutations = vec![Mutation {
            kind: Some(mutation::Kind::Put(put)),
        }];
        mutations.extend(backlog::done());
        shard.apply(SubTxn {
            mutations,
            ..SubTxn::default()
        });
        for (patient, number) in patients.iter().zip(0..) {
            let request = RegisterRequest {
                fhir_json: Bytes::copy_from_slice(patient.as_bytes()),
                request_id: format!("{number}"),
                ..RegisterRequest::default()
            };
            let request = Bytes::from(request.encode_to_vec());
            let (plan, guards) = shard.plan("pds.register", &request);
            let planned = plan.is_ok_and(|plan| shard.carry_out(plan, guards));
            assert!(planned, "the patient is within the rules");
        }
        shard
    }

    pub(crate) fn context() -> Context {
        let principal = Principal {
            id: "fuzz".to_owned(),
            permissions: catalogue::permissions().into_iter().map(str::to_owned).collect(),
        };
        Context {
            now_ms: NOW_MS,
            principal: Arc::new(principal),
            subject_key: SubjectKey::new([7; 16]),
            entropy: [0; 32],
        }
    }

    fn spec(operation: &str) -> &'static OperationSpec {
        catalogue::find(operation).expect("the operation exists")
    }

    /// What an operation would do, and what that rests on.
    pub(crate) fn plan(
        &self,
        operation: &str,
        request: &Bytes,
    ) -> (Result<Plan, Failure>, Vec<spine_proto::storage::v1::Guard>) {
        let mut view = View::new(&self.store).at_level(LevelRange::RELEASE.max);
        let plan = (Self::spec(operation).plan)(&mut view, request, &Self::context());
        (plan, view.into_guards())
    }

    /// Applies a plan; true where it took effect as a whole.
    pub(crate) fn carry_out(&mut self, plan: Plan, guards: Vec<spine_proto::storage::v1::Guard>) -> bool {
        let Ok(sub) = submit::sub_txn(plan, guards, None) else {
            return false;
        };
        matches!(self.apply(sub), Some(SubOutcome::Committed { .. }))
    }

    /// The response, on what is stored now.
    pub(crate) fn respond(&self, operation: &str, request: &Bytes, outcome: Bytes) -> Result<Bytes, Failure> {
        let completed = Completed {
            shard: 1,
            index: self.index,
            revision: self.index,
            outcome,
            replayed: false,
        };
        (Self::spec(operation).respond)(&self.store, request, &completed, &Self::context())
    }

    /// The current version of a patient, as it is stored.
    pub(crate) fn patient(&self, number: &str) -> Bytes {
        let number = NhsNumber::parse(number).expect("an NHS Number").routing_key();
        let key = key::encode(
            Family::Pds,
            &Self::context().subject_key,
            &number,
            PATIENT_KIND,
            &[],
        );
        let record = self.store.get(&key).expect("memory is readable");
        let value = record.expect("the patient is there").value;
        let row = frame::decode(&value).ok();
        let row = row.and_then(|plain| PatientRow::decode(plain).ok());
        row.expect("a row").fhir_json
    }

    fn apply(&mut self, sub: SubTxn) -> Option<SubOutcome> {
        self.index += 1;
        let txn = Txn {
            subs: vec![sub],
            proposed_at_ms: NOW_MS,
        };
        let entry = Entry {
            kind: Some(entry::Kind::Txn(txn)),
        };
        let entry = entry.encode_to_vec();
        match apply(
            &mut self.store,
            &mut self.state,
            LevelRange::RELEASE,
            self.index,
            &entry[..],
        ) {
            Ok(Applied::Txn(mut outcomes)) => outcomes.pop(),
            _ => None,
        }
    }
}
