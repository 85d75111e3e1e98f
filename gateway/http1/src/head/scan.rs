//! A head that has not come whole: when to look at it again.
//!
//! A stranger who sends a head byte by byte must not make it be tokenised as often: it is looked at
//! when its end may have come, and else only when it has doubled, so that nonsense is refused before
//! its end.

use super::{Found, Head, HeadError, fault};
use crate::limits::{EMPTY_LINES_BYTES_MAX, Limits};

/// How far the head that is coming was looked at. Belongs to a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scan {
    /// Bytes in which the end was looked for.
    seen: usize,
    /// Bytes that were tokenised the last time.
    pub(super) tried: usize,
}

impl Scan {
    /// Reads a request's head into `head`. `input` begins where the head does; it is to be given
    /// again, with more behind it, until the head is whole. Answers its size.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn request(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Option<usize>, HeadError> {
        let Some(window) = self.window(input, limits)? else {
            return Ok(None);
        };
        match head.tokenise_request(window, limits.fields_max) {
            Ok(Found::Whole(size)) => {
                *self = Self::default();
                if head.target(input).len() > limits.target_bytes_max {
                    return Err(HeadError::TargetTooLong);
                }
                Ok(Some(size))
            }
            Ok(Found::Part) if is_full(window, limits) => Err(if fault::is_first_line(window) {
                HeadError::TargetTooLong
            } else {
                HeadError::TooLarge
            }),
            Ok(Found::Part) => Ok(None),
            Err(error) => Err(fault::of_request(window, error)),
        }
    }

    /// Reads a response's head into `head`, like [`Scan::request`].
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn response(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Option<usize>, HeadError> {
        let Some(window) = self.window(input, limits)? else {
            return Ok(None);
        };
        match head.tokenise_response(window, limits.fields_max) {
            Ok(Found::Whole(size)) => {
                *self = Self::default();
                Ok(Some(size))
            }
            Ok(Found::Part) if is_full(window, limits) => Err(HeadError::TooLarge),
            Ok(Found::Part) => Ok(None),
            Err(error) => Err(fault::of_response(window, error)),
        }
    }

    /// What is to be tokenised now; `None` if it is not worth it yet.
    fn window<'a>(
        &mut self,
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<&'a [u8]>, HeadError> {
        let window = input.get(..limits.head_bytes_max).unwrap_or(input);
        if window.len() - fault::skip_empty(window).len() > EMPTY_LINES_BYTES_MAX {
            return Err(HeadError::EmptyLines);
        }
        let due = self.tried == 0
            || window.len() / 2 >= self.tried
            || is_full(window, limits)
            || self.may_end(window);
        self.seen = window.len();
        if !due || window.is_empty() {
            return Ok(None);
        }
        self.tried = window.len();
        Ok(Some(window))
    }

    /// Whether an empty line has come since the last look.
    fn may_end(&self, window: &[u8]) -> bool {
        let fresh = window.get(self.seen.saturating_sub(3)..);
        let fresh = fresh.unwrap_or_default();
        memchr::memchr_iter(b'\n', fresh).any(|at| {
            let after = fresh.get(at + 1..).unwrap_or_default();
            after.starts_with(b"\n") || after.starts_with(b"\r\n")
        })
    }
}

fn is_full(window: &[u8], limits: &Limits) -> bool {
    window.len() >= limits.head_bytes_max
}
