//! Steering: the kernel programs, loaded, attached, and told who owns which host.
//!
//! Owns the programs' life: what keeps them from being used, loading them, attaching them, reading
//! their counters. Everything is undone when [`Steering`] is dropped. It decides nothing about a
//! connection: the gateway is correct without it, and so each failure is one [`Unavailable`] to be
//! reported, not an end.
//!
//! | file | owns |
//! |---|---|
//! | [`controller`] | who steers, and who owns which host now |
//! | [`balance`] | the plan: who should own which host |
//! | [`engage`] | the programs put to work for one gateway, all or nothing |
//! | `tables` | ports, listeners and owners in the kernel's maps |
//! | [`admission`] | what the programs turn away, and the trace of their decisions |
//! | `counts` | what the programs count for each host |
//! | `answering`, [`cookies`] | SYNs that the program answers, and the sysctls it depends on |
//! | `interfaces`, `object` | where to attach, and the program itself |
//! | `link`, `inheritance` | attachments as descriptors, and how they go over to another process |
//! | [`hello`] | the ClientHello as a worker sees it, read with the programs' own parser |
//! | [`Ownership`], [`PlacedMap`] | what workers read: owners of hosts, and who brought a connection |

pub mod admission;
mod answering;
pub mod balance;
pub mod controller;
pub mod cookies;
mod counts;
pub mod engage;
pub mod hello;
mod inheritance;
#[expect(
    unsafe_code,
    reason = "a list in C's memory and an ioctl, for which no crate of ours has a safe call"
)]
mod interfaces;
#[expect(
    unsafe_code,
    reason = "aya's links can be neither passed to another process nor taken from one"
)]
mod link;
mod object;
mod ownership;
#[expect(
    unsafe_code,
    reason = "memory that the kernel shares with us comes as an address"
)]
mod placed;
mod tables;

pub use inheritance::{Inherited, InheritedLinks};
pub use ownership::{Owned, Ownership, flow};
pub use placed::PlacedMap;
pub use tables::Listen;

use aya::maps::{MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, SkLookup, Xdp};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfError};
use ebpf::{ABI_VERSION, Counters, MAP_COUNTERS, MAP_PLACED, PROGRAM_PLACE, PROGRAM_XDP};
use std::fmt;
use std::fs::File;
use std::os::fd::AsFd as _;

use link::{Link, Mode, interface_number};

/// Oldest kernel the program can work on: `bpf_xdp_load_bytes` came with it.
const KERNEL_MIN: KernelVersion = KernelVersion::new(5, 18, 0);

/// Why the kernel does not steer. Each text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There was no object when the gateway was built.
    #[error("built without the eBPF object: run `cargo xtask ebpf` and build again")]
    NoObject,
    /// The object and the gateway come from different sources.
    #[error(
        "the eBPF object is of ABI version {found}, this gateway of {ABI_VERSION}: run `cargo xtask ebpf` and build again"
    )]
    Abi {
        /// The object's version, 0 when it names none.
        found: u32,
    },
    /// The kernel is too old.
    #[error("the kernel is {found}, steering needs {KERNEL_MIN} or later", KERNEL_MIN = shown(KERNEL_MIN))]
    Kernel {
        /// The version that runs.
        found: String,
    },
    /// Capabilities are missing.
    #[error(
        "needs {}: run as root, or grant it (systemd: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON)",
        missing.join(" and ")
    )]
    Privilege {
        /// Their names.
        missing: Vec<&'static str>,
    },
    /// The kernel's verifier or its policy said no.
    #[error("the kernel refused the eBPF program: {0}")]
    Refused(#[from] Box<EbpfError>),
    /// No interface has this name.
    #[error("there is no network interface `{0}`; `ip link` lists those there are")]
    Interface(String),
    /// The interface's frames are not Ethernet frames.
    #[error(
        "the network interface `{0}` is no Ethernet interface, which is what the program can read"
    )]
    NotEthernet(String),
    /// Only this machine can connect to the listening addresses.
    #[error(
        "`listen` names only addresses that no Ethernet interface has (loopback, most likely): the kernel could steer there only with `steer.interfaces = lo`, slower than without"
    )]
    OnlyLoopback,
    /// Several listeners of a port and family.
    #[error(
        "port {port} is listened on at several addresses, which the kernel cannot steer; listen on `*:{port}` or on one address of each family"
    )]
    SeveralAddresses {
        /// The port.
        port: u16,
    },
    /// Memory of the programs' that cannot be had.
    #[error("a table of the eBPF program cannot be mapped: {0}")]
    Mapping(std::io::Error),
    /// More ports, workers or hosts than the tables hold.
    #[error("{what} can be steered up to a number of {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The table's size.
        max: u32,
    },
    /// The sysctl that steering depends on cannot be set.
    #[error(
        "{path} cannot be set to 2: {reason}; steering needs the kernel to answer every SYN with a cookie"
    )]
    Cookies {
        /// The file under `/proc/sys`.
        path: &'static str,
        /// Why not.
        reason: std::io::Error,
    },
    /// The interface did not take the program.
    #[error("the interface `{interface}` did not take the eBPF program: {reason}")]
    Attach {
        /// The interface's name.
        interface: String,
        /// The kernel's reason.
        reason: std::io::Error,
    },
}

