//! The word lists, read once.

use std::sync::LazyLock;

macro_rules! list {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub(super) static $name: LazyLock<Vec<&'static str>> =
            LazyLock::new(|| include_str!(concat!("lists/", $file)).lines().collect());
    };
}

list!(GIVEN_FEMALE_OLDER, "given_female_older.txt");
list!(GIVEN_FEMALE_YOUNGER, "given_female_younger.txt");
list!(GIVEN_MALE_OLDER, "given_male_older.txt");
list!(GIVEN_MALE_YOUNGER, "given_male_younger.txt");
list!(FAMILY, "family.txt");
list!(STREETS, "streets.txt");
list!(STREET_KINDS, "street_kinds.txt");
list!(HOUSES, "houses.txt");
list!(LOCALITIES, "localities.txt");
list!(
    /// `town|county|outward,outward`; see [`super::place`].
    TOWNS,
    "towns.txt"
);
