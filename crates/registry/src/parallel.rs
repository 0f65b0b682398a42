//! One piece of work for each of several things, as many at once as allowed.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rbuild_progress::CancelToken;

use crate::{Error, Result};

/// Does `work` for each of `all` on up to `limit` threads; returns what came of them, in order.
///
/// The first failure sets the token that `work` is handed, which ends the others; so does `cancel`.
pub(crate) fn each<T: Sync, R: Send>(
    all: &[T],
    (limit, cancel): (usize, &CancelToken),
    work: impl Fn(&T, &CancelToken) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let threads = all.len().min(limit.max(1));
    if threads < 2 {
        return all.iter().map(|one| work(one, cancel)).collect();
    }
    let stop = CancelToken::try_new().map_err(setup)?;
    let next = AtomicUsize::new(0);
    let first_error = Mutex::new(None);
    let made = Mutex::new(Vec::with_capacity(all.len()));
    let turn = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else { return };
            match work(one, &stop) {
                Ok(result) => lock(&made).push((at, result)),
                Err(error) => {
                    // Before the others are stopped, so that theirs come second.
                    lock(&first_error).get_or_insert(error);
                    stop.cancel();
                    return;
                }
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            cancel.wait_either(&stop);
            stop.cancel();
        });
        let turns: Vec<_> = (0..threads).map(|_| scope.spawn(turn)).collect();
        let broken = turns
            .into_iter()
            .filter_map(|turn| turn.join().err())
            .last();
        // Also where nothing failed: the thread that waits for it is to end.
        stop.cancel();
        if let Some(broken) = broken {
            resume_unwind(broken);
        }
    });
    if let Some(error) = lock(&first_error).take() {
        return Err(error);
    }
    let mut made = std::mem::take(&mut *lock(&made));
    made.sort_by_key(|(at, _)| *at);
    Ok(made.into_iter().map(|(_, result)| result).collect())
}

fn setup(source: std::io::Error) -> Error {
    Error::Setup {
        reason: "watch for cancellation",
        source: Box::new(source),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        let all: Vec<u32> = (0..50).collect();
        let go_on = CancelToken::new();
        let squares = each(&all, (7, &go_on), |n, _| Ok(n * n)).unwrap();
        assert_eq!(squares, all.iter().map(|n| n * n).collect::<Vec<_>>());
        assert!(
            each(&[0u8; 0], (4, &go_on), |_, _| Ok(()))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn the_first_failure_ends_the_others() {
        let failed = each(&[1, 0], (2, &CancelToken::new()), |n, stop| {
            if *n == 0 {
                let reason = "first".to_owned();
                let host = String::new();
                return Err(crate::Error::Protocol { host, reason });
            }
            stop.wait(std::time::Duration::from_secs(60))?;
            Ok(())
        });
        assert!(failed.unwrap_err().to_string().contains("first"));
    }

    #[test]
    fn a_cancellation_from_outside_ends_all() {
        for many in [1, 3] {
            let cancel = CancelToken::new();
            let ended = each(&vec![0; many], (3, &cancel), |_, stop| {
                cancel.cancel();
                Ok(stop.wait(std::time::Duration::from_secs(60))?)
            });
            assert!(ended.unwrap_err().is_cancelled());
        }
    }
}
