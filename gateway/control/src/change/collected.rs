//! The writes, index changes and notes of a batch's steps, gathered for the one change they become.

use crate::change::audit::Note;
use crate::store::Write;
use crate::store::certificate_index::IndexChange;

/// What the steps of a batch did besides writing.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) writes: Vec<Write>,
    pub(crate) index: Vec<IndexChange>,
    pub(crate) notes: Vec<Note>,
    pub(crate) notes_omitted: usize,
    pub(crate) data_path: bool,
    pub(crate) trust_moved: bool,
}
