//! `If-None-Exist`: nobody is created where somebody meets the criteria.

use spine_proto::pds::v1::{
    Patient, RetrieveRequest, RetrieveResponse, SearchParameter, SearchRequest, SearchResponse,
};

use super::new_patient::NewPatient;
use super::steps::{Steps, call, every_shard};
use crate::error::{ErrorKind, SpineError};
use crate::failure::Failure;
use crate::pds::patient::NHS_NUMBER_SYSTEM;
use crate::pds::rules::PDS_53;
use crate::pds::search;

/// Numbers that were merged, one into another, before one is found that answers.
const SUPERSEDED_MAX: usize = 16;

/// By what somebody is recognised.
pub(super) enum Criteria {
    /// An NHS Number.
    Number(String),
    /// A search.
    Search(SearchRequest),
}

/// Who meets the criteria.
pub(super) enum Met {
    Nobody,
    One(Box<Patient>),
    Several,
}

impl Criteria {
    /// `None` where there are none.
    ///
    /// # Errors
    /// `PDS-53`
    pub(super) fn read(
        parameters: &[SearchParameter],
        patient: &NewPatient,
    ) -> Result<Option<Self>, Failure> {
        match parameters {
            [] => Ok(None),
            [SearchParameter { name, value }] if name == "identifier" || name == "_id" => {
                let number = value
                    .strip_prefix(NHS_NUMBER_SYSTEM)
                    .and_then(|rest| rest.strip_prefix('|'))
                    .unwrap_or(value);
                if patient.nhs_number.as_deref() != Some(number) {
                    let message =
                        "the new patient has another NHS Number than If-None-Exist asks for, or none";
                    return Err(PDS_53.refuse("If-None-Exist", message));
                }
                Ok(Some(Self::Number(number.to_owned())))
            }
            several => {
                let request = SearchRequest {
                    parameters: several.to_vec(),
                };
                if patient.nhs_number.is_some() {
                    let message = "a new patient with an NHS Number is asked for by that";
                    return Err(PDS_53.refuse("If-None-Exist", message));
                }
                if !search::is_met_exactly(&request, &patient.resource(), &patient.birth_date)? {
                    let message = "If-None-Exist is not met by the new patient, or is no exact search with a birth date";
                    return Err(PDS_53.refuse("If-None-Exist", message));
                }
                Ok(Some(Self::Search(request)))
            }
        }
    }

    /// # Errors
    /// What a step gives.
    pub(super) async fn met<S: Steps>(&self, steps: &S) -> Result<Met, SpineError> {
        match self {
            Self::Number(number) => by_number(steps, number).await,
            Self::Search(request) => {
                let answers: Vec<SearchResponse> = every_shard(steps, "pds.search", request).await?;
                let mut found = search::merge(request, answers)?;
                match (found.too_many, found.matches.len()) {
                    (true, _) => Ok(Met::Several),
                    (false, 0) => Ok(Met::Nobody),
                    (false, 1) => {
                        let patient = found.matches.remove(0).patient.unwrap_or_default();
                        Ok(Met::One(Box::new(patient)))
                    }
                    (false, _) => Ok(Met::Several),
                }
            }
        }
    }
}

async fn by_number<S: Steps>(steps: &S, number: &str) -> Result<Met, SpineError> {
    let mut number = number.to_owned();
    for _ in 0..SUPERSEDED_MAX {
        let request = RetrieveRequest { nhs_number: number };
        let read: Result<RetrieveResponse, SpineError> = call(steps, "pds.retrieve", &request).await;
        match read {
            Ok(read) if read.superseded_by.is_empty() => {
                return Ok(Met::One(Box::new(read.patient.unwrap_or_default())));
            }
            Ok(read) => number = read.superseded_by,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Met::Nobody),
            Err(error) => return Err(error),
        }
    }
    Ok(Met::Nobody)
}
