//! The old process, as the new one sees it: what is got from it, step by step.
//!
//! As with [`successor`](super::successor), each step consumes the one before it. When the old process
//! is gone in the middle, or the new one cannot, the new one ends: nothing was taken that the old one
//! does not have as well.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use super::MARK;
use super::channel::{Channel, Kind};
use super::messages::{self, Begin, Handed, Offer, PROTOCOL, Released, Reply, Serve};
use crate::daemon::front::Gifts;
use crate::limits::PREDECESSOR_PATIENCE;
use admin::{Upgrade, UpgradeState};
use datapath::steer::Inherited;
use tls::TicketSecrets;

/// Why a process that was started to take over ends.
#[derive(Debug, thiserror::Error)]
pub enum PredecessorError {
    /// The mark is in the environment, and nothing behind it.
    #[error(
        "{MARK} is set, which only a gateway does that upgrades itself, and standard input is not its \
         channel ({0}): unset it"
    )]
    NoChannel(io::Error),
    /// It is gone, or says what is not understood.
    #[error("the process to take over from is gone, or does not keep to the protocol: {0}")]
    Channel(#[from] io::Error),
    /// Another version of the protocol.
    #[error(
        "version {version} speaks version {found} of the protocol of upgrades, this one {PROTOCOL}: \
         restart the service instead"
    )]
    Protocol {
        /// Of the old process.
        version: String,
        /// The protocol's.
        found: u32,
    },
    /// The store is of a newer format.
    #[error(
        "the store has format {found}, which this version ({}) does not know (it knows {known}): its \
         backup from before, and a restart, lead back",
        vocabulary::version()
    )]
    Format {
        /// The store's.
        found: u64,
        /// Known here.
        known: u64,
    },
    /// Another store.
    #[error("`store.path` is another one than before: an upgrade keeps the store; restart instead")]
    OtherStore,
}

/// The old process, at the step `S`.
#[derive(Debug)]
pub struct Predecessor<S> {
    channel: Channel,
    step: S,
}

/// It has said who it is.
#[derive(Debug)]
pub struct Offered {
    offer: Offer,
}

/// It has given its sockets.
#[derive(Debug)]
pub(in crate::daemon) struct Given;

/// It has closed its store.
#[derive(Debug)]
pub(in crate::daemon) struct Closed;

/// It waits for the last word, with which it steps back.
#[derive(Debug)]
pub(in crate::daemon) struct Waiting;

/// A way to tell the old process why it cannot be.
pub struct Voice(Channel);

impl Voice {
    /// Tells it.
    pub fn refuse(mut self, why: &impl std::fmt::Display) {
        let why = why.to_string();
        // When it is gone there is nobody to tell.
        drop(messages::say(
            &mut self.0,
            &Reply::Refused { why },
            &[],
            PREDECESSOR_PATIENCE,
        ));
    }
}

impl Predecessor<Offered> {
    /// The process that this one was started by to take over, if it was.
    ///
    /// # Errors
    /// See [`PredecessorError`].
    pub fn find() -> Result<Option<Self>, PredecessorError> {
        if std::env::var_os(MARK).is_none() {
            return Ok(None);
        }
        let channel = channel().map_err(PredecessorError::NoChannel)?;
        let mut found = Self::of(channel)?;
        let offer = &found.step.offer;
        let refused = if offer.protocol != PROTOCOL {
            Some(PredecessorError::Protocol {
                version: offer.version.clone(),
                found: offer.protocol,
            })
        } else if offer.store_format > control::STORE_FORMAT {
            Some(PredecessorError::Format {
                found: offer.store_format,
                known: control::STORE_FORMAT,
            })
        } else {
            None
        };
        match refused {
            Some(why) => {
                found.voice()?.refuse(&why);
                Err(why)
            }
            None => {
                found.step.offer.upgrade.to = Some(std::process::id());
                Ok(Some(found))
            }
        }
    }

    fn of(mut channel: Channel) -> Result<Self, PredecessorError> {
        let (offer, _) = messages::hear(&mut channel, PREDECESSOR_PATIENCE)?;
        let step = Offered { offer };
        Ok(Self { channel, step })
    }

    /// The record of the upgrade, as it will be when it is done.
    #[must_use]
    pub fn upgrade(&self) -> Upgrade {
        Upgrade {
            state: UpgradeState::Done,
            step: "the new process serves".into(),
            version: Some(vocabulary::version().into()),
            ..self.step.offer.upgrade.clone()
        }
    }