impl From<EbpfError> for Unavailable {
    fn from(error: EbpfError) -> Self {
        Self::Refused(Box::new(error))
    }
}

vocabulary::words! {
    /// Where in the receive path an interface runs the program.
    pub enum Attached("an attachment of the program", without serde) {
        /// In the driver, before a packet buffer exists.
        Native = "native",
        /// In the stack's generic hook: correct, but it saves less.
        Generic = "generic",
    }
}

/// The loaded programs. Dropping this detaches and unloads them.
pub struct Steering {
    kernel: Ebpf,
    /// By interface.
    links: Vec<(String, Link)>,
    /// To socket look-ups.
    lookup: Option<Link>,
    /// Where hosts are counted.
    places: counts::Places,
    /// The trace's ring, once it was asked for.
    trace: Option<RingBuf<MapData>>,
}

/// Loads the programs into the kernel. They do nothing until they are attached.
///
/// # Errors
/// See [`Unavailable`].
pub fn load() -> Result<Steering, Unavailable> {
    let object = object::embedded()?;
    supported()?;
    let mut kernel = Ebpf::load(object)?;
    xdp(&mut kernel)?.load().map_err(EbpfError::from)?;
    place(&mut kernel)?.load().map_err(EbpfError::from)?;
    Ok(Steering {
        kernel,
        links: Vec::new(),
        lookup: None,
        places: counts::Places::default(),
        trace: None,
    })
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering")
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl Steering {
    /// Attaches the frame program to an interface: in the driver when it can, generically when it
    /// cannot.
    ///
    /// # Errors
    /// [`Unavailable::Interface`] and [`Unavailable::Attach`].
    pub fn attach(&mut self, interface: &str) -> Result<Attached, Unavailable> {
        // A name with a zero byte names no interface, and aya takes only others.
        if interface.is_empty() || interface.contains('\0') {
            return Err(Unavailable::Interface(
                interface.escape_default().to_string(),
            ));
        }
        let number = interface_number(interface);
        let number = number.ok_or_else(|| Unavailable::Interface(interface.into()))?;
        let program = xdp(&mut self.kernel)?.fd().map_err(EbpfError::from)?;
        let native = Link::xdp(program.as_fd(), number, Mode::Driver);
        let native = native.map(|link| (link, Attached::Native));
        let attached = native.or_else(|_not_there| {
            let generic = Link::xdp(program.as_fd(), number, Mode::Generic)?;
            Ok((generic, Attached::Generic))
        });
        let (link, place) = attached.map_err(|reason| Unavailable::Attach {
            interface: interface.into(),
            reason,
        })?;
        self.links.push((interface.to_owned(), link));
        Ok(place)
    }

    /// Lets the kernel ask for the noted listener wherever a segment of this thread's network
    /// namespace belongs to no socket.
    ///
    /// # Errors
    /// [`Unavailable::Refused`].
    pub fn attach_lookup(&mut self) -> Result<(), Unavailable> {
        let attach = |kernel: &mut Ebpf| -> Result<Link, EbpfError> {
            let namespace =
                File::open("/proc/thread-self/ns/net").map_err(ProgramError::IOError)?;
            let program = place(kernel)?.fd()?;
            let link = Link::lookup(program.as_fd(), namespace.as_fd());
            Ok(link.map_err(ProgramError::IOError)?)
        };
        self.lookup = Some(attach(&mut self.kernel)?);
        Ok(())
    }

    /// Which connections the programs bring to their workers, for the workers to look at.
    ///
    /// # Errors
    /// [`Unavailable::Mapping`].
    pub fn placed(&self) -> Result<PlacedMap, Unavailable> {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let map = match self.kernel.map(MAP_PLACED) {
            Some(aya::maps::Map::Array(map)) => PlacedMap::map(map.fd().as_fd()),
            _ => Err(missing()),
        };
        map.map_err(Unavailable::Mapping)
    }

    /// What the programs have seen since it was loaded, summed over the CPUs.
    ///
    /// # Errors
    /// [`Unavailable::Refused`] when the kernel does not give the map out.
    pub fn counters(&self) -> Result<Counters, Unavailable> {
        let read = || -> Result<Counters, MapError> {
            let map = self
                .kernel
                .map(MAP_COUNTERS)
                .ok_or(MapError::ElementNotFound)?;
            let values = PerCpuArray::<_, Counters>::try_from(map)?.get(&0, 0)?;
            Ok(values
                .iter()
                .copied()
                .fold(Counters::default(), Counters::plus))
        };
        read().map_err(|error| EbpfError::from(error).into())
    }
}

fn xdp(kernel: &mut Ebpf) -> Result<&mut Xdp, EbpfError> {
    let missing = || ProgramError::InvalidName {
        name: PROGRAM_XDP.into(),
    };
    let program = kernel.program_mut(PROGRAM_XDP).ok_or_else(missing)?;
    Ok(program.try_into()?)
}

fn place(kernel: &mut Ebpf) -> Result<&mut SkLookup, EbpfError> {
    let missing = || ProgramError::InvalidName {
        name: PROGRAM_PLACE.into(),
    };
    let program = kernel.program_mut(PROGRAM_PLACE).ok_or_else(missing)?;
    Ok(program.try_into()?)
}

/// Whether kernel and privileges suffice; asked first, because the kernel's own answer is a bare
/// "not permitted".
fn supported() -> Result<(), Unavailable> {
    if let Ok(running) = KernelVersion::current()
        && running < KERNEL_MIN
    {
        return Err(Unavailable::Kernel {
            found: shown(running),
        });
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing_capabilities(&status);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Unavailable::Privilege { missing })
    }
}

/// The capabilities we need and `/proc/self/status` does not list as effective. An unreadable
/// status misses none: then the kernel itself is asked.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    const SYS_ADMIN: u32 = 21;
    const NEEDED: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_BPF", 39)];
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Vec::new();
    };
    let has = |bit: u32| effective >> bit & 1 == 1;
    // CAP_SYS_ADMIN still stands for CAP_BPF, as it did before there was one.
    let granted = |name, bit| has(bit) || name == "CAP_BPF" && has(SYS_ADMIN);
    let lacking = NEEDED
        .into_iter()
        .filter(|(name, bit)| !granted(*name, *bit));
    lacking.map(|(name, _)| name).collect()
}

fn shown(version: KernelVersion) -> String {
    let code = version.code();
    format!("{}.{}.{}", code >> 16, code >> 8 & 0xff, code & 0xff)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::client_hello;
