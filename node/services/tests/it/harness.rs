//! One shard without Raft: plan, guards, apply, respond, in the order in which a leader does it.

use bytes::Bytes;
use prost::Message;
use spine_proto::ids::SLOTS;
use spine_proto::storage::v1::{Delete, Entry, Mutation, Put, SlotRange, SubTxn, Txn, entry, mutation};
use spine_services::operation::OperationSpec;
use spine_services::pds::search::backlog;
use spine_services::{
    Completed, Context, ErrorKind, Principal, SpineError, View, authorise, catalogue, reason, submit,
};
use spine_statemachine::apply::{Applied, SubOutcome, apply};
use spine_statemachine::frame;
use spine_statemachine::key::{SubjectKey, slots_owned};
use spine_statemachine::memory::MemoryStore;
use spine_statemachine::request;
use spine_statemachine::state::SystemState;
use spine_statemachine::{LevelRange, Rule};

/// The shard's number in answers.
pub(crate) const SHARD: u32 = 3;
/// 2026-01-01T00:00:00Z
pub(crate) const NEW_YEAR_2026_MS: i64 = 1_767_225_600_000;

/// A shard that owns every slot.
pub(crate) struct Shard {
    pub(crate) store: MemoryStore,
    pub(crate) state: SystemState,
    pub(crate) index: u64,
    pub(crate) now_ms: i64,
    pub(crate) principal: Principal,
    pub(crate) entropy: [u8; 32],
}

impl Shard {
    pub(crate) fn new() -> Self {
        let permissions = catalogue::permissions().into_iter().map(str::to_owned).collect();
        let mut shard = Self {
            store: MemoryStore::default(),
            state: SystemState::default(),
            index: 0,
            now_ms: NEW_YEAR_2026_MS,
            principal: Principal {
                id: "surgery-1".to_owned(),
                permissions,
            },
            entropy: [0; 32],
        };
        shard.state.level = LevelRange::RELEASE.max;
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
        shard.change(mutations);
        shard
    }

    /// As one whose first patients come below the level of search tokens.
    pub(crate) fn begins_at(&mut self, level: u32) {
        self.state.level = level;
        if !Rule::SEARCH_TOKENS.holds_at(level) {
            let delete = Delete {
                key: backlog::done_key(),
            };
            self.change(vec![Mutation {
                kind: Some(mutation::Kind::Delete(delete)),
            }]);
        }
    }

    /// Changes that no operation makes.
    pub(crate) fn change(&mut self, mutations: Vec<Mutation>) {
        let outcome = self.propose(SubTxn {
            mutations,
            ..SubTxn::default()
        });
        assert!(matches!(outcome, SubOutcome::Committed { .. }));
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            now_ms: self.now_ms,
            principal: self.principal.clone().into(),
            subject_key: SubjectKey::new([7; 16]),
            entropy: self.entropy,
        }
    }

    /// Runs an operation to its response.
    pub(crate) fn call<Response: Message + Default>(
        &mut self,
        operation: &str,
        request: &impl Message,
    ) -> Result<Response, SpineError> {
        let response = self.call_bytes(operation, &request.encode_to_vec().into())?;
        Ok(Response::decode(response.as_slice()).expect("responses decode"))
    }

    pub(crate) fn call_bytes(&mut self, operation: &str, request: &Bytes) -> Result<Vec<u8>, SpineError> {
        let spec = catalogue::find(operation).expect("the operation exists");
        authorise(&self.principal, spec)?;
        let completed = self.complete(spec, request)?;
        Ok((spec.respond)(&self.store, request, &completed, &self.context())?.to_vec())
    }

    fn complete(&mut self, spec: &OperationSpec, request: &Bytes) -> Result<Completed, SpineError> {
        let identity = (spec.identify)(request)?;
        let key = submit::request_key(
            spec,
            &identity,
            request,
            &self.principal,
            &self.context().subject_key,
        )?;
        if let Some(key) = &key {
            let seen = request::look(&self.store, &self.state, key).expect("memory is readable");
            if let Some((revision, outcome)) = submit::known(seen)? {
                return Ok(self.completed(revision, outcome, true));
            }
        }
        let mut view = View::new(&self.store).at_level(self.state.level);
        let plan = (spec.plan)(&mut view, request, &self.context())?;
        if plan.mutations.is_empty() {
            return Ok(self.completed(self.index, plan.outcome, false));
        }
        let outcome = plan.outcome.clone();
        let guards = view.into_guards();
        match self.propose(submit::sub_txn(plan, guards, key)?) {
            SubOutcome::Committed { revision } => Ok(self.completed(revision, outcome, false)),
            SubOutcome::Replayed { revision, outcome } => Ok(self.completed(revision, outcome, true)),
            SubOutcome::RequestIdReused => Err(submit::request_id_reused()),
            SubOutcome::SessionExpired => Err(submit::session_expired()),
            SubOutcome::TooLarge { limit } => Err(submit::broken_limit(limit)),
            SubOutcome::GuardFailed { .. } | SubOutcome::ForeignSlot { .. } => Err(SpineError::new(
                ErrorKind::Internal,
                reason::INTERNAL,
                "nothing else runs here",
            )),
        }
    }

    fn completed(&self, revision: u64, outcome: Bytes, replayed: bool) -> Completed {
        Completed {
            shard: SHARD,
            index: self.index,
            revision,
            outcome,
            replayed,
        }
    }

    /// Commits and applies one SubTxn at the next index.
    pub(crate) fn propose(&mut self, sub: SubTxn) -> SubOutcome {
        self.index += 1;
        let txn = Txn {
            subs: vec![sub],
            proposed_at_ms: self.now_ms,
        };
        let entry = Entry {
            kind: Some(entry::Kind::Txn(txn)),
        }
        .encode_to_vec();
        match apply(
            &mut self.store,
            &mut self.state,
            LevelRange::RELEASE,
            self.index,
            &entry[..],
        ) {
            Ok(Applied::Txn(mut outcomes)) => outcomes.pop().expect("one outcome for one SubTxn"),
            _ => panic!("the state machine halts"),
        }
    }
}

/// An error as a transcript shows it.
pub(crate) fn refusal(error: &SpineError) -> String {
    let mut text = format!(
        "refused: {} ({:?}, gRPC {})\n",
        error.reason,
        error.kind,
        error.grpc_code()
    );
    text += &format!("  {}\n", error.message);
    if !error.rule.is_empty() {
        text += &format!("  rule {}\n", error.rule);
    }
    if !error.field.is_empty() {
        text += &format!("  field {}\n", error.field);
    }
    text
}
