//! Renewal: compiles all rules again in the background while the running program goes on.
//!
//! Changes add up in the second index. When there are enough of them a thread of its own makes a
//! new index of everything, so that no change waits for all the other rules.

use std::sync::{Arc, OnceLock};
use std::thread;

use crate::program::Program;
use crate::rule::Rule;
use crate::syntax::list::Lists;
use chunked_list::ChunkedList;

/// A program that is being compiled from nothing, of the rules as they were when it was begun.
///
/// Should it never come to be, for want of memory or threads, changes go on adding up until one of
/// them compiles everything itself.
#[derive(Debug, Clone)]
pub(super) struct Renewal(Arc<OnceLock<Program>>);

impl Renewal {
    /// Begins it; `None` when the system gives no thread.
    #[expect(
        clippy::disallowed_methods,
        reason = "the control plane begins it: compiling 100,000 rules takes a second"
    )]
    pub(super) fn begin(rules: ChunkedList<Arc<Rule>>, lists: Lists) -> Option<Self> {
        let renewal = Self(Arc::default());
        let result = Arc::downgrade(&renewal.0);
        thread::Builder::new()
            .name("rules".to_owned())
            .spawn(move || {
                // They compiled before: there is no error to report.
                let program = Program::compile_shared(rules, &lists);
                if let (Ok(program), Some(result)) = (program, result.upgrade()) {
                    // Set once, here.
                    drop(result.set(program));
                }
            })
            .ok()?;
        Some(renewal)
    }

    /// The program, once it is there.
    pub(super) fn finished(&self) -> Option<&Program> {
        self.0.get()
    }

    /// Waits for it.
    pub(super) fn wait(&self) -> &Program {
        self.0.wait()
    }
}
