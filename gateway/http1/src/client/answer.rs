//! The half of an exchange that reads what the origin says.

use std::ops::Range;

use http::{Method, Version};

use super::{ClientError, Idle, Upload};
use crate::body::{Decoded, Decoder, Piece};
use crate::framing::{BodyLength, Said, is_tunnel};
use crate::head::{Head, Scan};
use crate::limits::Limits;
use crate::not_kept::NotKept;

/// What has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing whole: more has to come.
    More,
    /// An interim response, 1xx but 101; its head was read. Others follow, and then the answer.
    Interim,
    /// The answer's head was read; its body has this length.
    Answer(BodyLength),
    /// The answer's head was read, 101 or 2xx to CONNECT: what follows is another protocol's.
    Switched,
    /// This part of the input is data of the body.
    Data(Range<usize>),
    /// The trailers were read. The end follows.
    Trailers,
    /// The answer is over.
    End,
}

/// What has come, and how far it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are understood. The next input begins behind them; until then, heads
    /// and data are parts of this one.
    pub consumed: usize,
    /// What they are.
    pub event: Event,
}

/// Reads the answer to one request.
#[derive(Debug)]
pub struct Answer {
    method: Method,
    /// The request asked for another protocol.
    upgrades: bool,
    /// What is known so far of why the connection will not serve again.
    not_kept: Option<NotKept>,
    interims: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(Scan),
    Body(Decoder),
    Switched,
    Over,
}

impl Answer {
    pub(super) fn to(method: Method, said: &Said) -> Self {
        Self {
            method,
            upgrades: said.has_upgrade,
            not_kept: said.close.then_some(NotKept::Close),
            interims: 0,
            state: State::Head(Scan::default()),
        }
    }

    /// Finds the next event in `input`, which begins behind what was consumed before. Heads and
    /// trailers are read into `head`, whose spans are parts of this `input`; it may be shared by
    /// all connections of a thread. To be called again until it asks for more, or is over.
    ///
    /// # Errors
    /// See [`ClientError`]. The connection is of no more use.
    pub fn receive(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Step, ClientError> {
        match &mut self.state {
            State::Head(scan) => match scan.response(input, limits, head)? {
                Some(consumed) => {
                    let event = self.heard(input, limits, head)?;
                    Ok(Step { consumed, event })
                }
                None => Ok(Step {
                    consumed: 0,
                    event: Event::More,
                }),
            },
            State::Body(decoder) => {
                let Decoded { consumed, piece } = decoder.decode(input, limits, head)?;
                let event = match piece {
                    Piece::More => Event::More,
                    Piece::Data(range) => Event::Data(range),
                    Piece::Trailers => Event::Trailers,
                    Piece::End => {
                        self.state = State::Over;
                        Event::End
                    }
                };
                Ok(Step { consumed, event })
            }
            State::Switched | State::Over => Ok(Step {
                consumed: 0,
                event: Event::End,
            }),
        }
    }

    /// What the head means that was just read.
    fn heard(&mut self, input: &[u8], limits: &Limits, head: &Head) -> Result<Event, ClientError> {
        let (status, version) = (head.status(), head.version());
        let said = Said::of(head.fields(input));
        if said.promises_body(status) {
            self.not_kept(NotKept::Promised);
        }
        if status == 101 && !self.upgrades {
            return Err(ClientError::Unasked);
        }
        let length = said.response_body(version, status, &self.method)?;
        if is_tunnel(status, &self.method) {
            self.not_kept(NotKept::Switched);
            self.state = State::Switched;
            return Ok(Event::Switched);
        }
        if status < 200 {
            self.interims += 1;
            if self.interims > limits.interim_max {
                return Err(ClientError::InterimsTooMany);
            }
            return Ok(Event::Interim);
        }
        if said.close {
            self.not_kept(NotKept::Close);
        } else if version == Version::HTTP_10 && !said.keep_alive {
            self.not_kept(NotKept::OldVersion);
        }
        if length == BodyLength::UntilClose {
            self.not_kept(NotKept::UntilClose);
        }
        if said.is_ambiguous() {
            self.not_kept(NotKept::Ambiguous);
        }
        self.state = State::Body(Decoder::new(length));
        Ok(Event::Answer(length))
    }

    fn not_kept(&mut self, why: NotKept) {
        self.not_kept.get_or_insert(why);
    }

    /// The origin has closed its direction; `rest` is what was not consumed. Answers whether the
    /// answer is over with that, or was before.
    ///
    /// # Errors
    /// It is not whole.
    pub fn closed(&mut self, rest: &[u8], limits: &Limits) -> Result<(), ClientError> {
        match &mut self.state {
            State::Head(_) if rest.is_empty() && self.interims == 0 => Err(ClientError::Closed),
            State::Head(scan) => {
                // What it was before it broke off: it may not have been looked at.
                *scan = Scan::default();
                scan.response(rest, limits, &mut Head::default())?;
                Err(ClientError::HeadCut)
            }
            State::Body(decoder) => {
                decoder.closed().map_err(ClientError::Body)?;
                self.not_kept(NotKept::UntilClose);
                self.state = State::Over;
                Ok(())
            }
            State::Switched | State::Over => Ok(()),
        }
    }

    /// Whether the answer was read to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match &self.state {
            State::Over | State::Switched => true,
            State::Body(decoder) => decoder.is_over(),
            State::Head(_) => false,
        }
    }

    /// Whether its body ends where the connection does, so that one that was cut off looks like a whole
    /// one. The caller may know better, as with TLS (RFC 9112 §9.8).
    #[must_use]
    pub fn is_until_close(&self) -> bool {
        matches!(&self.state, State::Body(decoder) if decoder.is_until_close())
    }

    /// Whether its head was read.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        !matches!(self.state, State::Head(_))
    }

    /// Bytes of data that are known to follow.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match &self.state {
            State::Body(decoder) => decoder.left(),
            State::Over => Some(0),
            State::Head(_) | State::Switched => None,
        }
    }

    /// Why the connection will not serve another request, as far as the heads say; `None` if it may.
    #[must_use]
    pub fn will_close(&self) -> Option<NotKept> {
        self.not_kept
    }

    /// The connection for the next request, once both halves are over; `rest` is what was not
    /// consumed.
    ///
    /// # Errors
    /// It cannot serve again.
    pub fn over(self, upload: &Upload, rest: &[u8]) -> Result<Idle, NotKept> {
        if !self.is_over() {
            return Err(NotKept::Answering);
        }
        if let Some(why) = self.not_kept {
            return Err(why);
        }
        if !upload.is_over() {
            return Err(NotKept::Uploading);
        }
        if !rest.is_empty() {
            return Err(NotKept::Surplus);
        }
        Ok(Idle::new())
    }
}
