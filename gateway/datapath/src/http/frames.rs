//! The heads of HTTP/2 frames in a stream of bytes (RFC 9113 §4.1), whatever pieces it comes in.
//!
//! Owns where frames begin and end. Keeps no payload, and does not judge: what is wrong with a frame
//! is h2's to say.

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113 §3.4).
const PREFACE_BYTES: u32 = 24;
const HEAD_BYTES: usize = 9;
/// The first byte of the payload says how much padding is at its end (RFC 9113 §6.1).
const PADDED: u8 = 0x8;
const END_HEADERS: u8 = 0x4;

/// What kind of frame it is, of those that are told apart here (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A piece of a body.
    Data,
    /// The head of a request or an answer, or trailers.
    Headers,
    /// More of those.
    Continuation,
    /// The end of a stream before its time.
    Reset,
    /// What a peer wants to be known of itself, and that it was read.
    Settings,
    /// A question whether the peer is there, and its answer.
    Ping,
    /// Any other, known or not.
    Other,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: Kind,
    /// Its flags, whose meaning depends on the kind.
    pub flags: u8,
    /// The stream that it is of; 0 for the connection.
    pub stream: u32,
    /// Bytes of its payload without padding.
    pub content: u32,
}

impl Frame {
    /// Whether a head, or trailers, ends with it.
    #[must_use]
    pub fn ends_head(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Whether some of it is padding.
    #[must_use]
    pub fn is_padded(&self) -> bool {
        self.flags & PADDED != 0
    }

    /// Bytes of a body that it carries.
    #[must_use]
    pub fn body(&self) -> u32 {
        if self.kind == Kind::Data {
            self.content
        } else {
            0
        }
    }
}

/// Finds the frames of one direction.
#[derive(Debug, Clone)]
pub struct Scanner {
    /// Bytes that belong to what was found before.
    skip: u32,
    head: [u8; HEAD_BYTES],
    /// Of the next head, so many bytes are there.
    known: usize,
    /// The head is whole, and the length of the padding is not there yet.
    padded: Option<Frame>,
}

impl Scanner {
    /// What a client sends: the preface, then frames.
    #[must_use]
    pub fn of_client() -> Self {
        Self {
            skip: PREFACE_BYTES,
            ..Self::of_server()
        }
    }

    /// What a server sends: frames.
    #[must_use]
    pub fn of_server() -> Self {
        Self {
            skip: 0,
            head: [0; HEAD_BYTES],
            known: 0,
            padded: None,
        }
    }

    /// Whether the last frame is whole and the next one has not begun.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.skip == 0 && self.known == 0 && self.padded.is_none()
    }

