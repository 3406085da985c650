//! Every reason an error can name. Callers branch on these words, so none is ever renamed or given another meaning;
//! `docs/errors.md` is this table for people, and a test keeps the two equal.

use crate::error::ErrorKind;

/// A stable word, the kind of failure it belongs to, and what it means.
pub struct Reason {
    /// Upper-case word.
    pub word: &'static str,
    /// The kind every failure with this reason has.
    pub kind: ErrorKind,
    /// One sentence for `docs/errors.md`.
    pub meaning: &'static str,
}

macro_rules! reasons {
    ($($kind:ident { $($word:ident: $meaning:literal),+ $(,)? })+) => {
        $($(#[doc = $meaning] pub const $word: &str = stringify!($word);)+)+
        /// All reasons, by kind.
        pub const ALL: &[Reason] = &[
            $($(Reason { word: $word, kind: ErrorKind::$kind, meaning: $meaning },)+)+
        ];
    };
}

reasons! {
    Invalid {
        MALFORMED_REQUEST: "The request message cannot be decoded.",
        MALFORMED_KEY: "A routing key has 1 to 15 printable ASCII characters, a suffix at most 256 bytes.",
        INVALID_REQUEST_ID: "A request id has 1 to 64 bytes and is required for every change.",
        INVALID_SESSION: "A session's id, time and seal are those that this cluster gave this principal, and a sequence is not below its floor.",
        RECORD_TOO_LARGE: "A record has at most 2 MiB, a related person 64 KiB.",
        TXN_TOO_LARGE: "One change has at most 4 MiB.",
        OUTCOME_TOO_LARGE: "The outcome kept with a request id has at most 256 bytes.",
        TOO_MANY_GUARDS: "A commit has at most 128 guards.",
        TOO_MANY_MUTATIONS: "A commit has at most 128 mutations.",
        NO_MUTATIONS: "A commit has at least one mutation.",
        INCOMPLETE_GUARD: "A guard says either the revision or that the record is absent.",
        INCOMPLETE_MUTATION: "A mutation is either a put or a delete.",
        RANGE_TOO_LARGE: "More records would have to be guarded than one guard may cover.",
        PAGE_SIZE_OUT_OF_RANGE: "The page size is above its limit.",
        INVALID_PAGE_TOKEN: "The page token is not from an earlier page of the same list.",
        MISSING_VERSION_ID: "An update names the version it replaces.",
        INVALID_NHS_NUMBER: "An NHS Number has ten digits, the last of which checks the others.",
        MALFORMED_JSON: "The body is not JSON in UTF-8.",
        JSON_TOO_DEEP: "Arrays and objects are nested more than 32 deep.",
        DUPLICATE_MEMBER: "An object has two members of one name.",
        NUMBER_TOO_LONG: "A number has more than 64 characters.",
        INVALID_RESOURCE_TYPE: "The resource is not a Patient.",
        INVALID_VALUE: "A member does not have the JSON type that FHIR gives it.",
        ADDITIONAL_PROPERTIES: "The resource has a member that a PDS Patient does not have.",
        IDENTIFIER_MISMATCH: "An NHS Number in the resource differs from its id, or its id from the patient asked for.",
        MISSING_USUAL_NAME: "A patient has a usual name.",
        INVALID_BIRTH_DATE: "The birth date is missing, no date, or in the future.",
        INVALID_GENDER: "The gender is male, female, other or unknown.",
        INVALID_CURSOR: "The cursor of a feed is not one that this cluster gave, or not of the shard asked for.",
        LOAD_TOO_LARGE: "One message of a load has too many lines.",
        MALFORMED_PLAN: "The cluster asked for cannot be; the message says why.",
        TOKEN_TOO_LONG: "A join token is good for at most 7 days.",
        TIME_OUT_OF_RANGE: "Log time moves at most 400 days in one call.",
        INVALID_DECEASED: "The time of death is no time, in the future, or before birth.",
        INVALID_UPDATE: "The patch list cannot be carried out as it stands; the message says why.",
        INVALID_PATCH_OPERATION: "An operation of a patch is add, replace, remove or test.",
        MISSING_VALUE: "A header or member that is required is missing.",
        PRECONDITION_FAILED: "The header If-Match is required here, in the form W/\"3\".",
        UNSUPPORTED_SERVICE: "There is nothing at this path.",
        METHOD_NOT_ALLOWED: "The resource at this path has no such method.",
        UNSUPPORTED_MEDIA_TYPE: "The content type is not one that is understood here.",
        INVALID_SEARCH_DATA: "The parameters of a search are malformed, do not go together, or are not enough.",
        INVALID_CREATE: "What is said of a new patient is not acceptable; the message says why.",
        TOO_MANY_VALUES: "There are more of a kind than a record takes.",
        ANSWER_TOO_LARGE: "The answer would be larger than one answer may be; ask for less at once.",
        REQUEST_TIMED_OUT: "The request did not arrive in time; nothing happened.",
    }
    Unauthenticated {
        UNAUTHENTICATED: "The caller is not known.",
    }
    Forbidden {
        FORBIDDEN: "The caller lacks the permission that the message names.",
        INTERNAL_OPERATION: "The operation is a part of others, and nodes alone call it.",
        ACCESS_DENIED: "A patient reaches no record but their own, and only parts of it.",
        INVALID_METHOD: "An application without a user behind it changes nothing.",
        SEARCH_NOT_SINGLE: "An application without a user behind it searches for one patient, with _max-results 1.",
        FORBIDDEN_UPDATE: "The patch is well formed, and this caller may not make such a change.",
    }
    NotFound {
        NO_SUCH_NODE: "The cluster has no node of this number.",
        NO_SUCH_REPLICA: "The node hosts no replica of this shard.",
        PATIENT_NOT_FOUND: "There is no patient with this NHS Number.",
        VERSION_NOT_FOUND: "The patient has no such version.",
        RELATED_NOT_FOUND: "The patient has no such related person.",
        INVALIDATED_RESOURCE: "The record was marked as invalid and is not shown.",
    }
    AlreadyExists {
        CLUSTER_EXISTS: "The node belongs to a cluster of other nodes.",
        PATIENT_EXISTS: "There is a patient with this NHS Number.",
        NUMBER_TAKEN: "The NHS Number that was drawn is taken, or was given up; between nodes only.",
        SINGLE_MATCH: "Somebody alike has an NHS Number, so no new one was given.",
        MULTIPLE_MATCHES: "Several patients are alike, so no new number was given.",
    }
    Conflict {
        NODE_REMOVED: "The node was given up for good; it joins anew with an empty data directory.",
        NODE_HEARD: "The node is heard, so it is not given up: `spinectl node decommission` empties a living one; or stop it first.",
        QUORUM_AT_RISK: "A shard would be left with too few replicas on nodes that are heard; the message says which.",
        QUORUM_POSSIBLE: "Another node is heard, or the nodes named have a majority of every shard: no new incarnation of the cluster is begun.",
        INCARNATION_BEGUN: "The node is in this or a later incarnation of the cluster already, or has the order to begin it.",
        NOT_HELD: "The node is not held, so it neither begins a new incarnation of the cluster nor has anything to release.",
        DATA_LOSS_NOT_ACCEPTED: "A new incarnation of the cluster loses what only lost nodes had, and nobody has accepted that.",
        NO_ROOM: "No other node can take a replica of a shard that the message names.",
        NOT_EXECUTED: "The caller asked what became of a change: it did not take effect, and no try of it under its id ever will.",
        GUARD_FAILED: "A guard of the commit does not hold; the message says which.",
        COMPACTED: "Changes from this index on are no longer kept by any replica asked; list, then watch from there (patients: watch from `start`).",
        PATIENT_SUPERSEDED: "The number was merged into another, which a read of it answers with.",
        CRITERIA_NOT_SINGLE: "Several patients meet the criteria of a conditional create, so nothing was created.",
        VERSION_MISMATCH: "The version named is not the current one, which the message names.",
    }
    SessionExpired {
        SESSION_EXPIRED: "The session is forgotten: nothing was executed now; open another, and if an earlier try had no answer, its outcome is unknown.",
    }
    RequestIdReused {
        REQUEST_ID_REUSED: "The request id was used before with another body.",
    }
    RateLimited {
        SESSION_FULL: "The session has 128 calls in this shard that may still be sent again; raise its floor or open another.",
        CONTENDED: "Others changed the same records at every try.",
        BUSY: "Too many calls wait for the same record or node.",
        TOO_MANY_WATCHES: "The node serves as many watches as it may.",
    }
    Unavailable {
        CLOCK_NOT_AGREED: "The clock of this node does not agree with those of its peers, so it opens no sessions.",
        META_UNAVAILABLE: "Nobody who leads the meta group was found in time; the change may have been made, and may be asked for again.",
        NO_LEADER: "No leader of the shard answers.",
        NOT_INITIALISED: "The cluster has no shape yet.",
        NODE_UNREACHABLE: "A node of the cluster to be does not answer.",
        NODE_REFUSED: "A node refused to become part of the cluster; the message says why.",
        DISK_STALLED: "The disk of the node that would write does not answer; another node takes over.",
        DISK_FULL: "The disk of the node that would write is full; another node takes over, if one has room.",
        INDEX_NOT_READY: "Patients who were written before the upgrade are still being made findable, and a search is complete or an error.",
        LEVEL_NOT_POSSIBLE: "The shard cannot follow the rules of this level yet; the message says what is in the way.",
        REPLICA_STOPPED: "The replica on this node has stopped.",
        DRAINING: "The node is stopping; another one goes on.",
        WATCH_FELL_BEHIND: "Changes that the watch was still to show are no longer in this replica's feed; watch again from the index in the message.",
        WATCH_OUT_OF_TOUCH: "This replica does not hear its leader; watch again from the index in the message, at another node.",
    }
    NotLeader {
        WATCH_ELSEWHERE: "This node cannot show the changes from this index on; the detail names one that can.",
        NOT_LEADER: "This node does not lead the shard; the detail names who may.",
    }
    OutcomeUnknown {
        OUTCOME_UNKNOWN: "The change may or may not have happened; the same request id tells.",
    }
    Unsupported {
        UNKNOWN_OPERATION: "This node has no operation of this name; a newer one may.",
        LEVEL_TOO_LOW: "Older releases would misread what this writes, and may still lead: it waits for `spinectl upgrade finalize`.",
    }
    Corrupt {
        STORE_DAMAGED: "This replica cannot read what it holds.",
    }
    DeadlineExceeded {
        DEADLINE_EXCEEDED: "The caller's time ran out before anything was proposed.",
    }
    Internal {
        INTERNAL: "A fault of Spine's own; the log of the node says more.",
        MALFORMED_FAILURE: "A failure sent by another node cannot be decoded.",
    }
}

/// The entry of this word.
pub fn find(word: &str) -> Option<&'static Reason> {
    ALL.iter().find(|reason| reason.word == word)
}
