//! The record store of the fake cluster: one shard, work done once for each request id.

use std::pin::Pin;

use futures_util::Stream;
use spine_proto::common::v1::{Advice, Position};
use spine_proto::records::v1::records_service_server::RecordsService;
use spine_proto::records::v1::{
    Change, CommitRequest, CommitResponse, GetRequest, GetResponse, ListRequest, ListResponse,
    OpenSessionRequest, OpenSessionResponse, Record, RecordKey, WatchRequest, WatchResponse,
    guard::Condition, mutation::Kind,
};
use tonic::{Code, Request, Response, Status};

use super::{Reply, Seat, Store, refusal};

#[tonic::async_trait]
impl RecordsService for Seat {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let reply = self.before("get").await?;
        let key = request.into_inner().key.expect("a key");
        let answer = {
            let store = self.fake.store.lock();
            let found = store
                .values
                .get(&(key.routing_key.clone(), key.suffix.to_vec()))
                .cloned();
            let record = found.map(|(revision, value)| Record {
                key: Some(key),
                revision,
                value: store.reads_as.clone().unwrap_or(value),
            });
            GetResponse {
                record,
                position: position(&store),
            }
        };
        self.after(reply, answer).await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let reply = self.before("list").await?;
        let request = request.into_inner();
        let answer = list(&self.fake.store.lock(), &request);
        self.after(reply, answer).await
    }

    async fn open_session(
        &self,
        _: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let mut store = self.fake.store.lock();
        if !store.knows_sessions {
            return Err(Status::unimplemented("an older release"));
        }
        store.sessions_opened += 1;
        Ok(Response::new(OpenSessionResponse {
            session_id: vec![store.sessions_opened; 16].into(),
            opened_ms: 1,
            seal: vec![0; 16].into(),
        }))
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        let principal = request.metadata().get("spine-principal").expect("a principal");
        assert!(principal == "tester" || principal == "developer");
        assert!(
            request.metadata().get("grpc-timeout").is_some(),
            "a try tells its deadline"
        );
        let settle = request.metadata().contains_key("spine-settle");
        let request = request.into_inner();
        let id = known_by(&request);
        let reply = self
            .before(&if settle { format!("settle {id}") } else { id })
            .await?;
        let answer = if settle {
            settled(&mut self.fake.store.lock(), &request)?
        } else {
            commit(&mut self.fake.store.lock(), request)?
        };
        self.after(reply, answer).await
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    /// Gives two changes and breaks, for ever: index, index + 1. Of `QUIET` first a mark of progress alone, at 10.
    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let reply = self.before(&format!("watch {}", request.from_index)).await?;
        let (from, request_is_quiet) = (request.from_index, request.routing_key == "QUIET");
        let change = move |index: u64| {
            let key = RecordKey {
                routing_key: request.routing_key.clone(),
                suffix: "s".into(),
            };
            let record = Record {
                key: Some(key.clone()),
                revision: index,
                value: "v".into(),
            };
            Ok(WatchResponse {
                index,
                changes: vec![Change {
                    key: Some(key),
                    record: Some(record),
                }],
            })
        };
        // An overlap, as a server that resumes from a batch boundary would give.
        let first = from.saturating_sub(1).max(1);
        if request_is_quiet && from == 1 {
            let mark = WatchResponse {
                index: 10,
                changes: Vec::new(),
            };
            let events = vec![Ok(mark), Err(Status::unavailable("cut"))];
            let stream: Self::WatchStream = Box::pin(futures_util::stream::iter(events));
            return self.after(reply, stream).await;
        }
        let events = vec![
            change(first),
            change(from),
            change(from + 1),
            Err(Status::unavailable("cut")),
        ];
        let stream: Self::WatchStream = Box::pin(futures_util::stream::iter(events));
        self.after(reply, stream).await
    }
}

fn position(store: &Store) -> Option<Position> {
    Some(Position {
        shard: 1,
        index: store.index,
    })
}

