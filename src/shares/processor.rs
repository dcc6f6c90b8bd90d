//! The processors, as threads share them.

/// How much the priority of [`yield_to_others`] is lower, as `nice` counts: about a third of the processor that another thread
/// gets, and all of it when no other thread wants it.
#[cfg(target_os = "linux")]
const LOWER: i32 = 5;

/// Lowers the priority of the calling thread for good. It is for threads whose work can take long because of what clients
/// choose, so that threads whose work is short needn't wait for them. Does nothing where threads have no priority of their own.
pub fn yield_to_others() {
    // Linux means the calling thread, where other systems mean the whole process.
    #[cfg(target_os = "linux")]
    if let Err(err) = rustix::process::setpriority_process(None, LOWER) {
        tracing::debug!("a thread keeps its priority: {err}");
    }
}

/// Lets the calling thread run, for good, only while a processor has nothing else to do. A lower priority is not enough where the
/// kernel shares the processors between groups of processes first: there it counts only within the group. Does nothing where
/// threads have no such policy.
pub fn use_idle_time() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy::Idle, ThreadPriority, ThreadSchedulePolicy,
            set_thread_priority_and_policy, thread_native_id,
        };
        let policy = ThreadSchedulePolicy::Normal(Idle);
        if let Err(err) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy) {
            tracing::debug!("a thread keeps its priority: {err}");
        }
    }
}
