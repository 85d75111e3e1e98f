//! Returns unused memory to the system.
//!
//! mimalloc keeps what a thread has freed for that thread's next allocations and returns it only
//! while the thread goes on allocating: a worker whose connections have all gone quiet would keep
//! the peak for good. Does not decide when; its callers do.

/// Returns what this thread has freed. Takes up to a few milliseconds for each hundred megabytes
/// in use, and what is allocated next may have to be faulted in again.
pub fn give_back() {
    // SAFETY: `mi_collect` wants nothing of its caller; it looks at the calling thread's own heap,
    // which it finds itself (mimalloc's documentation, "mi_collect").
    unsafe { libmimalloc_sys::mi_collect(true) }
}
