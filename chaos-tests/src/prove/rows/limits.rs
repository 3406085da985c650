//! Each misuse has its own code and reason.

use std::fmt;
use std::time::Duration;

use prost::Message;
use serde::Serialize;
use spine_proto::common::v1::ErrorDetail;
use spine_proto::pds::v1::pds_service_client::PdsServiceClient;
use spine_proto::pds::v1::{RegisterRequest, RetrieveRequest, UpdateRequest};
use spine_proto::records::v1::records_service_client::RecordsServiceClient;
use spine_proto::records::v1::{CommitRequest, GetRequest, Mutation, RecordKey, mutation};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::support::{block_on, cluster};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "limits",
    issue: 2,
    claim: "a record over 2 MiB, a malformed key, a wrong NHS Number, a stale version and a reused request id \
            each have their own gRPC code and reason",
    target: "every case on every node as listed in docs/errors.md",
    run,
};

const RECORD_BYTES_MAX: usize = 2 << 20;
/// A number of the range that is never issued, with its check digit, and the same with a wrong one.
const NHS_NUMBER: &str = "9990000018";
const NHS_NUMBER_WRONG: &str = "9990000019";

#[derive(Default, Serialize)]
struct Measured {
    cases: u32,
    wrong: Vec<String>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} cases as expected",
            self.cases - u32::try_from(self.wrong.len()).unwrap_or(0),
            self.cases
        )?;
        if self.wrong.is_empty() {
            Ok(())
        } else {
            write!(f, "; wrong: {}", self.wrong.join(", "))
        }
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.cases > 0 && self.wrong.is_empty()
    }
}

impl Measured {
    fn expect<T>(&mut self, case: &str, answer: Result<T, Status>, code: Code, reason: &str) {
        self.cases += 1;
        let found = match answer {
            Ok(_) => "no error".to_owned(),
            Err(status) => {
                let detail = ErrorDetail::decode(status.details()).unwrap_or_default();
                if status.code() == code && detail.reason == reason {
                    return;
                }
                format!("{:?} {}", status.code(), detail.reason)
            }
        };
        self.wrong
            .push(format!("{case}: {found}, expected {code:?} {reason}"));
    }

    fn expect_ok<T>(&mut self, case: &str, answer: Result<T, Status>) -> Option<T> {
        self.cases += 1;
        answer
            .map_err(|status| self.wrong.push(format!("{case}: {status}")))
            .ok()
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    block_on(async move {
        let cluster = cluster(context).await?;
        let mut measured = Measured::default();
        for node in 0..cluster.nodes() {
            let uri = format!("http://{}", cluster.grpc(node));
            let endpoint = Channel::from_shared(uri).map_err(|error| RowError::because(error.to_string()))?;
            let channel = endpoint.timeout(Duration::from_secs(10)).connect().await;
            let channel = channel.map_err(|error| RowError::because(error.to_string()))?;
            records(&mut measured, RecordsServiceClient::new(channel.clone()), node).await;
            patients(&mut measured, PdsServiceClient::new(channel), node).await;
        }
        Finding::of(&measured)
    })
}

async fn records(measured: &mut Measured, mut node: RecordsServiceClient<Channel>, number: usize) {
    let id = |case: &str| format!("limits-{number}-{case}");
    let largest = commit("limits", RECORD_BYTES_MAX, 1, &id("largest"));
    measured.expect_ok("a record of 2 MiB", node.commit(largest).await);
    let larger = commit("limits", RECORD_BYTES_MAX + 1, 1, &id("larger"));
    measured.expect(
        "a record over 2 MiB",
        node.commit(larger).await,
        Code::InvalidArgument,
        "RECORD_TOO_LARGE",
    );
    for routing_key in ["", "with space", "sixteen-letters!", "n\u{e4}me"] {
        let key = RecordKey {
            routing_key: routing_key.to_owned(),
            suffix: bytes::Bytes::new(),
        };
        let answer = node.get(GetRequest { key: Some(key) }).await;
        measured.expect("a malformed key", answer, Code::InvalidArgument, "MALFORMED_KEY");
    }
    let first = commit("limits", 16, 1, &id("reused"));
    measured.expect_ok("a first use of a request id", node.commit(first.clone()).await);
    let again = measured.expect_ok("the same request again", node.commit(first).await);
    if again.is_some_and(|answer| !answer.into_inner().replayed) {
        measured
            .wrong
            .push("the same request again was not replayed".to_owned());
    }
    let other = commit("limits", 16, 2, &id("reused"));
    let answer = node.commit(other).await;
    measured.expect(
        "a reused request id",
        answer,
        Code::FailedPrecondition,
        "REQUEST_ID_REUSED",
    );
}

fn commit(routing_key: &str, len: usize, fill: u8, request_id: &str) -> CommitRequest {
    let put = mutation::Put {
        suffix: "limits".into(),
        value: vec![fill; len].into(),
    };
    CommitRequest {
        routing_key: routing_key.to_owned(),
        guards: Vec::new(),
        mutations: vec![Mutation {
            kind: Some(mutation::Kind::Put(put)),
        }],
        request_id: request_id.to_owned(),
        session: None,
    }
}

async fn patients(measured: &mut Measured, mut node: PdsServiceClient<Channel>, number: usize) {
    let wrong = RetrieveRequest {
        nhs_number: NHS_NUMBER_WRONG.to_owned(),
    };
    let answer = node.retrieve(wrong).await;
    measured.expect(
        "a wrong NHS Number",
        answer,
        Code::InvalidArgument,
        "INVALID_NHS_NUMBER",
    );
    let id = |case: &str| format!("limits-{number}-{case}");
    let register = RegisterRequest {
        fhir_json: patient("Ann").into(),
        request_id: id("register"),
        session: None,
        return_minimal: false,
    };
    // The patient is there from the node before; this node must know it.
    let registered = node.register(register).await;
    let version = if number == 0 {
        measured.expect_ok("a registration", registered);
        1
    } else {
        measured.expect(
            "a second registration",
            registered,
            Code::AlreadyExists,
            "PATIENT_EXISTS",
        );
        u32::try_from(number).unwrap_or(0) + 1
    };
    let update = |version_id, given: &str, request_id| UpdateRequest {
        nhs_number: NHS_NUMBER.to_owned(),
        version_id,
        fhir_json: patient(given).into(),
        request_id,
        session: None,
        return_minimal: false,
        ..UpdateRequest::default()
    };
    let given = format!("Ann-{number}");
    let first = node.update(update(version, &given, id("update"))).await;
    measured.expect_ok("an update of the current version", first);
    let stale = node.update(update(version, &given, id("stale"))).await;
    measured.expect("a stale version", stale, Code::Aborted, "VERSION_MISMATCH");
}

fn patient(given: &str) -> Vec<u8> {
    let resource = serde_json::json!({
        "resourceType": "Patient",
        "id": NHS_NUMBER,
        "identifier": [{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": NHS_NUMBER}],
        "name": [{"id": "n1", "use": "usual", "family": "Example", "given": [given]}],
        "gender": "female",
        "birthDate": "1970-01-01"
    });
    resource.to_string().into_bytes()
}
