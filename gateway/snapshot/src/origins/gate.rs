//! Gates: so many requests, or connections, of an origin at once; who comes beyond that waits, in a
//! queue that has an end.
//!
//! All workers share a gate. It has no lock: what is inside is a count, and each place of the queue is
//! a word that says whose turn comes when. Whoever leaves lets in the one whose turn it is and wakes
//! him, on whatever worker he waits. Reads no clock: how long somebody waits is the data path's.
//!
//! **Turns.** The n-th request that a client has waiting gets its turn with the n-th of every other
//! client. Where the queue is full, somebody whose turn comes earlier takes the place of the last one,
//! who is told so: a client that fills the queue gives way to those who have less in it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;

use crate::limits::ORIGIN_QUEUE_MAX;

/// Nobody has the place.
const FREE: u64 = 0;
/// Somebody is about to sit down.
const TAKEN: u64 = 1;
/// Who has it is let in.
const LET_IN: u64 = 2;
/// Who has it had to give way.
const GIVES_WAY: u64 = 3;
/// The first turn; anything less is one of the above.
const FIRST_TURN: u64 = 4;

/// Places that a queue grows by.
const SEGMENT: usize = 64;
/// Twice as many places as the longest queue has: see [`Gate::places`].
const SEGMENTS_MAX: usize = (2 * ORIGIN_QUEUE_MAX as usize).div_ceil(SEGMENT);

/// How many of an origin's may be at once.
#[derive(Debug)]
pub struct Limit {
    /// So many. The gate lets in as many once the snapshot is published: [`Gate::allow`].
    pub max: u32,
    /// So many may wait beyond that, likewise.
    pub queue: u32,
    /// Who is inside, and who waits.
    pub gate: Arc<Gate>,
}

/// Who is inside, and who waits.
#[derive(Debug)]
pub struct Gate {
    /// So many may be inside, by the configuration of now.
    max: AtomicU32,
    inside: AtomicU32,
    waiting: AtomicU32,
    /// So many may wait, by the configuration of now. Who waits already stays.
    length: AtomicU32,
    turns: AtomicU64,
    /// The round in which somebody was let in last.
    round: AtomicU64,
    /// Twice as many as may ever have waited: who gave way has his place until he has seen it. They are made
    /// from the first on, and stay: a queue that grows is the same one.
    segments: [OnceLock<Box<[Place; SEGMENT]>>; SEGMENTS_MAX],
    /// In all: who waited, who was refused, and for how long who was let in had waited.
    queued: AtomicU64,
    refused: AtomicU64,
    waited_usec: AtomicU64,
}

/// A place in the queue.
#[derive(Debug, Default)]
struct Place {
    /// When its turn comes among those of its round, or what became of it. No turn comes twice.
    turn: AtomicU64,
    /// Earlier rounds come first.
    round: AtomicU64,
    client: AtomicU64,
    waker: AtomicWaker,
}

/// The queue is full, or somebody else had to have the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// What a gate has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateCounts {
    /// Inside now.
    pub inside: u32,
    /// Waiting now.
    pub waiting: u32,
    /// Who had to wait, in all.
    pub queued: u64,
    /// Who was not let in, in all.
    pub refused: u64,
    /// How long those who were let in had waited, together.
    pub waited: Duration,
}

/// Somebody who was let in, for as long as this lives.
#[derive(Debug)]
pub struct Inside {
    gate: Arc<Gate>,
}

/// Somebody at the gate.
#[derive(Debug)]
pub enum Arrival {
    /// He was let in at once.
    Inside(Inside),
    /// He waits.
    Waiting(Waiting),
}

/// Somebody who waits. Who is dropped waits no more.
#[derive(Debug)]
pub struct Waiting {
    gate: Arc<Gate>,
    place: usize,
    is_over: bool,
}

impl Gate {
    /// A gate that lets so many in, with a queue of this length.
    #[must_use]
    pub fn new(max: u32, length: u32) -> Arc<Self> {
        let gate = Self {
            max: AtomicU32::new(max),
            inside: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            length: AtomicU32::new(0),
            turns: AtomicU64::new(FIRST_TURN),
            round: AtomicU64::new(0),
            segments: [const { OnceLock::new() }; SEGMENTS_MAX],
            queued: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            waited_usec: AtomicU64::new(0),
        };
        gate.queue_up_to(length);
        Arc::new(gate)
    }

