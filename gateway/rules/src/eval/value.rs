//! Values and the scratch: a value borrows from the facts or the expression, or lies in one reused
//! buffer, so that evaluation does not allocate.

use std::net::IpAddr;

use super::pairs::Pairs;
use crate::limits;
use crate::matcher::budget::Work;

/// One value. `Copy`: it borrows, or says where in the [`Scratch`] its bytes are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// An array or map has nothing there; comparisons with it are false.
    Missing,
    /// A Boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An address.
    Ip(IpAddr),
    /// Bytes of the facts or the expression.
    Bytes(&'a [u8]),
    /// Bytes that were made: a range of the scratch.
    Made(usize, usize),
}

/// The buffer for bytes that are made while evaluating.
///
/// Grows to what the rules need and is kept, up to `limits::SCRATCH_BYTES_KEPT`. A mark and
/// [`Scratch::forget`] give back what one comparison made. What a condition and a decision may make
/// and look through is bounded (see `work`): a text as harmless as `concat(args.names[*], query)`
/// squares the request's head. Beyond that nothing is made any more and the decision is not one.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    made: Vec<u8>,
    /// Results that grow while their parts are still being made: a stack.
    side: Vec<u8>,
    work: Work,
    /// The query's arguments by name.
    pub(crate) arguments: Pairs,
    /// The cookies by name.
    pub(crate) cookies: Pairs,
}

impl Scratch {
    /// A decision begins; nothing made before is needed.
    pub(crate) fn begin_decision(&mut self) {
        for made in [&mut self.made, &mut self.side] {
            made.clear();
            // What one hostile request made grow is not kept for all that follow.
            made.shrink_to(limits::SCRATCH_BYTES_KEPT);
        }
        for pairs in [&mut self.arguments, &mut self.cookies] {
            pairs.forget(limits::SCRATCH_PAIRS_KEPT);
        }
        self.work = Work::default();
    }

    /// A condition begins, which may do as much as any other.
    pub(crate) fn begin_condition(&mut self) {
        self.work.begin_condition();
    }

    /// Counts what is done, see [`crate::matcher::budget`]; `false` when it is too much.
    #[inline]
    pub(crate) fn work(&mut self, units: usize) -> bool {
        self.work.count(units)
    }

    /// Whether a condition of this decision, or all together, have wanted to do too much: what was
    /// found since is worth nothing.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.work.is_spent()
    }

    /// What the decision may still do.
    pub(crate) fn work_left(&self) -> usize {
        self.work.left()
    }

    /// The decision goes on here with what is left of it elsewhere.
    pub(crate) fn leave_work(&mut self, left: usize) {
        self.work.leave(left);
    }

    /// What the condition has done.
    #[cfg(test)]
    pub(crate) fn worked(&self) -> usize {
        self.work.of_condition()
    }

    /// Bytes that it keeps.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.made.capacity() + self.side.capacity()
    }

    /// A string's bytes, and what counts the looking through them.
    pub(crate) fn reading<'v>(&'v mut self, value: Value<'v>) -> Option<(&'v [u8], &'v mut Work)> {
        let bytes = match value {
            Value::Bytes(bytes) => bytes,
            Value::Made(start, end) => self.made.get(start..end)?,
            _ => return None,
        };
        Some((bytes, &mut self.work))
    }

    /// The position of now.
    pub(crate) fn mark(&self) -> usize {
        self.made.len()
    }

    /// Gives back everything made since the mark.
    pub(crate) fn forget(&mut self, mark: usize) {
        self.made.truncate(mark);
    }

    /// The value's bytes, if it is a string.
    pub(crate) fn bytes<'v>(&'v self, value: Value<'v>) -> Option<&'v [u8]> {
        match value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Made(start, end) => self.made.get(start..end),
            _ => None,
        }
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.work(bytes.len()) {
            self.made.extend_from_slice(bytes);
        }
    }

    /// Appends one byte.
    pub(crate) fn push_byte(&mut self, byte: u8) {
        if self.work(1) {
            self.made.push(byte);
        }
    }

    /// Appends a value's bytes, wherever they are.
    pub(crate) fn push_value(&mut self, value: Value<'_>) {
        if let Value::Bytes(bytes) = value {
            self.push(bytes);
        } else if let Value::Made(start, end) = value
            && start <= end
            && end <= self.made.len()
            && self.work(end - start)
        {
            self.made.extend_from_within(start..end);
        }
    }

    /// The bytes of a value and all bytes made so far, for writing after them.
    pub(crate) fn input_and_output<'s>(
        &'s mut self,
        value: Value<'s>,
        room: usize,
    ) -> (&'s [u8], &'s mut [u8]) {
        let mark = self.made.len();
        let room = if self.work(room) { room } else { 0 };
        self.made.resize(mark + room, 0);
        let (before, output) = self.made.split_at_mut(mark);
        let input = match value {
            Value::Bytes(bytes) => bytes,
            Value::Made(start, end) => before.get(start..end).unwrap_or_default(),
            _ => &[],
        };
        (input, output)
    }

    /// Starts a result that is put together from parts.
    pub(crate) fn begin(&self) -> usize {
        self.side.len()
    }

    /// Adds a part to the result begun last.
    pub(crate) fn add(&mut self, part: Value<'_>) {
        let length = self.bytes(part).map_or(0, <[u8]>::len);
        if !self.work(length) {
            return;
        }
        match part {
            Value::Bytes(bytes) => self.side.extend_from_slice(bytes),
            Value::Made(start, end) => self
                .side
                .extend_from_slice(self.made.get(start..end).unwrap_or_default()),
            _ => {}
        }
    }

    /// Gives up the result begun at `begun`.
    pub(crate) fn abandon(&mut self, begun: usize) {
        self.side.truncate(begun);
    }

    /// The result begun at `begun`, as a value.
    pub(crate) fn finish<'a>(&mut self, begun: usize) -> Value<'a> {
        let mark = self.mark();
        if self.work(self.side.len().saturating_sub(begun)) {
            self.made
                .extend_from_slice(self.side.get(begun..).unwrap_or_default());
        }
        self.side.truncate(begun);
        self.made(mark)
    }

    /// What was made since the mark, as a value.
    pub(crate) fn made<'a>(&self, mark: usize) -> Value<'a> {
        Value::Made(mark, self.made.len())
    }

    /// What was made since the mark, to be changed in place.
    pub(crate) fn since(&mut self, mark: usize) -> &mut Vec<u8> {
        debug_assert!(mark <= self.made.len(), "marks are taken from this scratch");
        &mut self.made
    }
}

impl std::fmt::Write for Scratch {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
