//! Threads for work that is large enough to pay for them: started for one call, gone when it returns.
//!
//! Nothing outlives a call. So an import starts no thread, a fork finds no pool whose threads its child would lack, and
//! a call that uses one thread starts none. Rejected: threads that wait for work, as a forked child would have to notice
//! that it has none.
//!
//! A process has no more threads at work than a caller asks for, as long as all ask for the same number: a call takes
//! those that other calls have left, so that searches side by side get a core each, and one alone gets all.

use std::panic::resume_unwind;
use std::process;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::Error;

/// Most threads that can be asked for.
pub const MOST_THREADS: usize = 1024;

/// The environment variable that sets the number of threads where the caller names none.
pub const VARIABLE: &str = "BSC_THREADS";

/// Bytes of a thread's stack: kernels keep some kilobytes there.
const STACK: usize = 256 << 10;

/// Threads at work in this process, with its id in the high half: the threads of a parent do not count in its child.
static AT_WORK: AtomicU64 = AtomicU64::new(0);

/// How many threads one call may use, its own included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    most: usize,
}

impl Workers {
    /// The caller's thread alone.
    pub const ONE: Self = Self { most: 1 };

    /// As many threads.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] for a number outside 1 to [`MOST_THREADS`].
    pub const fn new(threads: usize) -> Result<Self, Error> {
        if threads == 0 || threads > MOST_THREADS {
            return Err(Error::Size { what: "threads", least: 1, greatest: MOST_THREADS, got: threads });
        }
        Ok(Self { most: threads })
    }

    /// As many threads as `BSC_THREADS` says; one where it is unset or empty.
    ///
    /// Rejected: as many as the process has cores. Servers have threads of their own at work, and no record shows yet
    /// that a second one pays for every caller.
    ///
    /// # Errors
    ///
    /// [`Error::Threads`] when the variable is no number from 1 to [`MOST_THREADS`].
    pub fn from_environment() -> Result<Self, Error> {
        match std::env::var_os(VARIABLE) {
            Some(text) if !text.to_string_lossy().trim().is_empty() => Self::from_text(&text.to_string_lossy()),
            _ => Ok(Self::ONE),
        }
    }

    fn from_text(text: &str) -> Result<Self, Error> {
        let threads = text.trim().parse().ok().and_then(|threads| Self::new(threads).ok());
        threads.ok_or_else(|| Error::Threads { asked: text.to_owned() })
    }

    /// How many threads that are.
    #[must_use]
    pub const fn threads(self) -> usize {
        self.most
    }

    /// No more than `threads`, but one.
    pub(crate) const fn at_most(self, threads: usize) -> Self {
        let most = if self.most < threads { self.most } else { threads };
        Self { most: if most == 0 { 1 } else { most } }
    }

    /// Deals the parts 0 to `parts - 1` to threads, in order, each part to the next one that is free.
    ///
    /// `work` is called once in each thread with the parts that come to it, ascending; the results come in no order.
    /// A thread that cannot be started is one less; the caller's always works.
    pub(crate) fn deal<T: Send>(
        self,
        parts: usize,
        work: impl Fn(&mut dyn Iterator<Item = usize>) -> T + Sync,
    ) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let run = || {
            let mut dealt =
                std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&part| part < parts));
            work(&mut dealt)
        };
        if self.most.min(parts) <= 1 {
            return vec![run()];
        }
        let share = Share::take(self.most.min(parts));
        thread::scope(|scope| {
            let start = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run).ok();
            let others: Vec<_> = (0..share.others).map_while(start).collect();
            let own = run();
            let joined = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            joined.chain([own]).collect()
        })
    }
}

/// Threads that a call counts as its own until it is dropped.
struct Share {
    /// Threads beside the caller's.
    others: usize,
}

impl Share {
    /// The caller's thread, and others as long as no more than `most` are at work.
    fn take(most: usize) -> Self {
        let mut others = 0;
        update_at_work(|at_work| {
            others = most.saturating_sub(at_work + 1);
            at_work + 1 + others
        });
        Self { others }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        update_at_work(|at_work| at_work.saturating_sub(1 + self.others));
    }
}

/// Changes the number of threads at work.
fn update_at_work(mut change: impl FnMut(usize) -> usize) {
    let process = u64::from(process::id()) << 32;
    let changed = |packed: u64| {
        let known = if packed & !u64::from(u32::MAX) == process { packed & u64::from(u32::MAX) } else { 0 };
        let at_work = change(usize::try_from(known).unwrap_or(usize::MAX));
        Some(process | u64::from(u32::try_from(at_work).unwrap_or(u32::MAX)))
    };
    // The closure always gives a value, so the update always ends.
    let _ = AT_WORK.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_dealt_once_and_in_order_to_each_thread() {
        for threads in [1, 2, 5, 64] {
            for parts in [0, 1, 2, 63, 1000] {
                let dealt = Workers::new(threads).unwrap().deal(parts, |parts| parts.collect::<Vec<_>>());
                assert!(dealt.len() <= threads);
                assert!(dealt.iter().all(|parts| parts.is_sorted()));
                let mut all = dealt.concat();
                all.sort_unstable();
                assert_eq!(all, (0..parts).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_panic_in_any_thread_reaches_the_caller() {
        let panicked = std::panic::catch_unwind(|| {
            Workers::new(2).unwrap().deal(100, |parts| parts.for_each(|part| assert!(part < 50, "part {part}")))
        });
        assert!(panicked.is_err());
    }

    #[test]
    fn what_is_no_number_of_threads_is_an_error_that_says_so() {
        for text in ["0", "-1", "1025", "two", "1.5", "99999999999999999999"] {
            let message = Workers::from_text(text).unwrap_err().to_string();
            assert!(message.contains("from 1 to 1024") && message.contains(text), "{message}");
        }
        assert_eq!(Workers::from_text(" 3 "), Workers::new(3));
        assert!(matches!(Workers::new(0), Err(Error::Size { what: "threads", .. })));
        assert!(Workers::new(1025).is_err());
    }
}