    /// Lets so many in from now on, those among them who wait already, and so many wait. Who is inside stays,
    /// and who waits.
    pub fn allow(&self, max: u32, length: u32) {
        self.queue_up_to(length);
        if self.max.swap(max, SeqCst) != max {
            self.let_in();
        }
    }

    /// There are places before anybody is told to take one.
    fn queue_up_to(&self, length: u32) {
        let wanted = (2 * length.min(ORIGIN_QUEUE_MAX) as usize).div_ceil(SEGMENT);
        for segment in self.segments.iter().take(wanted) {
            segment.get_or_init(|| Box::new(std::array::from_fn(|_| Place::default())));
        }
        self.length.store(length.min(ORIGIN_QUEUE_MAX), SeqCst);
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        let segments = self.segments.iter().map_while(OnceLock::get);
        segments.flat_map(|segment| segment.iter())
    }

    /// Whether one more would have to wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inside.load(Relaxed) >= self.max.load(Relaxed)
    }

    /// Whether somebody waits.
    #[must_use]
    pub fn has_queue(&self) -> bool {
        self.waiting.load(SeqCst) != 0
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> GateCounts {
        GateCounts {
            inside: self.inside.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            queued: self.queued.load(Relaxed),
            refused: self.refused.load(Relaxed),
            waited: Duration::from_micros(self.waited_usec.load(Relaxed)),
        }
    }

    /// Somebody was let in after so long.
    pub fn count_waited(&self, time: Duration) {
        let usec = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.waited_usec.fetch_add(usec, Relaxed);
    }

    /// Somebody was not let in.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    fn try_enter(&self) -> bool {
        let max = self.max.load(SeqCst);
        let enter = |inside| (inside < max).then_some(inside + 1);
        self.inside.fetch_update(SeqCst, SeqCst, enter).is_ok()
    }

    /// Lets in those whose turn it is, as long as there is room.
    fn let_in(&self) {
        while self.has_queue() && self.try_enter() {
            if self.call_next() {
                continue;
            }
            // Who came meanwhile saw the room taken: look again, now that it is not.
            self.inside.fetch_sub(1, SeqCst);
            if self.next().is_none() {
                return;
            }
        }
    }

    /// Those who wait, each with his round and his turn in it.
    fn queue(&self) -> impl Iterator<Item = (&Place, (u64, u64))> {
        self.places().filter_map(|place| {
            let turn = place.turn.load(SeqCst);
            (turn >= FIRST_TURN).then(|| (place, (place.round.load(SeqCst), turn)))
        })
    }

    /// The one whose turn comes first.
    fn next(&self) -> Option<(&Place, (u64, u64))> {
        self.queue().min_by_key(|(_, turn)| *turn)
    }

    /// Lets the next one in, who is counted already; `false` when nobody waits.
    fn call_next(&self) -> bool {
        while let Some((place, (round, turn))) = self.next() {
            if place.becomes(turn, LET_IN) {
                self.round.fetch_max(round, SeqCst);
                self.waiting.fetch_sub(1, SeqCst);
                place.waker.wake();
                return true;
            }
        }
        false
    }

    /// Whether there is room in the queue for somebody with this turn, which is his then: free, or that
    /// of the last one.
    fn has_room(&self, turn: (u64, u64)) -> bool {
        loop {
            let length = self.length.load(SeqCst);
            let sit = |waiting| (waiting < length).then_some(waiting + 1);
            if self.waiting.fetch_update(SeqCst, SeqCst, sit).is_ok() {
                return true;
            }
            let last = self.queue().max_by_key(|(_, turn)| *turn);
            let Some((place, last)) = last.filter(|(_, last)| *last > turn) else {
                return false;
            };
            if place.becomes(last.1, GIVES_WAY) {
                self.count_refused();
                place.waker.wake();
                return true;
            }
        }
    }

    /// Somebody comes. `client` tells clients apart.
    ///
    /// # Errors
    /// The queue is full.
    pub fn arrive(self: &Arc<Self>, client: u64) -> Result<Arrival, Full> {
        if !self.has_queue() && self.try_enter() {
            let gate = self.clone();
            return Ok(Arrival::Inside(Inside { gate }));
        }
        let of_client = |place: &Place| place.client.load(SeqCst) == client;
        let before = self.queue().filter(|(place, _)| of_client(place)).count();
        let round = self.round.load(SeqCst) + before as u64;
        let turn = self.turns.fetch_add(1, SeqCst);
        if !self.has_room((round, turn)) {
            self.count_refused();
            return Err(Full);
        }
        let mut places = self.places().enumerate();
        let Some((place, seat)) = places.find(|(_, one)| one.becomes(FREE, TAKEN)) else {
            self.waiting.fetch_sub(1, SeqCst);
            self.count_refused();
            return Err(Full);
        };
        seat.client.store(client, SeqCst);
        seat.round.store(round, SeqCst);
        seat.turn.store(turn, SeqCst);
        self.queued.fetch_add(1, Relaxed);
        self.let_in();
        Ok(Arrival::Waiting(Waiting {
            gate: self.clone(),
            place,
            is_over: false,
        }))
    }
}

