//! Search for patients in every shard.

use std::fmt;

use spine_proto::pds::v1 as wire;

use crate::call::{Effect, Positioned};
use crate::error::Result;
use crate::pds::{Patient, Pds, client};
use crate::people::slot_of_any;

/// What a search came to.
#[derive(Clone, Debug)]
pub enum Searched {
    /// All that match, best first; none is an answer, too.
    Matches(Vec<PatientMatch>),
    /// There are more than were asked for, or than a search may look at: ask for more of the person.
    TooMany,
}

/// A patient who may be meant. Printing it shows neither who it is nor what it says.
#[derive(Clone, PartialEq)]
pub struct PatientMatch {
    /// The patient, without what a sensitive one hides.
    pub patient: Patient,
    /// 0 to 1; 1 is an exact match.
    pub score: f64,
}

impl fmt::Debug for PatientMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatientMatch")
            .field("score", &self.score)
            .finish_non_exhaustive()
    }
}

impl Positioned for wire::SearchResponse {
    /// Of every shard there is.
    fn shard(&self) -> u32 {
        0
    }
}

impl Pds {
    /// Searches by the parameters of the PDS FHIR API, for example `family`, `birthdate`, `_fuzzy-match`. Complete from
    /// all shards, or an error.
    ///
    /// # Errors
    /// `Invalid` where the parameters cannot be searched by.
    pub async fn search<N, V>(&self, parameters: impl IntoIterator<Item = (N, V)>) -> Result<Searched>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let parameters = parameters.into_iter().map(|(name, value)| wire::SearchParameter {
            name: name.into(),
            value: value.into(),
        });
        let request = wire::SearchRequest {
            parameters: parameters.collect(),
        };
        let call = self.call(slot_of_any(&self.core.entropy.request_id())?, Effect::Read);
        let answer: wire::SearchResponse = self
            .core
            .run(call, &request, |link, r| async move {
                client(link).search(r.into_request()).await
            })
            .await?;
        if answer.too_many {
            return Ok(Searched::TooMany);
        }
        let matches = answer.matches.into_iter().map(|found| {
            Ok(PatientMatch {
                patient: Patient::of(found.patient)?,
                score: f64::from(found.score) / f64::from(EXACT),
            })
        });
        matches.collect::<Result<_>>().map(Searched::Matches)
    }
}

/// The score of an exact match on the wire.
const EXACT: u32 = 10_000;
