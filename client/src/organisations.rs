//! Organisations of the Organisation Data Service: what the cluster checks codes of practices and pharmacies against.

use spine_proto::pds::v1 as wire;

use crate::call::{Call, Effect, Positioned};
use crate::error::Result;
use crate::pds::{Pds, client, slot_of_patient};

/// Organisations of one call.
const BATCH: usize = 1_000;

/// What an organisation may be to a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrganisationRole {
    /// A general practice.
    GeneralPractice,
    /// Dispenses what was prescribed.
    Pharmacy,
    /// Supplies appliances.
    ApplianceSupplier,
    /// Anything else.
    Other,
}

impl OrganisationRole {
    const WORDS: [(&'static str, Self); 4] = [
        ("general-practice", Self::GeneralPractice),
        ("pharmacy", Self::Pharmacy),
        ("appliance-supplier", Self::ApplianceSupplier),
        ("other", Self::Other),
    ];

    const fn to_wire(self) -> wire::OrganisationRole {
        match self {
            Self::GeneralPractice => wire::OrganisationRole::GeneralPractice,
            Self::Pharmacy => wire::OrganisationRole::Pharmacy,
            Self::ApplianceSupplier => wire::OrganisationRole::ApplianceSupplier,
            Self::Other => wire::OrganisationRole::Other,
        }
    }
}

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// 3 to 12 capital letters and digits.
    pub code: String,
    /// For people.
    pub name: String,
    /// What it may be.
    pub roles: Vec<OrganisationRole>,
    /// No longer there; no patient is given it any more.
    pub closed: bool,
}

impl Organisation {
    /// Reads CSV with the columns code, name, roles (separated by spaces) and status (open or closed); the first line
    /// names them.
    ///
    /// # Errors
    /// The number of the line, from 1, and what is wrong with it.
    pub fn parse_csv(text: &str) -> Result<Vec<Self>, (usize, &'static str)> {
        let lines = text.lines().enumerate().skip(1);
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(at, line)| Self::parse_line(line).map_err(|what| (at + 1, what)))
            .collect()
    }

    fn parse_line(line: &str) -> Result<Self, &'static str> {
        let columns = columns(line);
        let [code, name, roles, status] = &columns[..] else {
            return Err("a line has four columns");
        };
        let role = |word: &str| {
            let mut words = OrganisationRole::WORDS.into_iter();
            let found = words.find(|(known, _)| *known == word);
            found.map(|(_, role)| role).ok_or("a role is none that is known")
        };
        Ok(Self {
            code: code.clone(),
            name: name.clone(),
            roles: roles.split_whitespace().map(role).collect::<Result<_, _>>()?,
            closed: match status.as_str() {
                "open" => false,
                "closed" => true,
                _ => return Err("a status is open or closed"),
            },
        })
    }

    fn to_wire(&self) -> wire::Organisation {
        wire::Organisation {
            code: self.code.clone(),
            name: self.name.clone(),
            roles: self.roles.iter().map(|role| role.to_wire().into()).collect(),
            closed: self.closed,
        }
    }
}

/// A quoted column may hold commas, and quotes as two of them.
fn columns(line: &str) -> Vec<String> {
    let (mut columns, mut quoted) = (vec![String::new()], false);
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    while let Some(character) = characters.next() {
        let Some(last) = columns.last_mut() else { break };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                last.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            other => last.push(other),
        }
    }
    columns
}

impl Pds {
    /// Tells every shard of these organisations. From then on a patch in the national format names only practices and
    /// pharmacies that the cluster was told of. Told again, it changes nothing.
    ///
    /// # Errors
    /// `MALFORMED_REQUEST` where a code or a role is none; those before may have been taken.
    pub async fn load_organisations(&self, organisations: &[Organisation]) -> Result<()> {
        for batch in organisations.chunks(BATCH) {
            let request = wire::LoadOrganisationsRequest {
                organisations: batch.iter().map(Organisation::to_wire).collect(),
            };
            // What may be repeated like a read is made like one.
            let call = Call {
                steps: 1,
                slot: slot_of_patient("organisations")?,
                effect: Effect::Read,
                deadline: self.deadline,
            };
            let _: wire::LoadOrganisationsResponse = self
                .core
                .run(call, &request, |link, r| async move {
                    client(link).load_organisations(r.into_request()).await
                })
                .await?;
        }
        Ok(())
    }
}

impl Positioned for wire::LoadOrganisationsResponse {
    /// Of all shards.
    fn shard(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisations_are_read_from_csv() {
        let text = "code,name,roles,status\r\nY12345,\"Smith, \"\"Jones\"\" and Partners\",general-practice pharmacy,open\r\n\nFZZ01,Pharmacy,pharmacy,closed\n";
        let read = Organisation::parse_csv(text).unwrap();
        assert_eq!(read[0].name, "Smith, \"Jones\" and Partners");
        assert_eq!(
            read[0].roles,
            [OrganisationRole::GeneralPractice, OrganisationRole::Pharmacy]
        );
        assert_eq!((read[1].code.as_str(), read[1].closed), ("FZZ01", true));
        for (line, what) in [
            ("Y1,x", "a line has four columns"),
            ("Y12345,x,castle,open", "a role is none that is known"),
            ("Y12345,x,pharmacy,ajar", "a status is open or closed"),
        ] {
            assert_eq!(
                Organisation::parse_csv(&format!("head\n{line}\n")),
                Err((2, what))
            );
        }
    }
}
