//! Threads that take tasks from a queue; started when there is something to do and none is idle.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope};

/// The queue, shared between the owner and the threads.
pub(crate) struct Queue<T> {
    state: Mutex<Waiting<T>>,
    changed: Condvar,
    limit: NonZeroUsize,
}

struct Waiting<T> {
    tasks: VecDeque<T>,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// Ends the threads of a queue when it goes, however that comes about.
///
/// A scope joins its threads even while a panic passes through, so they must be told.
pub(crate) struct CloseOnDrop<'a, T>(pub(crate) &'a Queue<T>);

impl<T> Drop for CloseOnDrop<'_, T> {
    fn drop(&mut self) {
        self.0.clear();
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl<T: Send> Queue<T> {
    /// Returns an empty queue for at most `limit` threads.
    pub(crate) fn new(limit: NonZeroUsize) -> Self {
        Self {
            state: Mutex::new(Waiting {
                tasks: VecDeque::new(),
                threads: 0,
                idle: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            limit,
        }
    }

    /// Appends a task; starts a thread for it, which calls `work` for each task it takes, if none is
    /// idle and the limit allows.
    ///
    /// Fails only if the very first thread cannot be started; later on fewer threads do.
    pub(crate) fn push<'scope, 'env>(
        &'scope self,
        scope: &'scope Scope<'scope, 'env>,
        work: &'scope (dyn Fn(T) + Sync),
        task: T,
    ) -> io::Result<()>
    where
        T: 'scope,
    {
        let mut state = self.lock();
        state.tasks.push_back(task);
        if state.idle < state.tasks.len() && state.threads < self.limit.get() {
            let spawned = Builder::new()
                .name("rbuild-op".to_owned())
                .spawn_scoped(scope, move || self.serve(work));
            match spawned {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => return Err(error),
                Err(error) => tracing::debug!(%error, "no further worker thread"),
            }
        }
        self.changed.notify_one();
        Ok(())
    }

    fn serve(&self, work: &(dyn Fn(T) + Sync)) {
        while let Some(task) = self.next() {
            work(task);
        }
    }

    /// Waits for a task; `None` once the queue is closed.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(task) = state.tasks.pop_front() {
                return Some(task);
            }
            state.idle += 1;
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

impl<T> Queue<T> {
    /// Takes out the tasks that no thread has begun.
    pub(crate) fn clear(&self) -> Vec<T> {
        self.lock().tasks.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        // Nothing that can panic runs under this lock but the allocation of a task's slot.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn each_task_is_done_once_within_the_limit() {
        let (now, most, sum) = (
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        let work = |task: usize| {
            let busy = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(busy, Ordering::SeqCst);
            std::thread::yield_now();
            sum.fetch_add(task, Ordering::SeqCst);
            now.fetch_sub(1, Ordering::SeqCst);
        };
        let queue = Queue::new(NonZeroUsize::new(3).unwrap());
        std::thread::scope(|scope| {
            let _close = CloseOnDrop(&queue);
            for task in 0..200 {
                queue.push(scope, &work, task).unwrap();
            }
            while sum.load(Ordering::SeqCst) < 199 * 200 / 2 {
                std::thread::yield_now();
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert!(queue.lock().threads <= 3);
    }
}
