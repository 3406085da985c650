//! Client of a Spine cluster.
//!
//! Every call is answered or fails within its deadline, whatever happens to the nodes: the client
//! finds the leader, goes on to another node when one is dead, slow or silent, and repeats a change
//! under the same request id, so that it takes effect exactly once.
//!
//! ```no_run
//! use std::time::Duration;
//! use spine_client::{Key, SpineClient};
//!
//! # async fn run() -> spine_client::Result<()> {
//! let client = SpineClient::builder()
//!     .endpoints(["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"])
//!     .principal("ward-7")
//!     .deadline(Duration::from_secs(5))
//!     .connect()?;
//!
//! let patient = client.pds().retrieve("9990000018").await?;
//! println!("version {}", patient.version_id);
//!
//! let key = Key::new("MAILBOX-1", "settings");
//! let written = client.records().put(&key, "on").await?;
//! client.records().compare_and_set(&key, written.revision, "off").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! [`Error::kind`] says what kind of failure it was, [`Error::reason`] is a stable word for
//! programs, [`Error::advice`] says what to do. Only [`ErrorKind::OutcomeUnknown`] leaves a doubt;
//! sending the same change again with the same request id removes it.
//!
//! # Reading order
//!
//! `client` builds, `records`, `pds` and `admin` are the calls, `call` makes one of them succeed,
//! `retry` judges a failed try, `route` remembers leaders, `pool` and `dial` keep connections, `exchange` lets calls
//! share a stream.

mod address;
mod admin;
mod attempt;
mod call;
mod change;
mod client;
mod commit;
mod dial;
mod dialer;
mod entropy;
mod error;
#[cfg(feature = "bench-etcd")]
#[doc(hidden)]
pub mod etcd;
mod exchange;
mod hedge;
pub mod load;
mod load_lane;
#[cfg(feature = "cli")]
pub mod local_cluster;
pub mod options;
mod organisations;
mod patient_watch;
mod pds;
mod people;
mod pool;
pub mod population;
mod records;
mod retry;
mod route;
mod search;
mod sessions;
mod trail;
#[cfg(feature = "cli")]
pub mod upgrade;
mod watch;

pub use address::Address;
pub use admin::{Admin, ReplicaRecord};
pub use client::{Builder, SpineClient};
pub use commit::Commit;
pub use error::{Advice, Error, ErrorKind, Result};
pub use load::{LineError, LoadBuilder, LoadLine, LoadOutcome, LoadReport};
pub use organisations::{Organisation, OrganisationRole};
pub use patient_watch::{PatientEvent, PatientWatch, PatientsFrom};
pub use pds::{HistoryPage, PatchFormat, Patient, PatientChanged, Pds};
pub use people::{AlikeNumber, AllocateOptions, Allocated, DeathStatus, RelatedPerson};
pub use records::{Committed, Found, Key, ListOptions, Page, Position, Record, Records};
pub use search::{PatientMatch, Searched};
pub use watch::{Change, Watch, WatchEvent, WatchFrom};