fn list(store: &Store, request: &ListRequest) -> ListResponse {
    let size = if request.page_size == 0 {
        100
    } else {
        request.page_size as usize
    };
    let mut records: Vec<Record> = store
        .values
        .iter()
        .filter(|((routing_key, suffix), _)| {
            *routing_key == request.routing_key
                && suffix.starts_with(&request.suffix_prefix)
                && (request.page_token.is_empty() || suffix[..] > request.page_token[..])
        })
        .map(|((routing_key, suffix), (revision, value))| Record {
            key: Some(RecordKey {
                routing_key: routing_key.clone(),
                suffix: suffix.clone().into(),
            }),
            revision: *revision,
            value: value.clone(),
        })
        .collect();
    let more = records.len() > size;
    records.truncate(size);
    let last = records
        .last()
        .and_then(|r| r.key.as_ref())
        .map(|k| k.suffix.clone())
        .unwrap_or_default();
    ListResponse {
        records,
        next_page_token: if more { last } else { "".into() },
        position: position(store),
    }
}

/// The request id, or `session/sequence/floor`.
fn known_by(request: &CommitRequest) -> String {
    match &request.session {
        Some(call) => format!("{}/{}/{}", call.session_id[0], call.sequence, call.floor),
        None => request.request_id.clone(),
    }
}

fn check_session(store: &Store, request: &CommitRequest) -> Result<(), Status> {
    let session = request.session.as_ref().map(|call| call.session_id[0]);
    if session.is_some_and(|session| store.forgotten.contains(&session)) {
        let (code, advice) = (Code::FailedPrecondition, Advice::FixRequest);
        return Err(refusal(code, advice, "SESSION_EXPIRED", 0, ""));
    }
    Ok(())
}

/// What became of the change; what has not happened never will.
fn settled(store: &mut Store, request: &CommitRequest) -> Result<CommitResponse, Status> {
    let id = known_by(request);
    check_session(store, request)?;
    let Some(revision) = store.done.get(&id) else {
        store.voided.insert(id);
        return Err(refusal(Code::Aborted, Advice::ReadAgain, "NOT_EXECUTED", 0, ""));
    };
    Ok(CommitResponse {
        revision: *revision,
        replayed: true,
        position: position(store),
    })
}

fn commit(store: &mut Store, request: CommitRequest) -> Result<CommitResponse, Status> {
    let id = known_by(&request);
    check_session(store, &request)?;
    if let Some(revision) = store.done.get(&id) {
        return Ok(CommitResponse {
            revision: *revision,
            replayed: true,
            position: position(store),
        });
    }
    if store.voided.contains(&id) {
        return Err(refusal(Code::Aborted, Advice::ReadAgain, "NOT_EXECUTED", 0, ""));
    }
    for guard in &request.guards {
        let now = store
            .values
            .get(&(request.routing_key.clone(), guard.suffix.to_vec()))
            .map(|v| v.0);
        let holds = match guard.condition {
            Some(Condition::RevisionIs(revision)) => now == Some(revision),
            Some(Condition::Absent(_)) => now.is_none(),
            None => false,
        };
        if !holds {
            return Err(refusal(
                Code::FailedPrecondition,
                Advice::ReadAgain,
                "GUARD_FAILED",
                0,
                "",
            ));
        }
    }
    store.index += 1;
    let revision = store.index;
    store.done.insert(id, revision);
    for mutation in request.mutations {
        match mutation.kind.expect("a kind") {
            Kind::Put(put) => {
                let key = (request.routing_key.clone(), put.suffix.to_vec());
                store.values.insert(key, (revision, put.value));
            }
            Kind::Delete(delete) => {
                store
                    .values
                    .remove(&(request.routing_key.clone(), delete.suffix.to_vec()));
            }
        }
    }
    Ok(CommitResponse {
        revision,
        replayed: false,
        position: position(store),
    })
}

impl Reply {
    pub(crate) fn not_leader(address: &str) -> Self {
        Self::NotLeader(Some(address.to_owned()))
    }
}