    /// Takes the next bytes, and says `each` frame once its head is there.
    pub fn scan(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let (rest, frame) = self.step(bytes);
            bytes = rest;
            if let Some(frame) = frame {
                each(frame);
            }
        }
    }

    /// How many of the next `bytes` belong to the frame that has begun.
    #[must_use]
    pub fn unfinished(&self, bytes: &[u8]) -> usize {
        let (mut ahead, mut rest) = (self.clone(), bytes);
        while !ahead.is_between() && !rest.is_empty() {
            (rest, _) = ahead.step(rest);
        }
        bytes.len() - rest.len()
    }

    /// Takes as many bytes as belong to one part of a frame, at least one.
    fn step<'b>(&mut self, bytes: &'b [u8]) -> (&'b [u8], Option<Frame>) {
        if self.skip > 0 {
            let there = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let now = self.skip.min(there);
            self.skip -= now;
            let now = usize::try_from(now).unwrap_or(usize::MAX);
            return (bytes.get(now..).unwrap_or_default(), None);
        }
        let Some((first, rest)) = bytes.split_first() else {
            return (bytes, None);
        };
        if let Some(mut frame) = self.padded.take() {
            self.skip = frame.content - 1;
            // Padding that is longer than the frame is h2's to refuse.
            frame.content = self.skip.saturating_sub(u32::from(*first));
            return (rest, Some(frame));
        }
        let wanted = HEAD_BYTES - self.known;
        let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
        if let Some(room) = self.head.get_mut(self.known..self.known + now.len()) {
            room.copy_from_slice(now);
        }
        self.known += now.len();
        if self.known < HEAD_BYTES {
            return (rest, None);
        }
        self.known = 0;
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let frame = Frame {
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Headers,
                3 => Kind::Reset,
                4 => Kind::Settings,
                6 => Kind::Ping,
                9 => Kind::Continuation,
                _ => Kind::Other,
            },
            flags,
            // The highest bit means nothing.
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
            content: u32::from_be_bytes([0, a, b, c]),
        };
        if frame.kind == Kind::Data && flags & PADDED != 0 && frame.content > 0 {
            self.padded = Some(frame);
            return (rest, None);
        }
        self.skip = frame.content;
        (rest, Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    /// A frame as it is written: kind, flags, stream, payload.
    type Written = (u8, u8, u32, Vec<u8>);

    fn bytes_of((kind, flags, stream, payload): &Written) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], *kind, *flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// What it is, read from the whole of it.
    fn frame_of((kind, flags, stream, payload): &Written) -> Frame {
        let padding = match payload.first() {
            Some(padding) if *kind == 0 && flags & PADDED != 0 => 1 + usize::from(*padding),
            _ => 0,
        };
        Frame {
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Headers,
                3 => Kind::Reset,
                4 => Kind::Settings,
                6 => Kind::Ping,
                9 => Kind::Continuation,
                _ => Kind::Other,
            },
            flags: *flags,
            stream: stream & 0x7fff_ffff,
            content: u32::try_from(payload.len().saturating_sub(padding)).unwrap(),
        }
    }

    fn found<'b>(mut scanner: Scanner, pieces: impl Iterator<Item = &'b [u8]>) -> Vec<Frame> {
        let mut all = Vec::new();
        for piece in pieces {
            scanner.scan(piece, |frame| all.push(frame));
        }
        all
    }

    #[test]
    fn what_frames_carry() {
        for (what, written, kind, content) in [
            ("data", (0, 0, 1, vec![7; 5]), Kind::Data, 5),
            ("no data", (0, 1, 1, vec![]), Kind::Data, 0),
            ("padded data", (0, 8, 1, vec![2, 7, 7, 0, 0]), Kind::Data, 2),
            ("padding only", (0, 8, 1, vec![2, 0, 0]), Kind::Data, 0),
            ("too much padding", (0, 8, 1, vec![9, 0]), Kind::Data, 0),
            ("no padding at all", (0, 8, 1, vec![]), Kind::Data, 0),
            ("a head", (1, 5, 3, vec![0x82]), Kind::Headers, 1),
            ("more of it", (9, 4, 3, vec![]), Kind::Continuation, 0),
            ("a ping", (6, 0, 0, vec![0; 8]), Kind::Ping, 8),
            ("unknown", (0xbe, 0xff, 0, vec![1]), Kind::Other, 1),
        ] {
            let bytes = bytes_of(&written);
            let [frame] = found(Scanner::of_server(), std::iter::once(&bytes[..]))[..] else {
                panic!("{what}");
            };
            assert_eq!((frame.kind, frame.content), (kind, content), "{what}");
        }
    }

    #[test]
    fn the_preface_is_no_frame() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(bytes_of(&(4, 0, 0, vec![])));
        let found = found(Scanner::of_client(), bytes.chunks(1));
        assert_eq!(found.len(), 1);
    }

    fn written() -> impl Strategy<Value = Written> {
        let kind = prop_oneof![0..10_u8, any::<u8>()];
        let payload = proptest::collection::vec(any::<u8>(), 0..40);
        (kind, any::<u8>(), any::<u32>(), payload)
    }

    proptest! {
        /// Every split finds the same frames, and every prefix says how much of it is unfinished.
        #[test]
        fn pieces_do_not_matter(
            all in proptest::collection::vec(written(), 0..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes: Vec<u8> = all.iter().flat_map(bytes_of).collect();
            let expected: Vec<Frame> = all.iter().map(frame_of).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(&found(Scanner::of_server(), pieces), &expected);
            let single = found(Scanner::of_server(), bytes.chunks(1));
            prop_assert_eq!(&single, &expected);
            let mut ends = vec![0];
            for one in &all {
                ends.push(ends[ends.len() - 1] + bytes_of(one).len());
            }
            for at in 0..=bytes.len() {
                let (before, after) = bytes.split_at(at);
                let mut scanner = Scanner::of_server();
                scanner.scan(before, |_| {});
                let next = ends.iter().find(|end| **end >= at).unwrap();
                prop_assert_eq!(scanner.is_between(), *next == at);
                prop_assert_eq!(scanner.unfinished(after), next - at);
            }
        }
    }
}
