//! Seeded bugs. `mutant!("name")` stands at the one place that enforces a rule; where it is true, the rule is broken.
//!
//! Under `--cfg spine_mutants` the environment variable [`CHOOSER`] names the one bug of this process. Without it the
//! macro is `false` and its name is in no program. `chaos-tests/src/mutants` has the list and what catches each.

/// Environment variable that names a mutant. In no program that was built without mutants.
#[cfg(spine_mutants)]
pub const CHOOSER: &str = "SPINE_MUTANT";

/// Whether this process has this bug.
#[cfg(spine_mutants)]
#[must_use]
pub fn is_chosen(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var_os(CHOOSER)).as_deref() == Some(std::ffi::OsStr::new(name))
}

/// Whether this process has the bug of this name.
#[cfg(spine_mutants)]
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        $crate::is_chosen($name)
    };
}

/// Whether this process has the bug of this name: no.
#[cfg(not(spine_mutants))]
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        false
    };
}
