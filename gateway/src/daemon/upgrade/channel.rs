//! The channel between the old and the new process: a unix socket pair that carries frames, and
//! descriptors with them (SCM_RIGHTS of unix(7)).
//!
//! Blocking, with a time for each frame, whatever pieces it comes in; both processes have nothing else to do on the thread that
//! waits. What frames mean is [`messages`](super::messages)'s.
//!
//! ```text
//! kind (1) | bytes (4) | descriptors (2) | the bytes | one byte for each group of descriptors, with them
//! ```

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::limits::{UPGRADE_DESCRIPTORS_MAX, UPGRADE_FRAME_BYTES_MAX};

/// Descriptors that go with one byte. The kernel takes 253.
const GROUP: usize = 64;
/// Bytes of a frame before its own.
pub(super) const HEAD: usize = 7;

vocabulary::words! {
    /// What a frame has.
    pub(super) enum Kind("a kind of frame", without serde) {
        /// A message of the hand-over, in JSON.
        Message = "message",
        /// The keys of session tickets.
        Tickets = "tickets",
        /// A change that is durable.
        Transaction = "transaction",
    }
}

/// Bytes that a frame is read in at a time: what it says of its size takes no memory before it comes.
const PIECE: usize = 64 * 1024;

/// When a frame has to be over, whatever pieces it comes in.
#[derive(Debug, Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    fn left(self) -> io::Result<Option<Duration>> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

/// One end.
#[derive(Debug)]
pub(in crate::daemon) struct Channel(UnixStream);

/// A frame as it came.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// What a frame's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) bytes: usize,
    pub(super) descriptors: usize,
}

impl Head {
    pub(super) fn encode(self) -> io::Result<[u8; HEAD]> {
        let too_many = |_too_large| io::Error::from(ErrorKind::InvalidInput);
        let kind = u8::try_from(self.kind as usize).map_err(too_many)?;
        let [a, b, c, d] = u32::try_from(self.bytes).map_err(too_many)?.to_be_bytes();
        let [e, f] = u16::try_from(self.descriptors)
            .map_err(too_many)?
            .to_be_bytes();
        Ok([kind, a, b, c, d, e, f])
    }

    /// # Errors
    /// It is no head, or speaks of more than is taken.
    pub(super) fn decode([kind, a, b, c, d, e, f]: [u8; HEAD]) -> io::Result<Self> {
        let refused = |why: String| io::Error::new(ErrorKind::InvalidData, why);
        let known = Kind::ALL.get(usize::from(kind)).copied();
        let head = Self {
            kind: known.ok_or_else(|| refused(format!("a frame of an unknown kind, {kind}")))?,
            bytes: usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX),
            descriptors: u16::from_be_bytes([e, f]).into(),
        };
        if head.bytes > UPGRADE_FRAME_BYTES_MAX || head.descriptors > UPGRADE_DESCRIPTORS_MAX {
            return Err(refused(format!(
                "a frame of {} bytes with {} descriptors is too large",
                head.bytes, head.descriptors
            )));
        }
        Ok(head)
    }
}

