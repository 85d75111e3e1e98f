//! The events that are kept, in the order of their numbers.
//!
//! Two lists, each bounded in number and bytes: what one wants to be told of, and requests like most,
//! which only are to be tried rules on. The oldest give way. A position names an item for as long as
//! the process runs, so that a stream goes on where it was.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::limits::{
    EVENT_STREAMS_MAX, EVENT_STREAMS_OF_HOLDER_MAX, EVENTS_KEPT_BYTES_MAX, EVENTS_KEPT_MAX,
};
use datapath::observe::{Event, EventCounts, EventKind, Events};

/// One thing that a stream tells.
#[derive(Debug)]
pub(crate) struct Item {
    pub(super) number: u64,
    pub(super) what: What,
    host: Box<str>,
    /// By name; nothing when it is of no zone.
    zone: Option<Box<str>>,
    /// JSON, in one line.
    pub(super) data: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Event(EventKind),
    /// Of the configuration, with the revision that it made.
    Change(u64),
}

/// Which items are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Only of this zone. Of a change no more is told then than that there was one: it may be of
    /// another zone.
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) host: Option<Box<str>>,
    /// Only of these kinds; all when empty.
    pub(crate) kinds: Vec<EventKind>,
}

impl Filter {
    fn wants(&self, item: &Item) -> bool {
        let What::Event(kind) = item.what else {
            return true;
        };
        let zone = self.zone.as_deref();
        zone.is_none_or(|zone| item.zone.as_deref() == Some(zone))
            && self.host.as_deref().is_none_or(|host| *item.host == *host)
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }

    /// What is told of an item.
    pub(super) fn data<'i>(&self, item: &'i Item) -> std::borrow::Cow<'i, [u8]> {
        match item.what {
            What::Change(revision) if self.zone.is_some() => {
                let bare = json!({ "revision": revision });
                bare.to_string().into_bytes().into()
            }
            _ => (&*item.data).into(),
        }
    }
}

/// A place in the order of all items, as clients keep it: of which process, and after which item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) process: u64,
    pub(crate) number: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.process, self.number)
    }
}

