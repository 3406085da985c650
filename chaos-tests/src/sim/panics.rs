//! A panic in a task of a simulated node ends only that task; here it ends the run.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

static HOOK: Once = Once::new();

/// Counts this thread's panics from now on. The usual message still appears.
pub(super) fn watch() {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with(|panics| panics.set(panics.get() + 1));
            usual(info);
        }));
    });
    PANICS.with(|panics| panics.set(0));
}

/// How many there were.
pub(super) fn count() -> u32 {
    PANICS.with(Cell::get)
}
