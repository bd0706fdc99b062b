//! Panics of code that reads damaged input, as errors.
//!
//! The Parquet reader trusts parts of a file that a damaged one gets wrong, and a checkpoint's state is not checked
//! field by field against everything that a run relies on. Neither may end the program: [`guarded`] runs such code and
//! gives back what it panicked with. Nothing that it was working on may be used afterwards. Our own invariants are
//! not guarded: a broken one is a bug.
//!
//! Cost: nothing unless it panics.
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; the message if it panics, which then is not printed.
///
/// # Errors
/// What it panicked with.
pub fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                other(info);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(before);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(guarded(|| 7), Ok(7));
        let n: usize = std::hint::black_box(3);
        assert_eq!(
            guarded(|| [1, 2][n]).unwrap_err(),
            "index out of bounds: the len is 2 but the index is 3"
        );
        assert_eq!(guarded(|| guarded(|| panic!("inner")).unwrap_err()), Ok("inner".to_owned()));
        assert!(guarded(|| -> () { panic!("{}", 5) }).unwrap_err() == "5");
    }
}