impl Position {
    /// Reads what was written; nothing when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (process, number) = text.trim().split_once('-')?;
        Some(Self {
            process: u64::from_str_radix(process, 16).ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// Items in their order, and the bytes of them.
#[derive(Default)]
struct List {
    items: VecDeque<Arc<Item>>,
    bytes: usize,
}

impl List {
    fn push(&mut self, item: Item) {
        self.bytes += item.data.len();
        self.items.push_back(Arc::new(item));
        while self.items.len() > EVENTS_KEPT_MAX || self.bytes > EVENTS_KEPT_BYTES_MAX {
            let Some(gone) = self.items.pop_front() else {
                return;
            };
            self.bytes -= gone.data.len();
        }
    }
}

#[derive(Default)]
struct Kept {
    told: List,
    passed: List,
    /// The number of the last item.
    last: u64,
    counts: EventCounts,
}

/// What is kept, and who listens.
pub(crate) struct History {
    kept: Mutex<Kept>,
    /// The number of the last item that is told.
    moved: watch::Sender<u64>,
    process: u64,
    /// Who has streams, one entry for each.
    listeners: Mutex<Vec<Arc<str>>>,
}

impl Default for History {
    fn default() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        let process = started.unwrap_or_default().as_millis();
        Self {
            kept: Mutex::default(),
            moved: watch::Sender::new(0),
            process: u64::try_from(process).unwrap_or_default(),
            listeners: Mutex::default(),
        }
    }
}

/// A part of what is kept.
pub(super) struct Part {
    pub(super) items: Vec<Arc<Item>>,
    /// Where the next part begins.
    pub(super) after: u64,
    /// Items behind the position are not kept any more.
    pub(super) gap: bool,
}

impl History {
    /// Adds what workers have noted since the last call. `country` knows where addresses are.
    pub(super) fn add_events(&self, events: &Events, country: impl Fn(IpAddr) -> Option<Box<str>>) {
        let mut kept = self.lock();
        let before = kept.last;
        events.take(|event| {
            let country = country(event.client.ip());
            kept.add_event(event, country.as_deref());
        });
        kept.counts = events.counts();
        let last = kept.last;
        drop(kept);
        if last != before {
            self.moved.send_replace(last);
        }
    }

    /// Adds changes of the configuration, by their revisions, the oldest first.
    pub(super) fn add_changes(&self, changes: impl Iterator<Item = (u64, Value)>) {
        let mut kept = self.lock();
        for (revision, change) in changes {
            let number = kept.next();
            kept.told.push(Item {
                number,
                what: What::Change(revision),
                host: Box::default(),
                zone: None,
                data: change.to_string().into_bytes().into(),
            });
        }
        let last = kept.last;
        drop(kept);
        self.moved.send_replace(last);
    }

    /// What was counted when it was last looked.
    pub(crate) fn counts(&self) -> EventCounts {
        self.lock().counts
    }

    /// Hears when there is something new.
    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// The position behind item `number`.
    pub(crate) fn position(&self, number: u64) -> Position {
        Position {
            process: self.process,
            number,
        }
    }

    /// Where a stream begins: behind the position, if it is of this process; else with the newest
    /// `recent` items.
    pub(super) fn begin(&self, position: Option<Position>, recent: usize, of: &Filter) -> u64 {
        let kept = self.lock();
        match position {
            Some(position) if position.process == self.process => position.number.min(kept.last),
            // Whatever is kept is news to one who knows another process.
            Some(_) => 0,
            None => {
                let wanted = kept.told.items.iter().rev().filter(|item| of.wants(item));
                let first = wanted.take(recent).last();
                first.map_or(kept.last, |item| item.number - 1)
            }
        }
    }

    /// At most `most` items behind `after` that are wanted.
    pub(super) fn part(&self, after: u64, most: usize, of: &Filter) -> Part {
        let kept = self.lock();
        let items = &kept.told.items;
        let start = items.partition_point(|item| item.number <= after);
        let first = items.front().map_or(kept.last + 1, |item| item.number);
        let mut part = Part {
            items: Vec::new(),
            after: kept.last,
            gap: kept.told_are_gone(after, first),
        };
        for item in items.range(start..).filter(|item| of.wants(item)) {
            if part.items.len() == most {
                break;
            }
            part.items.push(item.clone());
        }
        if part.items.len() == most
            && let Some(last) = part.items.last()
        {
            part.after = last.number;
        }
        part
    }

    /// The newest items that are wanted, the newest first, as JSON: events, or requests of every
    /// kind.
    pub(crate) fn newest(&self, of: &Filter, requests: bool, most: usize) -> Vec<String> {
        let kept = self.lock();
        let of_kind = |item: &Arc<Item>| match item.what {
            What::Change(_) => false,
            What::Event(kind) => {
                let is_request = !matches!(
                    kind,
                    EventKind::Handshake | EventKind::Certificate | EventKind::Connection
                );
                of.wants(item) && (!requests || is_request)
            }
        };
        let mut items: Vec<Arc<Item>> = Vec::new();
        items.extend(kept.told.items.iter().filter(|one| of_kind(one)).cloned());
        if requests {
            items.extend(kept.passed.items.iter().filter(|one| of_kind(one)).cloned());
        }
        drop(kept);
        items.sort_unstable_by_key(|item| std::cmp::Reverse(item.number));
        items.truncate(most);
        let shown = items.iter().map(|item| {
            let position = self.position(item.number);
            let data = String::from_utf8_lossy(&item.data);
            // The data is an object: the position goes in front of its first member.
            format!(
                r#"{{"id":"{position}",{}"#,
                data.strip_prefix('{').unwrap_or("}")
            )
        });
        shown.collect()
    }

    /// A place among those who have streams, or why there is none.
    pub(super) fn seat(self: &Arc<Self>, holder: &Arc<str>) -> Result<Seat, &'static str> {
        let mut listeners = self.listeners();
        if listeners.len() >= EVENT_STREAMS_MAX {
            return Err("There are too many event streams; try again when others have ended");
        }
        let of_holder = listeners.iter().filter(|one| *one == holder).count();
        if of_holder >= EVENT_STREAMS_OF_HOLDER_MAX {
            return Err("You have too many event streams; close some pages");
        }
        listeners.push(holder.clone());
        Ok(Seat {
            of: self.clone(),
            holder: holder.clone(),
        })
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        // Every change under the lock is one step.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // As above: an item is added whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn add_event(&mut self, event: Event, country: Option<&str>) {
        let Event {
            kind,
            stands_for,
            host,
            zone,
            mut line,
            ..
        } = event;
        while line.last() == Some(&b'\n') {
            line.pop();
        }
        let head = format!(
            r#"{{"kind":"{}","stands_for":{stands_for},"country":{},"record":"#,
            kind.as_str(),
            json!(country)
        );
        let number = self.next();
        let item = Item {
            number,
            what: What::Event(kind),
            host,
            zone: Some(zone).filter(|zone| !zone.is_empty()),
            data: [head.as_bytes(), &line, b"}"].concat().into(),
        };
        match kind {
            EventKind::Passed => self.passed.push(item),
            _ => self.told.push(item),
        }
    }

    /// Whether items behind `after` were told and are not kept, the first that is being `first`.
    fn told_are_gone(&self, after: u64, first: u64) -> bool {
        let full =
            self.told.items.len() >= EVENTS_KEPT_MAX || self.told.bytes * 2 > EVENTS_KEPT_BYTES_MAX;
        full && after + 1 < first
    }
}

/// A place among those who have streams, until it is dropped.
pub(super) struct Seat {
    of: Arc<History>,
    holder: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut listeners = self.of.listeners();
        if let Some(place) = listeners.iter().position(|one| *one == self.holder) {
            listeners.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, zone: &str, size: usize) -> Event {
        Event {
            kind,
            stands_for: 1,
            client: "192.0.2.1:1".parse().unwrap(),
            host: format!("api.{zone}").into(),
            zone: zone.into(),
            line: format!("{{\"x\":\"{}\"}}\n", "y".repeat(size)).into_bytes(),
        }
    }

