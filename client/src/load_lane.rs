//! One stream of a load, opened again at another node whenever it breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use spine_proto::pds::v1 as wire;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::call::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::load::{LineError, LoadLine, LoadOutcome, WINDOW};
use crate::pds::client;
use crate::pool::Node;
use crate::retry::{Backoff, Verdict, judge};

/// A node that leaves a batch unanswered for so long is left for another.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A line that the node could not register for reasons of its own is sent again so often.
const LINE_TRIES_MAX: u32 = 20;
/// Reasons of a line that are no fault of the line.
const PASSING_REASONS: [&str; 11] = [
    "DEADLINE_EXCEEDED",
    "DISK_TROUBLE",
    "NOT_LEADER",
    "OUTCOME_UNKNOWN",
    "QUEUE_FULL",
    "SHARD_UNAVAILABLE",
    "SHUTTING_DOWN",
    "STARTING",
    "TOO_CONTENDED",
    "TOO_MANY_REQUESTS",
    "WRONG_SHARD",
];

pub(crate) struct Lane {
    pub(crate) core: Arc<Core>,
    pub(crate) number: usize,
    pub(crate) give_up_after: Duration,
    /// Shared with the other lanes: whoever has room takes the next batch.
    pub(crate) batches: Arc<Mutex<mpsc::Receiver<Vec<LoadLine>>>>,
    pub(crate) outcomes: mpsc::Sender<LoadOutcome>,
}

struct Batch {
    lines: Vec<LoadLine>,
    tries: u32,
}

/// What a lane has sent and not heard of, and when it last heard anything.
struct Unanswered {
    batches: VecDeque<Batch>,
    last_answer: Instant,
    backoff: Backoff,
}

/// Both directions of an open stream.
struct Open {
    node: Arc<Node>,
    requests: mpsc::Sender<wire::LoadRequest>,
    answers: Streaming<wire::LoadResponse>,
}

/// How a stream ended.
enum Ended {
    /// All lines have an outcome.
    Done,
    /// Open it again, at another node.
    Broken,
}

impl Lane {
    pub(crate) async fn run(self) -> Result<()> {
        let mut open = Unanswered {
            batches: VecDeque::new(),
            last_answer: Instant::now(),
            backoff: Backoff::default(),
        };
        let mut turn = self.number;
        loop {
            if open.batches.is_empty() {
                let Some(lines) = self.batches.lock().await.recv().await else {
                    return Ok(());
                };
                open.batches.push_back(Batch { lines, tries: 0 });
                open.last_answer = Instant::now();
            }
            if let Some(stream) = self.open(turn, &open).await?
                && matches!(self.pump(stream, &mut open).await?, Ended::Done)
            {
                return Ok(());
            }
            turn += 1;
            if open.last_answer.elapsed() >= self.give_up_after {
                let message = "no node answered the load for too long";
                return Err(Error::local(ErrorKind::Unavailable, "NO_NODE_REACHED", message));
            }
            sleep(open.backoff.next(&self.core.entropy)).await;
        }
    }

    /// Opens a stream at the node whose turn it is, or at the next that can be reached, and sends
    /// what is unanswered.
    async fn open(&self, turn: usize, unanswered: &Unanswered) -> Result<Option<Open>> {
        let mut nodes = self.core.pool.all();
        let first = turn % nodes.len().max(1);
        nodes.rotate_left(first);
        let connected = self
            .core
            .pool
            .connect(&nodes, self.core.options.connect_hedge)
            .await;
        let Ok((node, link)) = connected.outcome else {
            return Ok(None);
        };
        let (requests, outgoing) = mpsc::channel(WINDOW);
        for batch in &unanswered.batches {
            // Cannot be full: no more than a window is ever unanswered.
            let _ = requests.try_send(request(&batch.lines));
        }
        let mut request = self.core.request(ReceiverStream::new(outgoing), ANSWER_LIMIT);
        // The limit holds for one batch, not for the stream.
        request.metadata_mut().remove("grpc-timeout");
        let mut client = client(link);
        match timeout(ANSWER_LIMIT, client.load(request)).await {
            Ok(Ok(answer)) => Ok(Some(Open {
                node,
                requests,
                answers: answer.into_inner(),
            })),
            Ok(Err(status)) => match judge(&status) {
                Verdict::Final(error) => Err(error),
                _ => Ok(None),
            },
            Err(_) => {
                node.suspect();
                Ok(None)
            }
        }
    }

