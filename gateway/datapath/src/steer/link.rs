//! Attachments of the programs as descriptors (`bpf_link`, bpf(2)): they last as long as a process has
//! them, and can be passed on. aya's own links can be neither passed nor taken.
//!
//! Replacing the program of a link (`BPF_LINK_UPDATE`) is one step for the kernel: each frame is seen by
//! the one or the other, none by neither. This is how a new process puts its own program in the place of
//! the old one's.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// `enum bpf_cmd` of linux/bpf.h.
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
/// `enum bpf_attach_type`.
const BPF_SK_LOOKUP: u32 = 36;
const BPF_XDP: u32 = 37;

/// Where in the receive path an XDP program runs: `XDP_FLAGS_*` of linux/if_link.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// In the driver.
    Driver = 1 << 2,
    /// In the stack.
    Generic = 1 << 1,
}

/// The part of `union bpf_attr` that both commands read.
#[repr(C)]
struct Attributes {
    /// The program; of an update, the link.
    first: u32,
    /// The interface or the namespace; of an update, the program.
    second: u32,
    /// The kind of attachment; of an update, flags.
    third: u32,
    /// Flags; of an update, the program that was, when that is to be checked.
    fourth: u32,
    rest: [u64; 6],
}

/// An attachment.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// Attaches a program to an interface of this thread's network namespace.
    pub(super) fn xdp(program: BorrowedFd<'_>, interface: u32, mode: Mode) -> io::Result<Self> {
        Self::create(program, interface, BPF_XDP, mode as u32)
    }

    /// Attaches a program to socket look-ups of a network namespace.
    pub(super) fn lookup(program: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<Self> {
        Self::create(program, number(namespace.as_raw_fd()), BPF_SK_LOOKUP, 0)
    }

    /// Takes one that came from another process.
    pub(super) fn taken(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Puts another program in the place of the one that is attached.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let attributes = Attributes {
            first: number(self.0.as_raw_fd()),
            second: number(program.as_raw_fd()),
            third: 0,
            fourth: 0,
            rest: [0; 6],
        };
        bpf(BPF_LINK_UPDATE, &attributes).map(drop)
    }

    /// The descriptor once more, for another process.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    fn create(program: BorrowedFd<'_>, target: u32, kind: u32, flags: u32) -> io::Result<Self> {
        let attributes = Attributes {
            first: number(program.as_raw_fd()),
            second: target,
            third: kind,
            fourth: flags,
            rest: [0; 6],
        };
        let descriptor = bpf(BPF_LINK_CREATE, &attributes)?;
        // SAFETY: the kernel has just made this descriptor for us (it sets close-on-exec), and nobody
        // else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Open descriptors are not negative.
fn number(descriptor: RawFd) -> u32 {
    u32::try_from(descriptor).unwrap_or(u32::MAX)
}

fn bpf(command: libc::c_long, attributes: &Attributes) -> io::Result<RawFd> {
    // SAFETY: bpf(2) reads as many bytes from the address as the third argument says, which are those of
    // `attributes`; it writes none for these commands, and keeps no pointer.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(outcome).map_err(|_too_large| io::ErrorKind::InvalidData.into())
}

/// The number of an interface of this thread's network namespace.
pub(super) fn interface_number(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a string that ends in zero, and is only read.
    let number = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_numbers() {
        assert!(interface_number("lo").is_some());
        assert_eq!(interface_number("nothing0"), None);
        assert_eq!(interface_number("with\0zero"), None);
    }
}