    /// Says that everything that could be checked is good, and takes what the old process gives.
    pub(in crate::daemon) fn checked(
        mut self,
        config: &config::Config,
    ) -> Result<(Predecessor<Given>, Gifts), PredecessorError> {
        if self.step.offer.store != config.store_path {
            return Err(PredecessorError::OtherStore);
        }
        let checked = Reply::Checked {
            version: vocabulary::version().into(),
            store_format: control::STORE_FORMAT,
        };
        self.say(&checked)?;
        let (handed, frame): (Handed, _) = messages::hear(&mut self.channel, PREDECESSOR_PATIENCE)?;
        let tickets = self.channel.receive(PREDECESSOR_PATIENCE)?;
        if tickets.kind != Kind::Tickets {
            return Err(io::Error::from(ErrorKind::InvalidData).into());
        }
        let gifts = unpacked(handed, frame.descriptors, tickets.bytes.into(), config)?;
        Ok((self.at(Given), gifts))
    }
}

impl Predecessor<Given> {
    /// Says that the sockets are here, and waits until the store is free. Answers its revision.
    pub(in crate::daemon) fn taken(
        mut self,
        admin_socket: bool,
    ) -> Result<(Predecessor<Closed>, u64), PredecessorError> {
        self.say(&Reply::Taken { admin_socket })?;
        let (Released { revision }, _) = messages::hear(&mut self.channel, PREDECESSOR_PATIENCE)?;
        Ok((self.at(Closed), revision))
    }
}

impl Predecessor<Closed> {
    /// Says that everything stands, and waits for the word to begin.
    pub(in crate::daemon) fn ready(mut self) -> Result<Predecessor<Waiting>, PredecessorError> {
        self.say(&Reply::Ready)?;
        let (Begin {}, _) = messages::hear(&mut self.channel, PREDECESSOR_PATIENCE)?;
        Ok(self.at(Waiting))
    }
}

impl Predecessor<Waiting> {
    /// Says that nothing is missing but the word, and waits for it: then this process serves, and
    /// nothing else does. What comes back carries changes to the old one.
    pub(in crate::daemon) fn begun(mut self, steers: bool) -> Result<OwnedFd, PredecessorError> {
        self.say(&Reply::Begun {
            steers,
            awaits_main: true,
        })?;
        let (Serve {}, _) = messages::hear(&mut self.channel, PREDECESSOR_PATIENCE)?;
        Ok(self.channel.into_inner().into())
    }
}

impl<S> Predecessor<S> {
    /// A way to tell it why not.
    ///
    /// # Errors
    /// This process is out of descriptors.
    pub fn voice(&self) -> io::Result<Voice> {
        self.channel.again().map(Voice)
    }

    fn at<T>(self, step: T) -> Predecessor<T> {
        Predecessor {
            channel: self.channel,
            step,
        }
    }

    fn say(&mut self, reply: &Reply) -> io::Result<()> {
        messages::say(&mut self.channel, reply, &[], PREDECESSOR_PATIENCE)
    }
}

/// Standard input as a channel; in its place comes nothing.
fn channel() -> io::Result<Channel> {
    let stdin = io::stdin();
    let descriptor = stdin.as_fd().try_clone_to_owned()?;
    let channel = Channel::from_descriptor(descriptor)?;
    let nothing = std::fs::File::open(Path::new("/dev/null"))?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(channel)
}

/// Tells the descriptors apart.
fn unpacked(
    handed: Handed,
    descriptors: Vec<OwnedFd>,
    tickets: TicketSecrets,
    config: &config::Config,
) -> io::Result<Gifts> {
    let mut rest = descriptors.into_iter();
    let missing = || io::Error::new(ErrorKind::InvalidData, "a descriptor is missing");
    let mut sockets = |addresses: Vec<SocketAddr>| -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let pair = |address| Ok((address, rest.next().ok_or_else(missing)?));
        addresses.into_iter().map(pair).collect()
    };
    let tls = sockets(handed.tls)?;
    let http = sockets(handed.http)?;
    let health = sockets(handed.health)?;
    let mut next = || rest.next().ok_or_else(missing);
    let admin_socket = handed
        .admin_socket
        .map(|path| Ok::<_, io::Error>((path, next()?)));
    let admin_socket = admin_socket.transpose()?;
    let admin_listen = handed
        .admin_listen
        .map(|address| Ok::<_, io::Error>((address, next()?)));
    let admin_listen = admin_listen.transpose()?;
    let former = (0..handed.former)
        .map(|_| next())
        .collect::<io::Result<_>>()?;
    let steering = handed.steering.map(|inherited: Inherited| {
        let links = (0..inherited.links()).map(|_| next());
        inherited
            .with(links.collect::<io::Result<_>>()?)
            .ok_or_else(missing)
    });
    let steering = steering.transpose()?;
    Ok(Gifts {
        tls,
        http,
        health,
        admin_socket: admin_socket
            .filter(|(path, _)| *path == config.admin_socket)
            .map(|(_, socket)| socket),
        admin_listen,
        former,
        tickets,
        steering,
        names: handed.names,
    })
}
