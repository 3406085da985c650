//! Identifiers: parse once, then they are valid. Those that point at a person redact themselves.

use std::fmt;

/// Why a text is not an identifier. Never carries the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not ten digits with the right check digit.
    #[error("not a valid NHS Number")]
    NhsNumber,
    /// Not 1 to 15 bytes of printable ASCII without space.
    #[error("a routing key has 1 to 15 printable ASCII characters")]
    RoutingKey,
    /// Not 1 to 64 bytes.
    #[error("a request id has 1 to 64 bytes")]
    RequestId,
    /// Not below 16,384.
    #[error("a slot is 0 to 16383")]
    Slot,
    /// Not 3 to 12 capital letters and digits.
    #[error("an ODS code has 3 to 12 capital letters and digits")]
    OdsCode,
    /// The counter does not fit 48 bits.
    #[error("a replica's counter is below 2^48")]
    ReplicaId,
}

/// Number of slots, for ever.
pub const SLOTS: u16 = 16_384;
/// Longest routing key.
pub const ROUTING_KEY_BYTES_MAX: usize = 15;
/// Longest request id.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// A slot: what routing keys hash to, and what shards own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// # Errors
    /// [`IdError::Slot`] at 16,384 and above.
    pub fn new(slot: u16) -> Result<Self, IdError> {
        if slot < SLOTS {
            Ok(Self(slot))
        } else {
            Err(IdError::Slot)
        }
    }

    /// 0 to 16,383.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

/// What decides the shard of a record: an NHS Number, a mailbox id, an organisation. May identify a person.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutingKey(String);

impl RoutingKey {
    /// # Errors
    /// [`IdError::RoutingKey`]
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fits = (1..=ROUTING_KEY_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_string()))
        } else {
            Err(IdError::RoutingKey)
        }
    }

    /// The clear text: for deriving keys, never for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The slot: the first 8 bytes of BLAKE3, little endian, modulo the number of slots. Frozen for ever.
    #[must_use]
    pub fn slot(&self) -> Slot {
        let hash = blake3::hash(self.0.as_bytes());
        let mut low = [0; 2];
        low.copy_from_slice(&hash.as_bytes()[..2]);
        // 16,384 divides 2^16, so the lowest two bytes decide.
        Slot(u16::from_le_bytes(low) % SLOTS)
    }
}

impl fmt::Debug for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoutingKey(•••)")
    }
}

/// An NHS Number with a valid check digit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NhsNumber(u64);

impl NhsNumber {
    /// Ten digits, nothing else.
    ///
    /// # Errors
    /// [`IdError::NhsNumber`]
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(IdError::NhsNumber);
        }
        let number: u64 = text.parse().map_err(|_| IdError::NhsNumber)?;
        match Self::check_digit(number / 10) {
            Some(check) if check == number % 10 => Ok(Self(number)),
            _ => Err(IdError::NhsNumber),
        }
    }

    /// The number with this nine-digit stem; `None` where no check digit exists or the stem is too long.
    #[must_use]
    pub fn from_stem(stem: u64) -> Option<Self> {
        if stem > 999_999_999 {
            return None;
        }
        Self::check_digit(stem).map(|check| Self(stem * 10 + check))
    }

    /// Weights 10 to 2 over nine digits; 11 minus the remainder; 11 means 0 and 10 means no such number.
    fn check_digit(stem: u64) -> Option<u64> {
        let (mut rest, mut sum) = (stem, 0);
        for weight in 2..=10 {
            sum += (rest % 10) * weight;
            rest /= 10;
        }
        match 11 - sum % 11 {
            11 => Some(0),
            10 => None,
            check => Some(check),
        }
    }

    /// Ten digits in clear: for answers and keys, never for logs.
    #[must_use]
    pub fn expose(self) -> String {
        format!("{:010}", self.0)
    }

    /// As a number, at most 9,999,999,999.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// Its routing key.
    #[must_use]
    pub fn routing_key(self) -> RoutingKey {
        RoutingKey(self.expose())
    }
}

impl fmt::Debug for NhsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NhsNumber(•••)")
    }
}

impl fmt::Display for NhsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NhsNumber(•••)")
    }
}

/// Chosen by the caller; the same id and body take effect once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// # Errors
    /// [`IdError::RequestId`]
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) {
            Ok(Self(text.to_string()))
        } else {
            Err(IdError::RequestId)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Shortest ODS code.
pub const ODS_CODE_BYTES_MIN: usize = 3;
/// Longest ODS code: sites of some organisations have more than the usual 3 to 10 characters.
pub const ODS_CODE_BYTES_MAX: usize = 12;

/// Code of an organisation or site in the Organisation Data Service. Public, so it is not redacted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OdsCode(String);

impl OdsCode {
    /// # Errors
    /// [`IdError::OdsCode`]
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fits = (ODS_CODE_BYTES_MIN..=ODS_CODE_BYTES_MAX).contains(&text.len());
        if fits
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        {
            Ok(Self(text.to_string()))
        } else {
            Err(IdError::OdsCode)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id!(
    /// A shard; 0 is the meta group.
    ShardId(u32)
);
number_id!(
    /// A server process of a cluster.
    NodeId(u64)
);
number_id!(
    /// One node's copy of a shard: incarnation << 48 | counter of the meta group. Never reused.
    ReplicaId(u64)
);

impl ReplicaId {
    /// Bits of the counter.
    const COUNTER_BITS: u32 = 48;

    /// The replica that the meta group numbered `counter` in this incarnation of the cluster.
    ///
    /// # Errors
    /// [`IdError::ReplicaId`]
    pub fn new(incarnation: u16, counter: u64) -> Result<Self, IdError> {
        if counter >> Self::COUNTER_BITS == 0 {
            Ok(Self(u64::from(incarnation) << Self::COUNTER_BITS | counter))
        } else {
            Err(IdError::ReplicaId)
        }
    }

    /// Rises with every restore, so that replicas of before are known as such.
    #[must_use]
    pub fn incarnation(self) -> u16 {
        u16::try_from(self.0 >> Self::COUNTER_BITS).expect("16 bits are left")
    }

    /// Number within its incarnation.
    #[must_use]
    pub fn counter(self) -> u64 {
        self.0 & ((1 << Self::COUNTER_BITS) - 1)
    }
}
