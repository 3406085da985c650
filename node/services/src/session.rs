//! Sessions of callers that number their changes: what one carries, and the proof that the cluster opened it.

use bytes::Bytes;
use spine_proto::common::v1::SessionCall;
use spine_proto::records::v1::OpenSessionResponse;
use spine_proto::storage::v1::SessionSequence;
use spine_statemachine::key::{SUBJECT_BYTES, SubjectKey};
use spine_statemachine::request;

use crate::error::{ErrorKind, SpineError};
use crate::failure::Failure;
use crate::reason;

/// Bytes of a session's id.
pub const SESSION_ID_BYTES: usize = 16;

/// Opens a session: `entropy` is fresh, and `now_ms` by a clock that agrees with those of its peers.
#[must_use]
pub fn open(
    principal: &str,
    subject_key: &SubjectKey,
    entropy: &[u8; 32],
    now_ms: i64,
) -> OpenSessionResponse {
    let session_id = Bytes::copy_from_slice(&entropy[..SESSION_ID_BYTES]);
    let seal = seal(principal, subject_key, &session_id, now_ms);
    OpenSessionResponse {
        session_id,
        opened_ms: now_ms,
        seal: Bytes::copy_from_slice(&seal),
    }
}

/// The numbers of a session's call, whose seal is right. A forged time of opening could expire the sessions of others.
///
/// # Errors
/// `INVALID_SESSION`.
pub fn verified(
    call: &SessionCall,
    principal: &str,
    subject_key: &SubjectKey,
) -> Result<SessionSequence, SpineError> {
    if seal(principal, subject_key, &call.session_id, call.opened_ms) != call.seal[..] {
        let message = "the session was not opened by this principal in this cluster";
        return Err(
            SpineError::new(ErrorKind::Invalid, reason::INVALID_SESSION, message).with_field("session"),
        );
    }
    Ok(SessionSequence {
        opened_ms: call.opened_ms,
        sequence: call.sequence,
        floor: call.floor,
    })
}

/// Whether the fields of a call can be.
///
/// # Errors
/// `INVALID_SESSION`.
pub(crate) fn check(call: &SessionCall) -> Result<(), Failure> {
    let wrong = |message: &'static str| Err(Failure::invalid(reason::INVALID_SESSION, "session", message));
    if call.session_id.len() != SESSION_ID_BYTES || call.seal.len() != SUBJECT_BYTES {
        return wrong("session_id and seal have 16 bytes each");
    }
    if call.sequence == 0 || call.floor > call.sequence {
        return wrong("a sequence is at least 1 and not below its floor");
    }
    Ok(())
}

fn seal(principal: &str, subject_key: &SubjectKey, id: &[u8], opened_ms: i64) -> [u8; SUBJECT_BYTES] {
    let hash = request::hash(&[b"seal", principal.as_bytes(), id, &opened_ms.to_be_bytes()]);
    subject_key.seal(&hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(principal: &str, key: &SubjectKey) -> SessionCall {
        let opened = open(principal, key, &[7; 32], 1_000);
        SessionCall {
            session_id: opened.session_id,
            opened_ms: opened.opened_ms,
            seal: opened.seal,
            sequence: 3,
            floor: 2,
        }
    }

    #[test]
    fn what_the_cluster_opened_is_known_again() {
        let key = SubjectKey::new([1; 16]);
        let sequence = verified(&call("ann", &key), "ann", &key).unwrap();
        assert_eq!(
            (sequence.opened_ms, sequence.sequence, sequence.floor),
            (1_000, 3, 2)
        );
    }

    #[test]
    fn any_other_part_breaks_the_seal() {
        let key = SubjectKey::new([1; 16]);
        let good = call("ann", &key);
        let later = SessionCall {
            opened_ms: 1_001,
            ..good.clone()
        };
        let other = SessionCall {
            session_id: Bytes::from_static(&[8; 16]),
            ..good.clone()
        };
        for (call, principal, key) in [
            (&good, "bob", &key),
            (&later, "ann", &key),
            (&other, "ann", &key),
            (&good, "ann", &SubjectKey::new([2; 16])),
        ] {
            let error = verified(call, principal, key).err().unwrap();
            assert_eq!(error.reason, reason::INVALID_SESSION);
        }
    }
}
