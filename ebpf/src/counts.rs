//! What the programs count: of everything, and of each host. Only numbers; who adds to them and who
//! reads them is elsewhere.

/// What the programs have seen and done, counted per CPU; the reader adds the CPUs up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames that reached the XDP program.
    pub packets: u64,
    /// Their bytes, link-layer header included; of a frame in several buffers those of the first.
    pub bytes: u64,
    /// Bare ACKs held back for connections that proved their cookie.
    pub held: u64,
    /// Segments dropped because they overtook the first one of a held connection, and probes of
    /// one; they come again.
    pub overtaken: u64,
    /// First segments whose cookie was not ours; passed on.
    pub cookies_bad: u64,
    /// ClientHellos whose owner was noted.
    pub noted: u64,
    /// ClientHellos that named no host.
    pub nameless: u64,
    /// ClientHellos whose name had not arrived, or was spread over records.
    pub partial: u64,
    /// First segments that began like a ClientHello and were none.
    pub foreign: u64,
    /// ClientHellos for a host without an owner.
    pub unknown: u64,
    /// Connections given to the listener that was noted.
    pub placed: u64,
    /// Connections whose noted listener was gone.
    pub homeless: u64,
    /// ClientHellos dropped because the host has no owner.
    pub unknown_dropped: u64,
    /// ClientHellos dropped because the host's budget was used up.
    pub host_budget: u64,
    /// ClientHellos dropped because the budget of the client's prefix was used up.
    pub source_budget: u64,
    /// ClientHellos dropped because the zone blocks the client's address.
    pub blocked: u64,
    /// SYNs answered in the program.
    pub answered: u64,
    /// Of the ClientHellos whose name had not arrived: those whose owner was noted when it had.
    pub joined: u64,
}

const _: () = assert!(size_of::<Counters>() == 18 * 8);

/// What was decided about ClientHellos for one host. All CPUs add to the same words.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HostCounts {
    /// Those whose owner was noted.
    pub noted: u64,
    /// Those dropped because the host's budget was used up.
    pub host_budget: u64,
    /// Those dropped because the zone blocks the client's address.
    pub blocked: u64,
}

const _: () = assert!(size_of::<HostCounts>() == 3 * 8);

impl Counters {
    /// The sum of two counts.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            held: self.held.wrapping_add(other.held),
            overtaken: self.overtaken.wrapping_add(other.overtaken),
            cookies_bad: self.cookies_bad.wrapping_add(other.cookies_bad),
            noted: self.noted.wrapping_add(other.noted),
            nameless: self.nameless.wrapping_add(other.nameless),
            partial: self.partial.wrapping_add(other.partial),
            foreign: self.foreign.wrapping_add(other.foreign),
            unknown: self.unknown.wrapping_add(other.unknown),
            placed: self.placed.wrapping_add(other.placed),
            homeless: self.homeless.wrapping_add(other.homeless),
            unknown_dropped: self.unknown_dropped.wrapping_add(other.unknown_dropped),
            host_budget: self.host_budget.wrapping_add(other.host_budget),
            source_budget: self.source_budget.wrapping_add(other.source_budget),
            blocked: self.blocked.wrapping_add(other.blocked),
            answered: self.answered.wrapping_add(other.answered),
            joined: self.joined.wrapping_add(other.joined),
        }
    }
}