impl Place {
    fn becomes(&self, from: u64, to: u64) -> bool {
        self.turn.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }
}

impl Inside {
    /// Whether somebody waits for what this has.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.gate.has_queue()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.gate.inside.fetch_sub(1, SeqCst);
        self.gate.let_in();
    }
}

impl Waiting {
    fn seat(&self) -> Option<&Place> {
        let segment = self.gate.segments.get(self.place / SEGMENT)?.get()?;
        segment.get(self.place % SEGMENT)
    }

    /// What became of it, when that is known. The place is free then.
    fn outcome(&mut self) -> Option<Result<Inside, Full>> {
        let seat = self.seat()?;
        let outcome = match seat.turn.load(SeqCst) {
            LET_IN => Ok(Inside {
                gate: self.gate.clone(),
            }),
            // Counted by whoever has his place.
            GIVES_WAY => Err(Full),
            _waiting => return None,
        };
        drop(seat.waker.take());
        seat.turn.store(FREE, SeqCst);
        self.is_over = true;
        Some(outcome)
    }
}

impl Future for Waiting {
    type Output = Result<Inside, Full>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_over {
            return Poll::Ready(Err(Full));
        }
        if let Some(seat) = self.seat() {
            seat.waker.register(cx.waker());
        }
        // There may be more room than those who left knew of.
        self.gate.let_in();
        self.outcome().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Waiting {
    /// Waits no longer. What became of it, when that was decided before; else it counts as refused.
    #[must_use]
    pub fn give_up(mut self) -> Option<Result<Inside, Full>> {
        let outcome = self.leave();
        if outcome.is_none() {
            self.gate.count_refused();
        }
        outcome
    }

    fn leave(&mut self) -> Option<Result<Inside, Full>> {
        while !self.is_over {
            let turn = self.seat()?.turn.load(SeqCst);
            if turn < FIRST_TURN {
                return self.outcome();
            }
            let seat = self.seat()?;
            if seat.becomes(turn, TAKEN) {
                drop(seat.waker.take());
                self.gate.waiting.fetch_sub(1, SeqCst);
                seat.turn.store(FREE, SeqCst);
                self.is_over = true;
            }
        }
        None
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Let in and not interested: who is next has it.
        drop(self.leave());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;
    use std::task::Waker;

    use super::*;

    fn inside(arrival: Result<Arrival, Full>) -> Inside {
        match arrival {
            Ok(Arrival::Inside(inside)) => inside,
            other => panic!("{other:?}"),
        }
    }

    fn waiting(arrival: Result<Arrival, Full>) -> Waiting {
        match arrival {
            Ok(Arrival::Waiting(waiting)) => waiting,
            other => panic!("{other:?}"),
        }
    }

    fn poll(one: &mut Waiting) -> Option<Result<(), Full>> {
        let cx = &mut Context::from_waker(Waker::noop());
        match Pin::new(one).poll(cx) {
            // Goes on at once: the next one is let in.
            Poll::Ready(outcome) => Some(outcome.map(drop)),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_comes_beyond_the_limit_waits_and_who_comes_beyond_that_is_refused() {
        let gate = Gate::new(1, 2);
        let first = inside(gate.arrive(1));
        let mut second = waiting(gate.arrive(2));
        let third = waiting(gate.arrive(3));
        assert_eq!(gate.arrive(4).unwrap_err(), Full);
        assert_eq!(poll(&mut second), None);
        drop(third);
        let mut fourth = waiting(gate.arrive(4));
        drop(first);
        assert_eq!(poll(&mut fourth), None, "it is not its turn");
        assert_eq!(poll(&mut second), Some(Ok(())));
        assert_eq!(poll(&mut fourth), Some(Ok(())));
        let counts = gate.counts();
        assert_eq!((counts.inside, counts.waiting), (0, 0));
        assert_eq!((counts.queued, counts.refused), (3, 1));
        // Without a queue nobody waits.
        let gate = Gate::new(1, 0);
        let _first = inside(gate.arrive(1));
        assert_eq!(gate.arrive(2).unwrap_err(), Full);
    }

    #[test]
    fn clients_take_turns_and_who_has_most_in_a_full_queue_gives_way() {
        let gate = Gate::new(1, 4);
        let first = inside(gate.arrive(9));
        let mut greedy: Vec<Waiting> = (0..4).map(|_| waiting(gate.arrive(1))).collect();
        assert_eq!(gate.arrive(1).unwrap_err(), Full);
        // Another client has a place all the same, and the last one of the greedy client goes.
        let mut other = waiting(gate.arrive(2));
        assert_eq!(poll(&mut greedy[3]), Some(Err(Full)));
        let mut another = waiting(gate.arrive(3));
        assert_eq!(poll(&mut greedy[2]), Some(Err(Full)));
        assert_eq!(gate.counts().waiting, 4);
        drop(first);
        // One of each, and only then the second one of the greedy client.
        let mut order = Vec::new();
        while order.len() < 4 {
            for (name, one) in [("other", &mut other), ("another", &mut another)] {
                if !one.is_over && poll(one).is_some() {
                    order.push(name);
                }
            }
            for one in &mut greedy[..2] {
                if !one.is_over && poll(one).is_some() {
                    order.push("greedy");
                }
            }
        }
        assert_eq!(order, ["greedy", "other", "another", "greedy"]);
        assert_eq!(gate.counts().refused, 3);
    }

    #[test]
    fn who_is_let_in_and_gone_lets_the_next_one_in() {
        let gate = Gate::new(1, 4);
        let first = inside(gate.arrive(1));
        let (second, mut third) = (waiting(gate.arrive(2)), waiting(gate.arrive(3)));
        drop(first);
        drop(second);
        assert_eq!(poll(&mut third), Some(Ok(())));
        assert_eq!(gate.counts().inside, 0);
        // A limit that was raised lets in who waits, without anybody leaving.
        let _first = inside(gate.arrive(1));
        let mut second = waiting(gate.arrive(2));
        assert_eq!(poll(&mut second), None);
        gate.allow(3, 4);
        assert_eq!(poll(&mut second), Some(Ok(())));
    }

    #[test]
    fn a_queue_of_another_length_is_the_same_queue() {
        let gate = Gate::new(1, 1);
        let first = inside(gate.arrive(1));
        let mut second = waiting(gate.arrive(2));
        assert_eq!(gate.arrive(3).unwrap_err(), Full);
        gate.allow(1, 100);
        let mut others: Vec<Waiting> = (3..102).map(|one| waiting(gate.arrive(one))).collect();
        assert_eq!(gate.arrive(200).unwrap_err(), Full);
        // Who waits stays when it is shorter, and nobody else sits down; who comes later is no earlier.
        gate.allow(1, 2);
        assert_eq!(gate.arrive(201).unwrap_err(), Full);
        assert_eq!(gate.counts().waiting, 100);
        drop(first);
        assert_eq!(poll(&mut second), Some(Ok(())));
        for (place, one) in others.iter_mut().enumerate() {
            assert_eq!(poll(one), Some(Ok(())), "{place}");
        }
        let _first = inside(gate.arrive(1));
        let queue = [2, 3].map(|one| waiting(gate.arrive(one)));
        assert_eq!(gate.arrive(4).unwrap_err(), Full);
        drop(queue);
        assert_eq!(gate.counts().waiting, 0);
        // Longer than any may be is as long as one may be.
        gate.allow(1, u32::MAX);
        let queue: Vec<Waiting> = (0..ORIGIN_QUEUE_MAX)
            .map(|one| waiting(gate.arrive(one.into())))
            .collect();
        assert_eq!(gate.arrive(9_999).unwrap_err(), Full);
        drop(queue);
    }

    #[test]
    fn a_limit_that_is_lowered_holds_while_others_wait() {
        let gate = Gate::new(3, 4);
        let mut inside: Vec<Inside> = (0..3).map(|one| inside(gate.arrive(one))).collect();
        let mut queue: Vec<Waiting> = (0..3).map(|one| waiting(gate.arrive(9 + one))).collect();
        gate.allow(1, 4);
        assert!(gate.is_full());
        for left in [2, 1] {
            drop(inside.pop());
            assert!(queue.iter_mut().all(|one| poll(one).is_none()));
            assert_eq!(gate.counts().inside, left);
        }
        drop(inside.pop());
        let cx = &mut Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(_next)) = Pin::new(&mut queue[0]).poll(cx) else {
            panic!("nobody is let in");
        };
        assert_eq!(poll(&mut queue[1]), None, "one at a time by now");
    }

    #[test]
    fn who_is_refused_counts_once() {
        let gate = Gate::new(1, 2);
        let first = inside(gate.arrive(9));
        // Gives way, and gives up before he has seen it.
        let patient = waiting(gate.arrive(1));
        let greedy = waiting(gate.arrive(1));
        let other = waiting(gate.arrive(2));
        assert!(matches!(greedy.give_up(), Some(Err(Full))));
        assert_eq!(gate.counts().refused, 1);
        assert!(other.give_up().is_none());
        assert_eq!(gate.counts().refused, 2);
        // Goes away: nobody is refused.
        drop(patient);
        assert_eq!(gate.counts().refused, 2);
        // Is let in at the last moment.
        let late = waiting(gate.arrive(3));
        drop(first);
        assert!(matches!(late.give_up(), Some(Ok(_))));
        assert_eq!((gate.counts().refused, gate.counts().inside), (2, 0));
    }

    #[test]
    fn threads_never_exceed_the_limit_and_nobody_is_forgotten() {
        const THREADS: usize = 4;
        const ROUNDS: usize = 20_000;
        const MAX: u32 = 2;
        let (gate, together) = (Gate::new(MAX, 3), Barrier::new(THREADS));
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        std::thread::scope(|scope| {
            for client in 0..THREADS {
                let (gate, together) = (&gate, &together);
                let (now, most, served, refused) = (&now, &most, &served, &refused);
                scope.spawn(move || {
                    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
                    together.wait();
                    for round in 0..ROUNDS {
                        let let_in = match gate.arrive(client as u64) {
                            Err(Full) => None,
                            Ok(Arrival::Inside(inside)) => Some(inside),
                            // Some do not wait.
                            Ok(Arrival::Waiting(waiting)) if round % 7 == 0 => {
                                drop(waiting);
                                None
                            }
                            Ok(Arrival::Waiting(mut waiting)) => loop {
                                let cx = &mut Context::from_waker(&waker);
                                match Pin::new(&mut waiting).poll(cx) {
                                    Poll::Ready(outcome) => break outcome.ok(),
                                    Poll::Pending => std::thread::park(),
                                }
                            },
                        };
                        let Some(let_in) = let_in else {
                            refused.fetch_add(1, Relaxed);
                            continue;
                        };
                        let inside = now.fetch_add(1, SeqCst) + 1;
                        most.fetch_max(inside, SeqCst);
                        if round % 16 == 0 {
                            std::thread::yield_now();
                        }
                        now.fetch_sub(1, SeqCst);
                        drop(let_in);
                        served.fetch_add(1, Relaxed);
                    }
                });
            }
        });
        assert!(most.into_inner() <= MAX as usize);
        let (served, refused) = (served.into_inner(), refused.into_inner());
        assert_eq!(served + refused, THREADS * ROUNDS);
        assert!(served > 0);
        let counts = gate.counts();
        assert_eq!((counts.inside, counts.waiting), (0, 0));
        assert!(gate.places().all(|place| place.turn.load(SeqCst) == FREE));
    }
}
