//! Altering one replica on purpose, so that tests see how that is noticed.

use spine_proto::admin::v1 as pb;
use spine_proto::storage::v1 as storage;
use spine_services::{ErrorKind, SpineError};
use spine_statemachine::frame;
use spine_statemachine::store::OrderedRead as _;

use crate::node::Inner;
use crate::shard::proposals::txn_entry;

fn damaged(message: impl Into<String>) -> SpineError {
    SpineError::new(ErrorKind::Corrupt, "STORE_DAMAGED", message)
}

impl Inner {
    /// Alters a record of this node's own replica behind the log's back.
    ///
    /// # Errors
    /// `FORBIDDEN` without `development.tamper`; a malformed key, or no such record.
    pub fn tamper_replica(
        &self,
        request: &pb::TamperReplicaRequest,
    ) -> Result<pb::TamperReplicaResponse, SpineError> {
        if !(self.config.security.is_development() && self.config.development.tamper) {
            let why = "replicas are altered in development mode only, with development.tamper";
            return Err(SpineError::new(ErrorKind::Forbidden, "FORBIDDEN", why));
        }
        let (shard, key) = self.locate(&request.routing_key, &request.suffix)?;
        let shard = self.shard_here(shard)?;
        let store = shard.group.store();
        let found = store
            .read(|view| view.get(&key))
            .map_err(|error| damaged(error.to_string()))?;
        let record = found
            .map_err(|error| damaged(error.to_string()))?
            .ok_or_else(|| SpineError::new(ErrorKind::Invalid, "MALFORMED_KEY", "there is no such record"))?;
        let put = storage::Put {
            key,
            value: frame::encode(&request.value),
            schema: record.schema,
        };
        let sub = storage::SubTxn {
            mutations: vec![storage::Mutation {
                kind: Some(storage::mutation::Kind::Put(put)),
            }],
            ..storage::SubTxn::default()
        };
        store
            .tamper(&txn_entry(vec![sub], 0))
            .map_err(|error| damaged(error.to_string()))?;
        Ok(pb::TamperReplicaResponse {
            applied_index: store.applied().map_or(0, |id| id.index),
        })
    }
}
