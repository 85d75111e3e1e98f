//! Attachments that go over from one process to the next: the new one puts its own programs, with tables
//! of its own, in the place of the old one's.
//!
//! Nothing has to agree but where the programs are attached: the tables are filled before the programs
//! are in place, and each frame is seen by the old ones or by the new ones. What the old ones held back
//! is forgotten: a ClientHello also is the acknowledgement that was held, and a client sends a segment
//! again that nobody has acknowledged.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::EbpfError;
use serde::{Deserialize, Serialize};

use super::controller::Controller;
use super::cookies::Cookies;
use super::engage::Engaged;
use super::link::Link;
use super::{Attached, Steering, Unavailable, place, xdp};

/// What is said of the attachments that go over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Interfaces, with where their program runs.
    interfaces: Vec<(String, String)>,
    /// Sysctls that were changed, with what they were.
    sysctls: Vec<(String, String)>,
}

/// Attachments that have come over.
#[derive(Debug)]
pub struct InheritedLinks {
    interfaces: Vec<(String, Attached, Link)>,
    lookup: Link,
    sysctls: Vec<(String, String)>,
}

impl Inherited {
    /// How many descriptors belong to it.
    #[must_use]
    pub fn links(&self) -> usize {
        self.interfaces.len() + 1
    }

    /// Together with its descriptors: the one of socket look-ups, then those of the interfaces.
    #[must_use]
    pub fn with(self, descriptors: Vec<OwnedFd>) -> Option<InheritedLinks> {
        let mut descriptors = descriptors.into_iter().map(Link::taken);
        let lookup = descriptors.next()?;
        let interfaces = self.interfaces.into_iter().zip(descriptors);
        let interfaces = interfaces.map(|((name, place), link)| {
            let place = place.parse().unwrap_or(Attached::Generic);
            (name, place, link)
        });
        Some(InheritedLinks {
            interfaces: interfaces.collect(),
            lookup,
            sysctls: self.sysctls,
        })
    }
}

impl Steering {
    /// Copies of the attachments.
    fn links(&self) -> io::Result<Option<Vec<OwnedFd>>> {
        let Some(lookup) = &self.lookup else {
            return Ok(None);
        };
        let links = self.links.iter().map(|(_, link)| link);
        let all = std::iter::once(lookup).chain(links);
        all.map(Link::copy).collect::<io::Result<_>>().map(Some)
    }

    /// Puts the programs in the place of those that are attached there.
    fn replace(&mut self) -> Result<(), Unavailable> {
        let refused = |why: io::Error| EbpfError::from(aya::programs::ProgramError::IOError(why));
        if let Some(lookup) = &self.lookup {
            let program = place(&mut self.kernel)?.fd().map_err(EbpfError::from)?;
            lookup.update(program.as_fd()).map_err(refused)?;
        }
        let program = xdp(&mut self.kernel)?.fd().map_err(EbpfError::from)?;
        for (interface, link) in &self.links {
            let updated = link.update(program.as_fd());
            updated.map_err(|reason| Unavailable::Attach {
                interface: interface.clone(),
                reason,
            })?;
        }
        Ok(())
    }
}

impl Engaged {
    /// Takes the attachments of another process, of the interfaces that are wanted; [`Self::take_over`]
    /// puts the programs there.
    /// Answers which sysctls that one has changed.
    pub(super) fn inherit(
        &mut self,
        inherited: InheritedLinks,
        wanted: &[String],
    ) -> Vec<(String, String)> {
        let InheritedLinks {
            interfaces,
            lookup,
            sysctls,
        } = inherited;
        self.steering.lookup = Some(lookup);
        for (name, place, link) in interfaces {
            if wanted.contains(&name) {
                self.steering.links.push((name.clone(), link));
                self.attached.push((name, place));
            }
        }
        sysctls
    }

    /// Puts the programs in their places: where another process's are, and where there are none yet.
    fn take_over(&mut self) -> Result<(), Unavailable> {
        let Some(waiting) = self.waiting.take() else {
            return Ok(());
        };
        self.steering.replace()?;
        for interface in waiting.interfaces {
            self.attach(interface)?;
        }
        let answers = self.synproxy() == Some("");
        // Last: what is put back when this process ends must not be what the other one still needs.
        self.cookies = Cookies::inherited(&waiting.sysctls, &waiting.state, answers)?;
        Ok(())
    }
}

impl Controller {
    /// What another process gets of the kernel's attachments, if the kernel steers.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn inheritance(&self) -> io::Result<Option<(Inherited, Vec<OwnedFd>)>> {
        let state = self.lock();
        let Some(kernel) = &state.kernel else {
            return Ok(None);
        };
        let Some(links) = kernel.steering.links()? else {
            return Ok(None);
        };
        let places = kernel.attached.iter();
        let told = Inherited {
            interfaces: places
                .map(|(name, place)| (name.clone(), place.as_str().to_owned()))
                .collect(),
            sysctls: kernel.cookies.changed(),
        };
        Ok(Some((told, links)))
    }

    /// Puts this process's programs in the place of another one's, whose attachments it has. Answers
    /// whether the kernel steers for this process.
    ///
    /// # Errors
    /// The kernel does not take them.
    pub fn take_over(&self) -> Result<bool, Unavailable> {
        let mut state = self.lock();
        match &mut state.kernel {
            Some(kernel) => kernel.take_over().map(|()| true),
            None => Ok(false),
        }
    }

    /// Puts this process's programs back where another one's may be by now.
    pub fn reclaim(&self) {
        let mut state = self.lock();
        if let Some(kernel) = &mut state.kernel {
            kernel.cookies.hold_again();
            if let Err(error) = kernel.steering.replace() {
                tracing::error!(%error, "the kernel does not take the programs back: it does not steer");
            }
        }
    }

    /// Lets go of the kernel. With `taken`, what was changed for it is another process's to put back.
    pub fn let_go(&self, taken: bool) {
        let kernel = self.lock().kernel.take();
        if let Some(mut kernel) = kernel
            && taken
        {
            kernel.cookies.leave();
        }
    }
}
