//! The demographics service of the fake cluster: load, and the answers the facade must carry.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use spine_proto::common::v1::{Advice, Position};
use spine_proto::pds::v1 as pb;
use spine_proto::pds::v1::pds_service_server::PdsService;
use spine_proto::pds::v1::{
    HistoryRequest, HistoryResponse, LoadError, LoadOrganisationsRequest, LoadOrganisationsResponse,
    LoadRequest, LoadResponse, PatchRequest, PatchResponse, Patient, RegisterRequest, RegisterResponse,
    RetrieveRequest, RetrieveResponse, SearchRequest, SearchResponse, UpdateRequest, UpdateResponse,
    WatchRequest, WatchResponse,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Fake, Seat, refusal};

#[tonic::async_trait]
impl PdsService for Seat {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let request = request.into_inner();
        let reply = self.before(&request.request_id).await?;
        let patient = Some(Patient {
            nhs_number: "n".into(),
            version_id: 1,
            fhir_json: request.fhir_json,
            ..Patient::default()
        });
        self.after(
            reply,
            RegisterResponse {
                patient,
                replayed: false,
                position: position(),
            },
        )
        .await
    }

    async fn retrieve(
        &self,
        request: Request<RetrieveRequest>,
    ) -> Result<Response<RetrieveResponse>, Status> {
        let reply = self.before("retrieve").await?;
        let nhs_number = request.into_inner().nhs_number;
        let patient = Some(Patient {
            nhs_number,
            version_id: 3,
            fhir_json: "{}".into(),
            ..Patient::default()
        });
        self.after(
            reply,
            RetrieveResponse {
                patient,
                position: position(),
                ..RetrieveResponse::default()
            },
        )
        .await
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        let request = request.into_inner();
        let reply = self.before(&request.request_id).await?;
        if request.version_id != 3 {
            return Err(refusal(
                Code::Aborted,
                Advice::ReadAgain,
                "VERSION_MISMATCH",
                0,
                "",
            ));
        }
        let patient = Some(Patient {
            nhs_number: request.nhs_number,
            version_id: 4,
            fhir_json: request.fhir_json,
            ..Patient::default()
        });
        self.after(
            reply,
            UpdateResponse {
                patient,
                replayed: false,
                position: position(),
            },
        )
        .await
    }

    async fn patch(&self, request: Request<PatchRequest>) -> Result<Response<PatchResponse>, Status> {
        let request = request.into_inner();
        let reply = self.before(&request.request_id).await?;
        let patient = Some(Patient {
            nhs_number: request.nhs_number,
            version_id: request.version_id + 1,
            fhir_json: request.patch,
            ..Patient::default()
        });
        let answer = PatchResponse {
            patient,
            replayed: false,
            position: position(),
        };
        self.after(reply, answer).await
    }

    /// As many match as parameters are given; nobody a family called None, too many one called Many.
    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        let parameters = request.into_inner().parameters;
        let reply = self.before("search").await?;
        let says = |value: &str| {
            parameters
                .iter()
                .any(|one| one.name == "family" && one.value == value)
        };
        let found = |(at, _): (usize, &pb::SearchParameter)| pb::SearchMatch {
            patient: Some(Patient {
                nhs_number: "9990000018".to_owned(),
                version_id: 1,
                fhir_json: "{}".into(),
                ..Patient::default()
            }),
            score: if at == 0 { 10_000 } else { 8_500 },
        };
        let answer = SearchResponse {
            matches: if says("None") {
                Vec::new()
            } else {
                parameters.iter().enumerate().map(found).collect()
            },
            too_many: says("Many"),
            ..SearchResponse::default()
        };
        self.after(reply, answer).await
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryResponse>, Status> {
        let request = request.into_inner();
        let reply = self
            .before(&format!("history {}", request.before_version_id))
            .await?;
        let newest = if request.before_version_id == 0 {
            5
        } else {
            request.before_version_id - 1
        };
        let oldest = newest.saturating_sub(request.page_size - 1).max(1);
        let version = |version_id| Patient {
            nhs_number: "n".into(),
            version_id,
            fhir_json: "{}".into(),
            ..Patient::default()
        };
        let answer = HistoryResponse {
            versions: (oldest..=newest).rev().map(version).collect(),
            next_before_version_id: if oldest > 1 { oldest } else { 0 },
            position: position(),
        };
        self.after(reply, answer).await
    }

    /// Somebody alike is there for a body that says so.
    async fn allocate(
        &self,
        request: Request<pb::AllocateRequest>,
    ) -> Result<Response<pb::AllocateResponse>, Status> {
        let request = request.into_inner();
        let reply = self.before(&request.request_id).await?;
        let mut answer = pb::AllocateResponse {
            position: position(),
            ..pb::AllocateResponse::default()
        };
        if request.fhir_json == "alike" {
            answer.alike = vec!["9990000018".to_owned()];
        } else {
            answer.several = request.if_none.len() == 3;
            answer.existing = request.if_none.len() == 1;
            answer.patient = Some(Patient {
                nhs_number: "9990000026".to_owned(),
                version_id: 1,
                fhir_json: request.fhir_json,
                ..Patient::default()
            });
        }
        self.after(reply, answer).await
    }

    async fn merge(&self, _: Request<pb::MergeRequest>) -> Result<Response<pb::MergeResponse>, Status> {
        Err(Status::unimplemented("the fake knows nobody"))
    }

    async fn invalidate(
        &self,
        _: Request<pb::InvalidateRequest>,
    ) -> Result<Response<pb::InvalidateResponse>, Status> {
        Err(Status::unimplemented("the fake knows nobody"))
    }

    async fn set_sensitivity(
        &self,
        _: Request<pb::SetSensitivityRequest>,
    ) -> Result<Response<pb::SetSensitivityResponse>, Status> {
        Err(Status::unimplemented("the fake knows nobody"))
    }

    async fn notify_death(
        &self,
        request: Request<pb::NotifyDeathRequest>,
    ) -> Result<Response<pb::NotifyDeathResponse>, Status> {
        let request = request.into_inner();
        let reply = self.before(&request.request_id).await?;
        let patient = Some(Patient {
            nhs_number: request.nhs_number,
            version_id: request.version_id + 1,
            fhir_json: format!("{} {}", request.status, request.deceased).into(),
            ..Patient::default()
        });
        let answer = pb::NotifyDeathResponse {
            patient,
            replayed: false,
            position: position(),
        };
        self.after(reply, answer).await
    }

    async fn list_related(
        &self,
        _: Request<pb::ListRelatedRequest>,
    ) -> Result<Response<pb::ListRelatedResponse>, Status> {
        Err(Status::unimplemented("the fake knows nobody"))
    }

    async fn put_related(
        &self,
        _: Request<pb::PutRelatedRequest>,
    ) -> Result<Response<pb::PutRelatedResponse>, Status> {
        Err(Status::unimplemented("the fake knows nobody"))
    }

    async fn load_organisations(
        &self,
        request: Request<LoadOrganisationsRequest>,
    ) -> Result<Response<LoadOrganisationsResponse>, Status> {
        let organisations = request.into_inner().organisations.len() as u64;
        let reply = self.before("organisations").await?;
        self.after(reply, LoadOrganisationsResponse { organisations })
            .await
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    /// Says where it begins, gives one version and breaks, for ever. Cursors are numbers; that of 5 is no longer kept.
    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let cursor = request.into_inner().cursor;
        let reply = self.before(&format!("watch {cursor}")).await?;
        let from: u64 = cursor.parse().unwrap_or(1);
        if from == 5 {
            return Err(refusal(Code::Aborted, Advice::ReadAgain, "COMPACTED", 0, ""));
        }
        let mark = WatchResponse {
            cursor: from.to_string(),
            ..WatchResponse::default()
        };
        let patient = Patient {
            nhs_number: "n".into(),
            version_id: 1,
            fhir_json: "{}".into(),
            ..Patient::default()
        };
        let version = WatchResponse {
            patient: Some(patient),
            cursor: (from + 1).to_string(),
            position: Some(Position {
                shard: 1,
                index: from,
            }),
        };
        let events = vec![Ok(mark), Ok(version), Err(Status::unavailable("cut"))];
        let stream: Self::WatchStream = Box::pin(futures_util::stream::iter(events));
        self.after(reply, stream).await
    }

    type LoadStream = Pin<Box<dyn Stream<Item = Result<LoadResponse, Status>> + Send>>;

    /// Each batch takes one reply of the script.
    async fn load(
        &self,
        request: Request<Streaming<LoadRequest>>,
    ) -> Result<Response<Self::LoadStream>, Status> {
        let seat = self.clone();
        let answers = request.into_inner().then(move |batch| {
            let seat = seat.clone();
            async move {
                let reply = seat.before("load").await?;
                let answer = register_lines(&seat.fake, batch?);
                seat.after(reply, answer).await.map(Response::into_inner)
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A line that says `bad` is refused; one that says `later` is refused once for a passing reason.
fn register_lines(fake: &Fake, batch: LoadRequest) -> LoadResponse {
    let mut store = fake.store.lock();
    let mut answer = LoadResponse {
        last_line: 0,
        registered: 0,
        replayed: 0,
        errors: Vec::new(),
    };
    for line in batch.lines {
        answer.last_line = line.line;
        let error = |reason: &str| LoadError {
            line: line.line,
            reason: reason.into(),
            message: "m".into(),
        };
        let first_time = store.done.insert(format!("line {}", line.line), 0).is_none();
        if line.fhir_json == "bad" {
            answer.errors.push(error("INVALID_NHS_NUMBER"));
        } else if line.fhir_json == "later" && first_time {
            answer.errors.push(error("NOT_LEADER"));
        } else if store.lines.insert(line.line, line.fhir_json).is_some() {
            answer.replayed += 1;
        } else {
            answer.registered += 1;
        }
    }
    answer
}

fn position() -> Option<Position> {
    Some(Position { shard: 1, index: 1 })
}
