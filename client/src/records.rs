//! The generic record store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use spine_mutants::mutant;
use spine_proto::common::v1 as common;
use spine_proto::records::v1 as wire;
use spine_proto::records::v1::records_service_client::RecordsServiceClient;

use crate::call::{Call, Core, Effect, Positioned};
use crate::change::Change as _;
use crate::commit::Commit;
use crate::dial::Link;
use crate::error::{Error, Result};
use crate::options::ANSWER_BYTES_MAX;
use crate::route::slot_of;
use crate::watch::{Watch, WatchFrom};

/// Where an answer is exact: at this index of this shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The shard that answered.
    pub shard: u32,
    /// Its log index.
    pub index: u64,
}

impl Position {
    pub(crate) fn of(wire: Option<&common::Position>) -> Self {
        wire.map_or_else(Self::default, |p| Self {
            shard: p.shard,
            index: p.index,
        })
    }
}

/// Names a record. Printing one shows no key: a routing key may be an NHS Number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// 1 to 15 bytes of printable ASCII; decides the shard.
    pub routing_key: String,
    /// 0 to 256 bytes; orders the records of one routing key.
    pub suffix: Bytes,
}

impl Key {
    /// A key from its two parts.
    pub fn new(routing_key: impl Into<String>, suffix: impl Into<Bytes>) -> Self {
        Self {
            routing_key: routing_key.into(),
            suffix: suffix.into(),
        }
    }

