//! SYNs from clients that there are not: what a flood is made of.
//!
//! Frames go out of one interface by a packet socket (packet(7)), which the caller opens in a
//! network namespace of its own: nothing else can be reached from there. A flood has a rate and an
//! end, and says how much of it was sent.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Ethernet, IPv4, and TCP with the options that Linux sends.
const FRAME_SIZE: usize = 14 + 20 + 40;
/// Frames of one system call: about a millisecond's worth of one thread.
const BATCH: usize = 64;
/// No flood lasts longer, whatever was asked for.
const SECONDS_MAX: u64 = 30;
/// Frames a second that one sender is let send.
const RATE_MAX: u32 = 200_000;
const TICK: Duration = Duration::from_millis(1);

/// Whom a flood is for, on the wire.
#[derive(Clone, Copy)]
pub(crate) struct Victim {
    /// Its address on the link; another one's, and its machine throws frames away at the first look.
    pub(crate) mac: [u8; 6],
    /// Its address.
    pub(crate) address: [u8; 4],
    /// Its port.
    pub(crate) port: u16,
}

/// A socket that sends whole frames.
pub(crate) struct Wire(OwnedFd);

/// A flood that runs.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Sent>>,
}

/// What was sent, and what that cost the senders (with what the kernel did on their time).
#[derive(Clone, Copy, Default)]
pub(crate) struct Sent {
    /// Frames that the interface took.
    pub(crate) frames: u64,
    /// CPU time of the senders' threads.
    pub(crate) cpu: Duration,
    /// How long it lasted.
    pub(crate) wall: Duration,
}

impl Wire {
    /// Opens one on an interface of this thread's network namespace.
    ///
    /// # Errors
    /// There is no such interface, or CAP_NET_RAW is missing.
    #[expect(unsafe_code, reason = "no dependency of ours has packet sockets")]
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let name = std::ffi::CString::new(interface)?;
        // SAFETY: the name is a string that ends in a zero byte.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        let index = i32::try_from(index).unwrap_or(0);
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // Protocol 0: it receives nothing.
        // SAFETY: socket takes no pointers.
        let socket =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made above and belongs to no other code.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: zeros are a valid address of this family.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(0);
        address.sll_ifindex = index;
        let size = u32::try_from(size_of_val(&address)).unwrap_or(0);
        // SAFETY: the address is of the size that is said, and only read.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
        if bound == 0 {
            Ok(Self(socket))
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Sends these frames; answers how many the interface took.
    #[expect(
        unsafe_code,
        reason = "sendmmsg(2) has no safe wrapper among our dependencies"
    )]
    fn send(&self, frames: &mut [[u8; FRAME_SIZE]]) -> usize {
        let mut parts: Vec<libc::iovec> = frames
            .iter_mut()
            .map(|frame| libc::iovec {
                iov_base: frame.as_mut_ptr().cast(),
                iov_len: FRAME_SIZE,
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: zeros are a message without address, data and control data.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let count = u32::try_from(messages.len()).unwrap_or(0);
        // SAFETY: as many messages as are said, whose parts and frames live until the call is over.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).unwrap_or(0)
    }
}

impl Flood {
    /// Sends `rate` SYNs a second, spread over the wires (a thread on a CPU of its own for each, as
    /// the queues of a network card would), until it is ended, for [`SECONDS_MAX`] seconds at most.
    pub(crate) fn start(wires: Vec<Wire>, victim: Victim, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let each = rate.min(RATE_MAX) / u32::try_from(wires.len().max(1)).unwrap_or(1);
        let senders = wires.into_iter().enumerate().map(|(cpu, wire)| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                // Where it is not allowed, the scheduler spreads them.
                drop(bench::machine::pin(cpu));
                run(&wire, victim, each, cpu as u64 + 1, &stop)
            })
        });
        Self {
            senders: senders.collect(),
            stop,
        }
    }

    /// Ends it.
    pub(crate) fn end(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        let all = self
            .senders
            .into_iter()
            .filter_map(|sender| sender.join().ok());
        all.fold(Sent::default(), |sum, one| Sent {
            frames: sum.frames + one.frames,
            cpu: sum.cpu + one.cpu,
            wall: sum.wall.max(one.wall),
        })
    }
}

fn run(wire: &Wire, victim: Victim, rate: u32, seed: u64, stop: &AtomicBool) -> Sent {
    let began = Instant::now();
    let cpu = thread_time();
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut frames = [[0; FRAME_SIZE]; BATCH];
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(SECONDS_MAX) {
        let due =
            u64::from(rate) * u64::try_from(began.elapsed().as_micros()).unwrap_or(0) / 1_000_000;
        let missing = usize::try_from(due.saturating_sub(sent))
            .unwrap_or(0)
            .min(BATCH);
        let (batch, _) = frames.split_at_mut(missing);
        if batch.is_empty() {
            std::thread::sleep(TICK);
            continue;
        }
        for frame in &mut *batch {
            *frame = syn(victim, &mut random);
        }
        sent += wire.send(batch) as u64;
    }
    Sent {
        frames: sent,
        cpu: thread_time().saturating_sub(cpu),
        wall: began.elapsed(),
    }
}

/// A SYN as Linux sends it, from an address in 10.0.0.0/8 and a port that chance chooses.
fn syn(victim: Victim, random: &mut u64) -> [u8; FRAME_SIZE] {
    // xorshift64*: nothing here is secret.
    *random ^= *random >> 12;
    *random ^= *random << 25;
    *random ^= *random >> 27;
    let chance = random.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes();
    let [a, b, c, d, e, f, g, h] = chance;
    let source = [10, a, b, c];
    let port = u16::from_be_bytes([d, e]) | 1_024;
    let mut tcp = [0; 40];
    {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            for byte in bytes {
                if let Some(place) = tcp.get_mut(at) {
                    *place = *byte;
                }
                at += 1;
            }
        };
        put(&port.to_be_bytes());
        put(&victim.port.to_be_bytes());
        put(&[f, g, h, a]);
        put(&[0, 0, 0, 0, 0xa0, 2, 0xfa, 0xf0, 0, 0, 0, 0]);
        put(&[
            2, 4, 0x05, 0xb4, 4, 2, 8, 10, e, f, g, h, 0, 0, 0, 0, 1, 3, 3, 7,
        ]);
    }
    let pseudo = [source, victim.address, [0, 6, 0, 40]].concat();
    let sum = checksum(&[&pseudo, &tcp[..]].concat());
    let (_, tail) = tcp.split_at_mut(16);
    if let Some(place) = tail.first_chunk_mut() {
        *place = sum;
    }
    let mut ip = [
        0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let (_, addresses) = ip.split_at_mut(12);
    for (place, byte) in addresses
        .iter_mut()
        .zip(source.iter().chain(&victim.address))
    {
        *place = *byte;
    }
    let sum = checksum(&ip);
    let (_, tail) = ip.split_at_mut(10);
    if let Some(place) = tail.first_chunk_mut() {
        *place = sum;
    }
    let mut frame = [2; FRAME_SIZE];
    let whole = victim
        .mac
        .iter()
        .chain(&[2; 6])
        .chain(&[8, 0])
        .chain(&ip)
        .chain(&tcp);
    for (place, byte) in frame.iter_mut().zip(whole) {
        *place = *byte;
    }
    frame
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let (pairs, _) = bytes.as_chunks();
    let mut sum: u32 = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}