    fn add(history: &History, event: Event) {
        history.lock().add_event(event, Some("DE"));
    }

    #[test]
    fn each_gets_what_is_its_own_and_in_order() {
        let history = History::default();
        for (kind, zone) in [
            (EventKind::Blocked, "a.test"),
            (EventKind::Handshake, ""),
            (EventKind::Passed, "a.test"),
            (EventKind::Logged, "b.test"),
        ] {
            add(&history, event(kind, zone, 1));
        }
        let change = json!({ "revision": 7, "actor": "someone" });
        history.add_changes(std::iter::once((7, change)));
        let numbers = |filter: &Filter| {
            let part = history.part(0, 10, filter);
            assert!(!part.gap);
            assert_eq!(part.after, 5);
            part.items.iter().map(|one| one.number).collect::<Vec<_>>()
        };
        let everything = Filter::default();
        assert_eq!(numbers(&everything), [1, 2, 4, 5]);
        let zone = Filter {
            zone: Some("a.test".into()),
            ..Filter::default()
        };
        assert_eq!(numbers(&zone), [1, 5]);
        let change = history.part(4, 1, &zone).items.remove(0);
        assert_eq!(&*zone.data(&change), br#"{"revision":7}"#);
        assert!(everything.data(&change).ends_with(br#""revision":7}"#));
        let logged = Filter {
            kinds: vec![EventKind::Logged],
            host: Some("api.b.test".into()),
            ..Filter::default()
        };
        assert_eq!(numbers(&logged), [4, 5]);
        assert_eq!(history.newest(&everything, false, 10).len(), 3);
        let requests = history.newest(&zone, true, 10);
        assert_eq!(requests.len(), 2);
        let newest: Value = serde_json::from_str(&requests[0]).unwrap();
        assert_eq!(newest["kind"], "passed");
        assert_eq!(newest["record"]["x"], "y");
        assert!(Position::parse(newest["id"].as_str().unwrap()).is_some());
    }

    #[test]
    fn a_stream_goes_on_where_it_was_and_says_what_it_has_missed() {
        let history = History::default();
        let all = Filter::default();
        for _ in 0..10 {
            add(&history, event(EventKind::Blocked, "a.test", 1));
        }
        assert_eq!(history.begin(None, 0, &all), 10);
        assert_eq!(history.begin(None, 3, &all), 7);
        let seen = history.position(4);
        assert_eq!(Position::parse(&seen.to_string()), Some(seen));
        assert_eq!(history.begin(Some(seen), 0, &all), 4);
        let elsewhere = Position {
            process: 1,
            number: 9,
        };
        assert_eq!(history.begin(Some(elsewhere), 0, &all), 0);
        let part = history.part(4, 4, &all);
        assert_eq!((part.items.len(), part.after, part.gap), (4, 8, false));
        for _ in 0..EVENTS_KEPT_MAX {
            add(&history, event(EventKind::Blocked, "a.test", 1));
        }
        assert!(history.part(4, 4, &all).gap);
        assert!(!history.part(20, 4, &all).gap);
        for text in ["", "x", "1-", "-1", "zz-1", "1-2-3"] {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let history = History::default();
        for _ in 0..2 * EVENTS_KEPT_MAX {
            add(&history, event(EventKind::Blocked, "a.test", 10_000));
            add(&history, event(EventKind::Passed, "a.test", 1));
        }
        let kept = history.lock();
        assert!(kept.told.bytes <= EVENTS_KEPT_BYTES_MAX);
        assert_eq!(kept.passed.items.len(), EVENTS_KEPT_MAX);
        let bytes = kept.told.items.iter().map(|one| one.data.len());
        assert_eq!(bytes.sum::<usize>(), kept.told.bytes);
    }

    #[test]
    fn streams_are_counted_by_holder_and_in_all() {
        let history = Arc::new(History::default());
        let of = |name: &str| history.seat(&name.into());
        let mut seats: Vec<Seat> = Vec::new();
        while let Ok(seat) = of("greedy") {
            seats.push(seat);
        }
        assert_eq!(seats.len(), EVENT_STREAMS_OF_HOLDER_MAX);
        let mut number = 0;
        while let Ok(seat) = of(&number.to_string()) {
            seats.push(seat);
            number += 1;
        }
        assert_eq!(seats.len(), EVENT_STREAMS_MAX);
        seats.clear();
        assert!(of("greedy").is_ok());
    }
}
