//! What there is to call.

use super::super::Dialect;
use super::people::PEOPLE;

pub(super) const FHIR: &str = "application/fhir+json";
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const JSON_PATCH: &str = "application/json-patch+json";
const PATIENT: &[(u16, &str, &str)] = &[(200, FHIR, "Patient")];

/// Where an operation is found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    In(Dialect),
    /// Beside the dialects.
    Root,
}

impl Place {
    pub(super) const fn base(self) -> &'static str {
        match self {
            Self::In(dialect) => dialect.base(),
            Self::Root => "",
        }
    }
}

/// What can go wrong with an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fails {
    Never,
    /// It says that the node is not ready.
    NotReady,
    AsRead,
    /// With a body.
    AsPostedRead,
    AsWrite,
}

/// One method of one path.
pub(super) struct Operation {
    pub(super) place: Place,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Names of query parameters and headers, see [`parameter`].
    pub(super) parameters: &'static [&'static str],
    /// Content types of the body.
    pub(super) body: &'static [&'static str],
    /// Status, content type and schema of what succeeds; no content type where there is no content.
    pub(super) answers: &'static [(u16, &'static str, &'static str)],
    pub(super) fails: Fails,
}

pub(super) const PLAIN: Place = Place::In(Dialect::Plain);
pub(super) const PDS: Place = Place::In(Dialect::Pds);
pub(super) const WRITE_HEADERS: &[&str] = &["X-Request-ID", "X-Correlation-ID", "X-Sync-Wait", "If-Match"];
pub(super) const READ_HEADERS: &[&str] = &["X-Request-ID", "X-Correlation-ID", "X-Sync-Wait"];

/// Every operation there is.
pub(super) fn operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().chain(PEOPLE)
}

/// Those that show and change what there is.
const OPERATIONS: &[Operation] = &[
    Operation {
        place: PLAIN,
        method: "get",
        path: "/Patient/{id}",
        id: "read",
        summary: "The current version of a patient",
        parameters: READ_HEADERS,
        body: &[],
        answers: PATIENT,
        fails: Fails::AsRead,
    },
    Operation {
        place: PLAIN,
        method: "put",
        path: "/Patient/{id}",
        id: "update",
        summary: "The next version of a patient, or the first one",
        parameters: WRITE_HEADERS,
        body: &[FHIR, "application/json"],
        answers: &[(200, FHIR, "Patient"), (201, FHIR, "Patient")],
        fails: Fails::AsWrite,
    },
    Operation {
        place: PLAIN,
        method: "patch",
        path: "/Patient/{id}",
        id: "patch",
        summary: "Changes parts of a patient: a JSON patch list or a JSON merge patch",
        parameters: WRITE_HEADERS,
        body: &[JSON_PATCH, "application/merge-patch+json"],
        answers: PATIENT,
        fails: Fails::AsWrite,
    },
    history(PLAIN, "history"),
    vread(PLAIN, "vread"),
    Operation {
        place: PLAIN,
        method: "get",
        path: "/_feed",
        id: "feed",
        summary: "Every version of every patient that is written, as server-sent events",
        parameters: &[
            "X-Request-ID",
            "X-Correlation-ID",
            "Last-Event-ID",
            "cursor",
            "shard",
        ],
        body: &[],
        answers: &[(200, "text/event-stream", "")],
        fails: Fails::AsRead,
    },
    Operation {
        place: PLAIN,
        method: "get",
        path: "/Patient",
        id: "search",
        summary: "Who is, or may be, the one searched for, or has one of these numbers; page by page",
        parameters: &[
            "X-Request-ID",
            "X-Correlation-ID",
            "X-Sync-Wait",
            "_id",
            "identifier",
            "search",
            "_count",
            "_page",
        ],
        body: &[],
        answers: &[(200, FHIR, "Bundle")],
        fails: Fails::AsRead,
    },
    Operation {
        place: PLAIN,
        method: "post",
        path: "/Patient/_search",
        id: "searchPosted",
        summary: "The same search with its parameters in the body",
        parameters: READ_HEADERS,
        body: &[FORM],
        answers: &[(200, FHIR, "Bundle")],
        fails: Fails::AsPostedRead,
    },
    Operation {
        place: PDS,
        method: "get",
        path: "/Patient/{id}",
        id: "pdsRead",
        summary: "The current version of a patient, without what a sensitive record hides",
        parameters: READ_HEADERS,
        body: &[],
        answers: PATIENT,
        fails: Fails::AsRead,
    },
    Operation {
        place: PDS,
        method: "patch",
        path: "/Patient/{id}",
        id: "pdsPatch",
        summary: "Changes parts of a patient, as the national service does: {\"patches\": [...]}",
        parameters: WRITE_HEADERS,
        body: &[JSON_PATCH],
        answers: PATIENT,
        fails: Fails::AsWrite,
    },
    Operation {
        place: PDS,
        method: "get",
        path: "/Patient",
        id: "pdsSearch",
        summary: "Who is, or may be, the one searched for",
        parameters: &["X-Request-ID", "X-Correlation-ID", "X-Sync-Wait", "search"],
        body: &[],
        answers: &[(200, FHIR, "Found")],
        fails: Fails::AsRead,
    },
    history(PDS, "pdsHistory"),
    vread(PDS, "pdsVread"),
    common(PLAIN, "/metadata", "metadata"),
    common(PLAIN, "/_ping", "ping"),
    common(PLAIN, "/_status", "status"),
    common(PDS, "/metadata", "pdsMetadata"),
    common(PDS, "/_ping", "pdsPing"),
    common(PDS, "/_status", "pdsStatus"),
    Operation {
        place: Place::Root,
        method: "get",
        path: "/openapi.json",
        id: "openapi",
        summary: "This document",
        parameters: &[],
        body: &[],
        answers: &[(200, "application/json", "Document")],
        fails: Fails::Never,
    },
    Operation {
        place: Place::Root,
        method: "get",
        path: "/docs",
        id: "docs",
        summary: "This document as a page",
        parameters: &[],
        body: &[],
        answers: &[(200, "text/html", "")],
        fails: Fails::Never,
    },
];

const fn history(place: Place, id: &'static str) -> Operation {
    Operation {
        place,
        method: "get",
        path: "/Patient/{id}/_history",
        id,
        summary: "The versions of a patient, newest first",
        parameters: &[
            "X-Request-ID",
            "X-Correlation-ID",
            "X-Sync-Wait",
            "_count",
            "_before",
        ],
        body: &[],
        answers: &[(200, FHIR, "Bundle")],
        fails: Fails::AsRead,
    }
}

const fn vread(place: Place, id: &'static str) -> Operation {
    Operation {
        place,
        method: "get",
        path: "/Patient/{id}/_history/{version}",
        id,
        summary: "One version of a patient",
        parameters: READ_HEADERS,
        body: &[],
        answers: PATIENT,
        fails: Fails::AsRead,
    }
}

/// What both dialects have.
const fn common(place: Place, path: &'static str, id: &'static str) -> Operation {
    let (summary, answers, fails): (_, &[_], _) = match path.as_bytes() {
        b"/metadata" => ("What works", &[(200, FHIR, "CapabilityStatement")], Fails::Never),
        b"/_ping" => (
            "The process answers",
            &[(200, "application/json", "Health")],
            Fails::Never,
        ),
        _ => (
            "Whether callers should come",
            &[(200, "application/json", "Health")],
            Fails::NotReady,
        ),
    };
    Operation {
        place,
        method: "get",
        path,
        id,
        summary,
        parameters: &[],
        body: &[],
        answers,
        fails,
    }
}
