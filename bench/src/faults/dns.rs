//! A name server that does as it is told: one name, whose addresses change or are gone.
//!
//! Answers over UDP what resolvers of proxies ask (RFC 1035 §4): A records of the one name, with a TTL
//! of a second. Of everything else it says that there is none.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// What the C library asks: no other port can be said in `resolv.conf`.
const PORT: u16 = 53;
/// Seconds.
const TTL: u32 = 1;
/// Bytes of a header, before the question.
const HEADER: usize = 12;

/// What it says of the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Says {
    /// These addresses.
    Means(Vec<Ipv4Addr>),
    /// There is no such name.
    NoName,
    /// Nothing at all.
    Nothing,
}

/// A server that runs until it is dropped.
pub(super) struct Dns {
    pub(super) address: SocketAddr,
    says: Arc<Mutex<Says>>,
    ends: Arc<AtomicBool>,
    served: Option<JoinHandle<()>>,
}

impl Dns {
    /// Starts it on an address of this machine's own.
    ///
    /// # Errors
    /// The port is not ours to have: that takes root.
    pub(super) fn start(says: Says) -> Result<Self> {
        // Others may do the same beside us.
        let addresses = (20..220).map(|last| SocketAddr::from(([127, 53, 0, last], PORT)));
        let addresses: Vec<_> = addresses.collect();
        let socket = UdpSocket::bind(addresses.as_slice())
            .context("serving DNS at an address of 127.53.0.0/24")?;
        let address = socket.local_addr()?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (says, ends) = (Arc::new(Mutex::new(says)), Arc::<AtomicBool>::default());
        let (said, ended) = (says.clone(), ends.clone());
        let served = std::thread::spawn(move || {
            let mut bytes = [0; 1500];
            while !ended.load(Ordering::Relaxed) {
                let Ok((count, from)) = socket.recv_from(&mut bytes) else {
                    continue;
                };
                let says = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let query = bytes.get(..count).unwrap_or_default();
                if let Some(answer) = answer(query, &says) {
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Ok(Self {
            address,
            says,
            ends,
            served: Some(served),
        })
    }

    /// Says this from now on.
    pub(super) fn say(&self, says: Says) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = says;
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // The port is free afterwards: the next run has it.
        drop(self.served.take().map(JoinHandle::join));
    }
}

/// The answer to a query; none to what is none.
fn answer(query: &[u8], says: &Says) -> Option<Vec<u8>> {
    let id = query.get(..2)?;
    let mut end = HEADER;
    loop {
        let length = usize::from(*query.get(end)?);
        end += 1 + length;
        if length == 0 {
            break;
        }
    }
    let question = query.get(HEADER..end + 4)?;
    let is_ipv4 = query.get(end..end + 2)? == [0, 1];
    let (code, addresses): (u8, &[Ipv4Addr]) = match says {
        Says::Nothing => return None,
        Says::NoName => (3, &[]),
        Says::Means(all) if is_ipv4 => (0, all),
        Says::Means(_) => (0, &[]),
    };
    let mut answer = id.to_vec();
    // A response, recursion desired and available.
    answer.extend([0x81, 0x80 | code, 0, 1]);
    answer.extend(u16::try_from(addresses.len()).ok()?.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(question);
    for address in addresses {
        // The name of the question, A, IN.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1]);
        answer.extend(TTL.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered() {
        let query = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
        let means = Says::Means(vec![[127, 0, 0, 1].into()]);
        let found = answer(query, &means).unwrap();
        assert_eq!(
            found,
            b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x04test\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x7f\0\0\x01"
        );
        assert_eq!(answer(query, &Says::NoName).unwrap()[3], 0x83);
        assert_eq!(answer(query, &Says::Nothing), None);
        for end in 0..query.len() {
            assert_eq!(answer(&query[..end], &means), None, "{end}");
        }
    }
}