    /// Sends and receives until the stream breaks or all is done.
    async fn pump(&self, mut open: Open, unanswered: &mut Unanswered) -> Result<Ended> {
        let mut more = true;
        loop {
            if unanswered.batches.is_empty() && !more {
                return Ok(Ended::Done);
            }
            let waiting = !unanswered.batches.is_empty();
            let room = more && unanswered.batches.len() < WINDOW;
            tokio::select! {
                biased;
                answer = timeout(ANSWER_LIMIT, open.answers.message()), if waiting => match answer {
                    Ok(Ok(Some(answer))) => {
                        let Some(batch) = unanswered.batches.pop_front() else { return Ok(Ended::Broken) };
                        unanswered.last_answer = Instant::now();
                        if let Some(again) = self.settle(batch, answer).await? {
                            sleep(unanswered.backoff.next(&self.core.entropy)).await;
                            if !self.send(&open, unanswered, again) {
                                return Ok(Ended::Broken);
                            }
                        } else {
                            unanswered.backoff = Backoff::default();
                        }
                    }
                    Ok(Ok(None)) => return Ok(Ended::Broken),
                    Ok(Err(status)) => match judge(&status) {
                        Verdict::Final(error) => return Err(error),
                        _ => return Ok(Ended::Broken),
                    },
                    Err(_) => {
                        open.node.suspect();
                        return Ok(Ended::Broken);
                    }
                },
                batch = async { self.batches.lock().await.recv().await }, if room => match batch {
                    Some(lines) => {
                        if !self.send(&open, unanswered, Batch { lines, tries: 0 }) {
                            return Ok(Ended::Broken);
                        }
                    }
                    None => more = false,
                },
            }
        }
    }

    /// False where the stream is gone; the batch is then kept for the next one.
    fn send(&self, open: &Open, unanswered: &mut Unanswered, batch: Batch) -> bool {
        let sent = open.requests.try_send(request(&batch.lines)).is_ok();
        unanswered.batches.push_back(batch);
        sent
    }

    /// Reports the outcomes of a batch and gives back the lines to send again.
    async fn settle(&self, batch: Batch, answer: wire::LoadResponse) -> Result<Option<Batch>> {
        let told = answer.registered + answer.replayed + answer.errors.len() as u64;
        if told != batch.lines.len() as u64 {
            return Err(Error::malformed_answer("an outcome for each line of a batch"));
        }
        let (passing, errors): (Vec<_>, Vec<_>) = answer.errors.into_iter().partition(|error| {
            batch.tries < LINE_TRIES_MAX && PASSING_REASONS.contains(&error.reason.as_str())
        });
        let outcome = LoadOutcome {
            registered: answer.registered,
            replayed: answer.replayed,
            errors: errors
                .into_iter()
                .map(|e| LineError {
                    line: e.line,
                    reason: e.reason,
                    message: e.message,
                })
                .collect(),
        };
        // The receiver is gone only when the load has failed elsewhere.
        let _ = self.outcomes.send(outcome).await;
        let again: std::collections::BTreeSet<u64> = passing.iter().map(|error| error.line).collect();
        let mut lines = batch.lines;
        lines.retain(|line| again.contains(&line.line));
        Ok((!lines.is_empty()).then_some(Batch {
            lines,
            tries: batch.tries + 1,
        }))
    }
}

fn request(lines: &[LoadLine]) -> wire::LoadRequest {
    let lines = lines.iter().map(|line| wire::LoadLine {
        line: line.line,
        fhir_json: line.fhir_json.clone(),
    });
    wire::LoadRequest {
        lines: lines.collect(),
        ..wire::LoadRequest::default()
    }
}
