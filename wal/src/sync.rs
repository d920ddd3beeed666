//! The locks of group commit. `loom` and `shuttle` replace them with their own to test many thread
//! interleavings.

#[cfg(not(all(test, any(loom, shuttle))))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, any(loom, shuttle)))]
pub(crate) use model::{Condvar, Latch, Mutex, MutexGuard};

/// A one-shot latch. Any number of threads can wait for it, and one system call wakes them all.
#[cfg(not(all(test, any(loom, shuttle))))]
#[derive(Debug, Default)]
pub(crate) struct Latch(std::sync::OnceLock<bool>);

#[cfg(not(all(test, any(loom, shuttle))))]
impl Latch {
    /// Wakes all current and future waiters with this message. Later calls have no effect.
    pub(crate) fn open(&self, message: bool) {
        let _: Result<(), bool> = self.0.set(message);
    }

    /// Blocks until the latch is open.
    pub(crate) fn wait(&self) -> bool {
        *self.0.wait()
    }
}

/// The same interface over locks whose `wait` takes the guard by value.
#[cfg(all(test, any(loom, shuttle)))]
mod model {
    use std::ops::{Deref, DerefMut};
    use std::time::Instant;

    #[cfg(loom)]
    use loom::sync as by;
    #[cfg(shuttle)]
    use shuttle::sync as by;

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(by::Mutex<T>);

    #[derive(Debug)]
    pub(crate) struct Condvar(by::Condvar);

    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T>(Option<by::MutexGuard<'a, T>>, &'a by::Mutex<T>);

    #[derive(Debug)]
    pub(crate) struct Latch(by::Mutex<Option<bool>>, by::Condvar);

    impl Default for Latch {
        fn default() -> Self {
            Self(by::Mutex::new(None), by::Condvar::new())
        }
    }

    impl Latch {
        pub(crate) fn open(&self, message: bool) {
            self.0.lock().expect("no thread panics").get_or_insert(message);
            self.1.notify_all();
        }

        pub(crate) fn wait(&self) -> bool {
            let mut open = self.0.lock().expect("no thread panics");
            loop {
                match *open {
                    Some(message) => return message,
                    None => open = self.1.wait(open).expect("no thread panics"),
                }
            }
        }
    }

    /// A model has no clock: a timeout has always passed once other threads could run.
    pub(crate) struct WaitTimeout;

    impl WaitTimeout {
        pub(crate) fn timed_out(&self) -> bool {
            true
        }
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(by::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("no thread panics")), &self.0)
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(by::Condvar::new())
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let inner = guard.0.take().expect("the guard is held");
            guard.0 = Some(self.0.wait(inner).expect("no thread panics"));
        }

        pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> WaitTimeout {
            drop(guard.0.take());
            guard.0 = Some(guard.1.lock().expect("no thread panics"));
            WaitTimeout
        }
    }

    impl<T> MutexGuard<'_, T> {
        pub(crate) fn unlocked(guard: &mut Self, between: impl FnOnce()) {
            drop(guard.0.take());
            between();
            guard.0 = Some(guard.1.lock().expect("no thread panics"));
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("the guard is held")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("the guard is held")
        }
    }
}
