//! What makes people and says who they are, in the document of `openapi.rs`.

use super::openapi::{FHIR, Fails, Operation, PDS, PLAIN, Place, READ_HEADERS, WRITE_HEADERS};

const RELATED: &[(u16, &str, &str)] = &[(200, FHIR, "RelatedPerson")];
const NOTHING: &[(u16, &str, &str)] = &[(204, "", "")];
const CREATE_HEADERS: &[&str] = &["X-Request-ID", "X-Correlation-ID", "X-Sync-Wait"];
const RESOURCE: &[&str] = &[FHIR, "application/json"];

/// Every operation of it.
pub(super) const PEOPLE: &[Operation] = &[
    Operation {
        place: PLAIN,
        method: "post",
        path: "/Patient",
        id: "create",
        summary: "A new patient under a new NHS Number, unless somebody is alike or meets If-None-Exist",
        parameters: &["X-Request-ID", "X-Correlation-ID", "X-Sync-Wait", "If-None-Exist"],
        body: RESOURCE,
        answers: &[(201, FHIR, "Patient"), (200, FHIR, "Patient")],
        fails: Fails::AsWrite,
    },
    Operation {
        place: PLAIN,
        method: "delete",
        path: "/Patient/{id}",
        id: "invalidate",
        summary: "Marks the record as invalid; its history stays",
        parameters: WRITE_HEADERS,
        body: &[],
        answers: NOTHING,
        fails: Fails::AsWrite,
    },
    Operation {
        place: PLAIN,
        method: "post",
        path: "/Patient/$merge",
        id: "merge",
        summary: "From now on one number answers for another",
        parameters: CREATE_HEADERS,
        body: RESOURCE,
        answers: &[(200, FHIR, "Parameters")],
        fails: Fails::AsWrite,
    },
    of_patient(PLAIN, "relatedOf"),
    of_patient(PDS, "pdsRelatedOf"),
    Operation {
        place: PLAIN,
        method: "get",
        path: "/RelatedPerson",
        id: "relatedSearch",
        summary: "The related persons of a patient",
        parameters: &["X-Request-ID", "X-Correlation-ID", "X-Sync-Wait", "patient"],
        body: &[],
        answers: &[(200, FHIR, "Bundle")],
        fails: Fails::AsRead,
    },
    Operation {
        place: PLAIN,
        method: "post",
        path: "/RelatedPerson",
        id: "relatedCreate",
        summary: "A new related person of the patient that it refers to",
        parameters: CREATE_HEADERS,
        body: RESOURCE,
        answers: &[(201, FHIR, "RelatedPerson")],
        fails: Fails::AsWrite,
    },
    Operation {
        place: PLAIN,
        method: "get",
        path: "/RelatedPerson/{id}",
        id: "relatedRead",
        summary: "The current version of a related person",
        parameters: READ_HEADERS,
        body: &[],
        answers: RELATED,
        fails: Fails::AsRead,
    },
    Operation {
        place: PLAIN,
        method: "put",
        path: "/RelatedPerson/{id}",
        id: "relatedUpdate",
        summary: "The next version of a related person",
        parameters: WRITE_HEADERS,
        body: RESOURCE,
        answers: RELATED,
        fails: Fails::AsWrite,
    },
    Operation {
        place: PLAIN,
        method: "delete",
        path: "/RelatedPerson/{id}",
        id: "relatedDelete",
        summary: "Removes a related person; its history stays",
        parameters: WRITE_HEADERS,
        body: &[],
        answers: NOTHING,
        fails: Fails::AsWrite,
    },
    Operation {
        place: PLAIN,
        method: "get",
        path: "/RelatedPerson/{id}/_history/{version}",
        id: "relatedVread",
        summary: "One version of a related person",
        parameters: READ_HEADERS,
        body: &[],
        answers: RELATED,
        fails: Fails::AsRead,
    },
    Operation {
        place: PDS,
        method: "post",
        path: "/Patient",
        id: "pdsCreate",
        summary: "A new patient under a new NHS Number; somebody alike is named instead",
        parameters: CREATE_HEADERS,
        body: RESOURCE,
        answers: &[(201, FHIR, "Patient"), (200, FHIR, "OperationOutcome")],
        fails: Fails::AsWrite,
    },
];

const fn of_patient(place: Place, id: &'static str) -> Operation {
    Operation {
        place,
        method: "get",
        path: "/Patient/{id}/RelatedPerson",
        id,
        summary: "The related persons of a patient",
        parameters: READ_HEADERS,
        body: &[],
        answers: &[(200, FHIR, "Bundle")],
        fails: Fails::AsRead,
    }
}