    fn of(wire: Option<wire::RecordKey>) -> Result<Self> {
        let key = wire.ok_or_else(|| Error::malformed_answer("a key"))?;
        Ok(Self {
            routing_key: key.routing_key,
            suffix: key.suffix,
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// A stored record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub key: Key,
    /// Index of the log entry that wrote it; a guard for the next change.
    pub revision: u64,
    /// At most 2 MiB.
    pub value: Bytes,
}

impl Record {
    pub(crate) fn of(wire: wire::Record) -> Result<Self> {
        Ok(Self {
            key: Key::of(wire.key)?,
            revision: wire.revision,
            value: wire.value,
        })
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("revision", &self.revision)
            .field("value_bytes", &self.value.len())
            .finish_non_exhaustive()
    }
}

/// A record, or the certainty that there was none at `position`.
#[derive(Clone, Debug)]
pub struct Found {
    /// Absent where no such record exists.
    pub record: Option<Record>,
    /// Where this is exact.
    pub position: Position,
}

/// Some records of one routing key, in key order.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Gives the next page; empty on the last one.
    pub next: Bytes,
    /// Where this page is exact; the next one has its own.
    pub position: Position,
}

/// Which records to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Only suffixes that begin so.
    pub suffix_prefix: Bytes,
    /// Records of one page: 1 to 1,000; 0 means 100.
    pub page_size: u32,
    /// [`Page::next`] of the page before; empty for the first.
    pub page_token: Bytes,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Revision of every record written.
    pub revision: u64,
    /// True where an earlier try with this request id had already taken effect.
    pub replayed: bool,
    /// Where it was committed.
    pub position: Position,
}

/// Calls to the record store. Made by [`crate::SpineClient::records`].
#[derive(Clone)]
pub struct Records {
    core: Arc<Core>,
    deadline: Option<Duration>,
}

impl Records {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, deadline: None }
    }

    /// The same calls with another deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Reads one record, linearizably.
    ///
    /// # Errors
    /// Never `NotFound`: absence is an answer.
    pub async fn get(&self, key: &Key) -> Result<Found> {
        let wire_key = wire::RecordKey {
            routing_key: key.routing_key.clone(),
            suffix: key.suffix.clone(),
        };
        let request = wire::GetRequest { key: Some(wire_key) };
        let call = self.call(&key.routing_key, Effect::Read)?;
        let answer: wire::GetResponse = self
            .core
            .run(call, &request, |link, r| {
                link.call(
                    "records.get",
                    r,
                    |link, r| async move { client(link).get(r).await },
                )
            })
            .await?;
        Ok(Found {
            record: answer.record.map(Record::of).transpose()?,
            position: Position::of(answer.position.as_ref()),
        })
    }

    /// Reads one page of the records of a routing key.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn list(&self, routing_key: &str, options: ListOptions) -> Result<Page> {
        let request = wire::ListRequest {
            routing_key: routing_key.to_owned(),
            suffix_prefix: options.suffix_prefix,
            page_size: options.page_size,
            page_token: options.page_token,
        };
        let call = self.call(routing_key, Effect::Read)?;
        let answer: wire::ListResponse = self
            .core
            .run(call, &request, |link, r| async move {
                client(link).list(r.into_request()).await
            })
            .await?;
        Ok(Page {
            records: answer
                .records
                .into_iter()
                .map(Record::of)
                .collect::<Result<_>>()?,
            next: answer.next_page_token,
            position: Position::of(answer.position.as_ref()),
        })
    }

    /// All pages, one after another. Each is exact at its own index.
    pub fn pages(
        &self,
        routing_key: &str,
        options: ListOptions,
    ) -> impl Stream<Item = Result<Page>> + Send + use<> {
        let start = (self.clone(), routing_key.to_owned(), Some(options));
        try_unfold(start, |(records, routing_key, options)| async move {
            let Some(options) = options else { return Ok(None) };
            let page = records.list(&routing_key, options.clone()).await?;
            let more = !page.next.is_empty();
            let rest = more.then(|| ListOptions {
                page_token: page.next.clone(),
                ..options
            });
            Ok(Some((page, (records, routing_key, rest))))
        })
    }

    /// Writes a record whatever was there.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn put(&self, key: &Key, value: impl Into<Bytes>) -> Result<Committed> {
        self.commit(Commit::new(&*key.routing_key).put(key.suffix.clone(), value))
            .await
    }

    /// Writes a record only where there is none.
    ///
    /// # Errors
    /// `AlreadyExists` or `Conflict` where there is one.
    pub async fn create(&self, key: &Key, value: impl Into<Bytes>) -> Result<Committed> {
        let commit = Commit::new(&*key.routing_key).if_absent(key.suffix.clone());
        self.commit(commit.put(key.suffix.clone(), value)).await
    }

    /// Replaces a record only where it still has this revision.
    ///
    /// # Errors
    /// `Conflict` where it has not.
    pub async fn compare_and_set(
        &self,
        key: &Key,
        revision: u64,
        value: impl Into<Bytes>,
    ) -> Result<Committed> {
        let commit = Commit::new(&*key.routing_key).if_revision(key.suffix.clone(), revision);
        self.commit(commit.put(key.suffix.clone(), value)).await
    }

    /// Removes a record.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`].
    pub async fn delete(&self, key: &Key) -> Result<Committed> {
        self.commit(Commit::new(&*key.routing_key).delete(key.suffix.clone()))
            .await
    }

    /// Applies all changes if all guards hold, exactly once.
    ///
    /// # Errors
    /// `Conflict` where a guard did not hold; `OutcomeUnknown` where the deadline came first.
    pub async fn commit(&self, commit: Commit) -> Result<Committed> {
        let (request, id) = commit.into_parts();
        let call = self.call(&request.routing_key, Effect::Write)?;
        let answer: wire::CommitResponse = self
            .core
            .change(call, request, id, |link, mut r| {
                if mutant!("new-request-id-for-each-try") {
                    r.message.set_request_id(self.core.entropy.request_id());
                }
                link.call("records.commit", r, |link, r| async move {
                    client(link).commit(r).await
                })
            })
            .await?;
        Ok(Committed {
            revision: answer.revision,
            replayed: answer.replayed,
            position: Position::of(answer.position.as_ref()),
        })
    }

    /// Changes of one routing key in commit order, without gaps across broken connections.
    ///
    /// # Errors
    /// `MALFORMED_KEY`; for [`WatchFrom::Now`] those of [`Records::list`].
    pub async fn watch(&self, routing_key: &str, from: WatchFrom) -> Result<Watch> {
        let slot = slot_of(routing_key)?;
        let from_index = match from {
            WatchFrom::Index(index) => index.max(1),
            WatchFrom::Now => {
                // The server's own "from now on" could not be resumed if the stream broke before
                // its first change; an index can.
                let options = ListOptions {
                    page_size: 1,
                    ..ListOptions::default()
                };
                self.list(routing_key, options).await?.position.index + 1
            }
        };
        Ok(Watch::new(
            Arc::clone(&self.core),
            slot,
            routing_key.to_owned(),
            from_index,
        ))
    }

    fn call(&self, routing_key: &str, effect: Effect) -> Result<Call> {
        Ok(Call {
            slot: slot_of(routing_key)?,
            effect,
            deadline: self.deadline,
            steps: 1,
        })
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

pub(crate) fn client(link: Link) -> RecordsServiceClient<Link> {
    let origin = link.origin();
    RecordsServiceClient::with_origin(link, origin).max_decoding_message_size(ANSWER_BYTES_MAX)
}

fn shard(position: Option<&common::Position>) -> u32 {
    position.map_or(0, |p| p.shard)
}

impl Positioned for wire::GetResponse {
    fn shard(&self) -> u32 {
        shard(self.position.as_ref())
    }
}

impl Positioned for wire::ListResponse {
    fn shard(&self) -> u32 {
        shard(self.position.as_ref())
    }
}

impl Positioned for wire::CommitResponse {
    fn shard(&self) -> u32 {
        shard(self.position.as_ref())
    }
}