impl Channel {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self(one), Self(other)))
    }

    /// Takes an end that came as a descriptor.
    ///
    /// # Errors
    /// It is no connected unix socket.
    pub(super) fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let stream = UnixStream::from(descriptor);
        stream.peer_addr()?;
        stream.set_nonblocking(false)?;
        Ok(Self(stream))
    }

    /// The same end once more.
    pub(super) fn again(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub(super) fn into_inner(self) -> UnixStream {
        self.0
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// The other end is gone, or does not take it in time.
    pub(super) fn send(
        &mut self,
        kind: Kind,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> io::Result<()> {
        let deadline = Deadline::after(patience);
        let head = Head {
            kind,
            bytes: bytes.len(),
            descriptors: descriptors.len(),
        };
        self.write(&head.encode()?, deadline)?;
        self.write(bytes, deadline)?;
        for group in descriptors.chunks(GROUP) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GROUP))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(group)) {
                return Err(ErrorKind::InvalidInput.into());
            }
            let byte = [IoSlice::new(&[0])];
            self.0.set_write_timeout(deadline.left()?)?;
            sendmsg(&self.0, &byte, &mut control, SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// Waits for one frame.
    ///
    /// # Errors
    /// The other end is gone, says nothing in time, or sends what is no frame.
    pub(super) fn receive(&mut self, patience: Duration) -> io::Result<Frame> {
        let deadline = Deadline::after(patience);
        let mut head = [0; HEAD];
        self.read(&mut head, deadline)?;
        let head = Head::decode(head)?;
        // Where keys grew, a copy of them would stay behind in memory; they are a few bytes.
        let mut bytes = Vec::with_capacity(head.bytes.min(PIECE));
        while bytes.len() < head.bytes {
            let from = bytes.len();
            bytes.resize(head.bytes.min(from + PIECE), 0);
            let (_, piece) = bytes.split_at_mut(from);
            self.read(piece, deadline)?;
        }
        let mut descriptors = Vec::with_capacity(head.descriptors);
        while descriptors.len() < head.descriptors {
            let before = descriptors.len();
            self.0.set_read_timeout(deadline.left()?)?;
            self.receive_group(&mut descriptors)?;
            if descriptors.len() == before {
                let why = "descriptors did not come";
                return Err(io::Error::new(ErrorKind::InvalidData, why));
            }
        }
        Ok(Frame {
            kind: head.kind,
            bytes,
            descriptors,
        })
    }

    fn write(&self, mut bytes: &[u8], deadline: Deadline) -> io::Result<()> {
        while !bytes.is_empty() {
            self.0.set_write_timeout(deadline.left()?)?;
            match (&self.0).write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = bytes.split_at(count).1,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&self, mut into: &mut [u8], deadline: Deadline) -> io::Result<()> {
        while !into.is_empty() {
            self.0.set_read_timeout(deadline.left()?)?;
            match (&self.0).read(into) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => into = into.split_at_mut(count).1,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive_group(&mut self, descriptors: &mut Vec<OwnedFd>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GROUP))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut into = [IoSliceMut::new(&mut byte)];
        let got = recvmsg(&self.0, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        if got.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn frames_come_with_their_descriptors() {
        let (mut one, mut other) = Channel::pair().unwrap();
        let file = tempfile();
        for count in [0, 1, GROUP, GROUP + 1, 200] {
            let descriptors = vec![file.as_fd(); count];
            let text = vec![b'x'; count * 100];
            one.send(Kind::Message, &text, &descriptors, PATIENCE)
                .unwrap();
            one.send(Kind::Tickets, b"next", &[], PATIENCE).unwrap();
            let frame = other.receive(PATIENCE).unwrap();
            assert_eq!((frame.kind, frame.bytes), (Kind::Message, text));
            assert_eq!(frame.descriptors.len(), count);
            let next = other.receive(PATIENCE).unwrap();
            assert_eq!((next.kind, next.bytes), (Kind::Tickets, b"next".to_vec()));
        }
        drop(one);
        let end = other.receive(PATIENCE).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let large = Head {
            kind: Kind::Message,
            bytes: UPGRADE_FRAME_BYTES_MAX,
            descriptors: UPGRADE_DESCRIPTORS_MAX,
        };
        assert_eq!(Head::decode(large.encode().unwrap()).unwrap(), large);
        for wrong in [
            [9, 0, 0, 0, 0, 0, 0],
            [0, 255, 255, 255, 255, 0, 0],
            [0, 0, 0, 0, 0, 255, 255],
        ] {
            assert!(Head::decode(wrong).is_err(), "{wrong:?}");
        }
        // Descriptors that were said to come and do not.
        let (mut one, mut other) = Channel::pair().unwrap();
        one.0.write_all(&[0, 0, 0, 0, 0, 0, 1, 0]).unwrap();
        assert!(other.receive(PATIENCE).is_err());
        // And one that says nothing more.
        let (one, mut other) = Channel::pair().unwrap();
        let late = other.receive(Duration::from_millis(1)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::WouldBlock);
        drop(one);
    }

    #[test]
    fn a_frame_in_small_pieces_has_no_more_time_than_a_whole_one() {
        let (mut one, mut other) = Channel::pair().unwrap();
        let head = Head {
            kind: Kind::Message,
            bytes: 1_000,
            descriptors: 0,
        };
        let sending = std::thread::spawn(move || {
            one.0.write_all(&head.encode().unwrap()).unwrap();
            // Until nobody listens any more.
            while one.0.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let begun = Instant::now();
        let late = other.receive(Duration::from_millis(200)).unwrap_err();
        assert!(
            matches!(late.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{late}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10));
        drop(other);
        sending.join().unwrap();
        // And one that nobody takes.
        let (mut one, other) = Channel::pair().unwrap();
        let much = vec![0; UPGRADE_FRAME_BYTES_MAX];
        let patience = Duration::from_millis(200);
        let begun = Instant::now();
        let taking = std::thread::spawn(move || {
            while (&other.0).read(&mut [0; 512]).is_ok_and(|count| count > 0) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let late = one.send(Kind::Message, &much, &[], patience).unwrap_err();
        assert!(
            matches!(late.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{late}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10));
        drop(one);
        taking.join().unwrap();
    }

    #[test]
    fn keys_leave_no_copy_where_they_grew() {
        let (mut one, mut other) = Channel::pair().unwrap();
        let keys = vec![7; 112];
        one.send(Kind::Tickets, &keys, &[], PATIENCE).unwrap();
        let frame = other.receive(PATIENCE).unwrap();
        assert_eq!(frame.bytes, keys);
        assert_eq!(frame.bytes.capacity(), keys.len(), "nothing was moved");
    }

    fn tempfile() -> std::fs::File {
        std::fs::File::open("/dev/null").unwrap()
    }
}
