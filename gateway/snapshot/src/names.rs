//! What names of origins mean, from who looks them up to who connects.
//!
//! Owns the table of names and their answers. A name has an entry for as long as the configuration names
//! it, whatever is asked for: nothing that a request does makes the table larger. Looks nothing up
//! (`fetch`), and bounds no wait: who waits does. Readers take no lock while there is an answer; who waits
//! for the first one leaves word in a list that is behind one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use crossbeam::queue::SegQueue;
use tokio::sync::Notify;

/// Names in lower case.
pub type NameTable = HashMap<Box<str>, Arc<Meaning>>;

/// What all names mean.
#[derive(Debug, Default)]
pub struct NameBook {
    table: ArcSwap<NameTable>,
    /// Told of another table.
    changed: Notify,
    /// Rung by who finds no entry for a name, or no answer.
    bell: Notify,
    /// Names that somebody waits for the first answer of: each is here once in its life.
    asked: SegQueue<Box<str>>,
}

/// What one name means.
#[derive(Debug, Default)]
pub struct Meaning {
    answer: ArcSwap<Answer>,
    /// Told of an answer.
    told: Notify,
    /// Somebody has asked before there was an answer.
    asked: AtomicBool,
    /// How often it was asked for: where several addresses are as good, connections go round.
    turn: AtomicUsize,
}

/// What was answered.
#[derive(Debug, Default)]
enum Answer {
    /// Nothing yet.
    #[default]
    None,
    /// These, of which those of the first one's family lead.
    Means(Box<[IpAddr]>),
    /// It was never found, the last time for this reason.
    Unfound(Arc<str>),
}

impl NameBook {
    /// What a name means. What was answered last holds until there is another answer, and is had at once;
    /// so is why there is none. Of a name that was not answered for at all yet, it waits for that.
    ///
    /// # Errors
    /// It was never found, for this reason.
    pub async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Arc<str>> {
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        loop {
            // From here on it hears of a change.
            let changed = self.changed.notified();
            let found = self.table.load().get(&*name).cloned();
            if let Some(meaning) = found {
                if meaning.is_to_hurry() {
                    self.asked.push(name.into());
                    self.bell.notify_one();
                }
                return meaning.get().await;
            }
            // It was configured a moment ago, and who looks names up has not seen it yet.
            self.bell.notify_one();
            changed.await;
        }
    }

    /// Waits until somebody has asked for a name that has no entry, or no answer.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The names that somebody has begun to wait for the first answer of.
    pub fn take_asked(&self) -> Vec<Box<str>> {
        std::iter::from_fn(|| self.asked.pop()).collect()
    }

    /// Another table from now on.
    pub fn set(&self, table: NameTable) {
        self.table.store(Arc::new(table));
        self.changed.notify_waiters();
    }
}

impl Meaning {
    /// It means these addresses, in their order.
    pub fn found(&self, addresses: &[IpAddr]) {
        self.put(Answer::Means(addresses.into()));
    }

    /// It was not found. What it meant stays, if it meant anything.
    pub fn unfound(&self, why: &str) {
        if !matches!(**self.answer.load(), Answer::Means(_)) {
            self.put(Answer::Unfound(why.into()));
        }
    }

    /// Somebody has asked for it before there was an answer.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// The first one that waits is to say so.
    fn is_to_hurry(&self) -> bool {
        matches!(**self.answer.load(), Answer::None) && !self.asked.swap(true, Relaxed)
    }

    fn put(&self, answer: Answer) {
        self.answer.store(Arc::new(answer));
        self.told.notify_waiters();
    }

    async fn get(&self) -> Result<Vec<IpAddr>, Arc<str>> {
        loop {
            let told = self.told.notified();
            match &**self.answer.load() {
                Answer::Means(addresses) => {
                    let turn = self.turn.fetch_add(1, Relaxed);
                    return Ok(in_turn(addresses, turn));
                }
                Answer::Unfound(why) => return Err(why.clone()),
                Answer::None => {}
            }
            told.await;
        }
    }
}

/// The same addresses; of the first one's family, another one leads each time.
fn in_turn(addresses: &[IpAddr], turn: usize) -> Vec<IpAddr> {
    let leads = |one: &&IpAddr| one.is_ipv4() == addresses.first().is_some_and(IpAddr::is_ipv4);
    let mut all = addresses.to_vec();
    let family = addresses.iter().take_while(leads).count();
    if let (Some(family), Some(by)) = (all.get_mut(..family), turn.checked_rem(family)) {
        family.rotate_left(by);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn now<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split(' ').map(|one| one.parse().unwrap()).collect()
    }

    #[test]
    fn who_asks_for_a_name_waits_for_its_first_answer_and_never_again() {
        let book = NameBook::default();
        let mut early = pin!(book.look_up("One.test"));
        assert!(now(early.as_mut()).is_none());
        assert!(now(pin!(book.rung())).is_some(), "somebody is to look");
        assert!(now(pin!(book.rung())).is_none());
        let meaning = Arc::<Meaning>::default();
        book.set([("one.test".into(), meaning.clone())].into());
        let mut late = pin!(book.look_up("one.test"));
        assert!(now(late.as_mut()).is_none());
        assert!(now(early.as_mut()).is_none());
        assert!(meaning.was_asked());
        // One word of it is enough.
        assert!(now(pin!(book.rung())).is_some(), "somebody is to hurry");
        assert!(now(pin!(book.rung())).is_none());
        assert_eq!(book.take_asked(), ["one.test".into()]);
        assert!(now(pin!(book.look_up("one.test"))).is_none());
        assert!(book.take_asked().is_empty());

        meaning.unfound("nobody knows it");
        let why = now(early.as_mut()).unwrap().unwrap_err();
        assert_eq!(&*why, "nobody knows it");
        meaning.found(&addresses("192.0.2.1"));
        let found = addresses("192.0.2.1");
        assert_eq!(now(late.as_mut()), Some(Ok(found.clone())));
        // What it meant stays.
        meaning.unfound("nobody knows it");
        assert_eq!(now(pin!(book.look_up("ONE.test"))), Some(Ok(found)));
    }

    #[test]
    fn connections_go_round_the_addresses_of_the_family_that_leads() {
        let meaning = Meaning::default();
        meaning.found(&addresses("192.0.2.1 192.0.2.2 2001:db8::1"));
        for wanted in [
            "192.0.2.1 192.0.2.2 2001:db8::1",
            "192.0.2.2 192.0.2.1 2001:db8::1",
            "192.0.2.1 192.0.2.2 2001:db8::1",
        ] {
            assert_eq!(now(pin!(meaning.get())), Some(Ok(addresses(wanted))));
        }
        assert!(in_turn(&[], 7).is_empty());
    }
}
