//! Threads of ours in a process that is the web server's.

/// A panic is a fault of ours; it must not end the thread that everybody needs.
pub fn unharmed(job: impl FnOnce()) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
}

/// Runs `start` with all signals blocked; a thread that it starts inherits that.
pub fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset and pthread_sigmask write to sets on this stack frame and read nothing else; `before` is
    // initialised by pthread_sigmask, which cannot fail with these arguments.
    let before = unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    };
    let result = start();
    // SAFETY: restores the mask that this thread had; the set is initialised.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    result
}
