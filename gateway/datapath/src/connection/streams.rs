//! The requests of one HTTP/2 connection, which the task of the connection drives itself.
//!
//! A request costs no task and, once a few have gone before it, no allocation: its future lives where
//! one that is over has lived. Owns which of them have something to do, and which part of the
//! connection was woken. Does not know what they do.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use crate::limits::H2_STREAMS_KEPT;

/// What the parts of a connection ring to be polled.
#[derive(Default)]
struct Bell(Mutex<Rung>);

#[derive(Default)]
struct Rung {
    /// Who rang and was not polled since, the first one first.
    parts: Vec<usize>,
    /// The task looks for those by itself before it sleeps.
    awake: bool,
    task: Option<Waker>,
}

/// One part, and whether it has rung.
struct Part {
    bell: Arc<Bell>,
    index: usize,
    rung: AtomicBool,
}

impl Bell {
    fn change<T>(&self, change: impl FnOnce(&mut Rung) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn part(self: &Arc<Self>, index: usize) -> Arc<Part> {
        Arc::new(Part {
            bell: self.clone(),
            index,
            rung: AtomicBool::new(false),
        })
    }
}

impl Wake for Part {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = self.bell.change(|rung| {
            rung.parts.push(self.index);
            rung.task.take_if(|_| !rung.awake)
        });
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// A place for a request.
struct Place<F> {
    /// `None` between two.
    future: Pin<Box<Option<F>>>,
    part: Arc<Part>,
    waker: Waker,
}

/// The requests that are under way, and the wire below them.
pub(super) struct Streams<F> {
    bell: Arc<Bell>,
    wire: Arc<Part>,
    wire_waker: Waker,
    places: Vec<Option<Place<F>>>,
    /// Of these nobody has the place.
    free: Vec<usize>,
    open: usize,
    /// Those that rang, taken from the bell.
    due: Vec<usize>,
}

/// The part of the bell that is the wire; the others are places.
const WIRE: usize = usize::MAX;

impl<F: Future<Output = ()>> Streams<F> {
    /// None, and a wire that has something to do.
    pub(super) fn new() -> Self {
        let bell = Arc::<Bell>::default();
        let wire = bell.part(WIRE);
        wire.wake_by_ref();
        Self {
            wire_waker: wire.clone().into(),
            wire,
            bell,
            places: Vec::new(),
            free: Vec::new(),
            open: 0,
            due: Vec::new(),
        }
    }

    /// Requests that are under way.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// What wakes the wire.
    pub(super) fn wire_waker(&self) -> &Waker {
        &self.wire_waker
    }

    /// The wire has something to do once more.
    pub(super) fn wake_wire(&self) {
        self.wire.wake_by_ref();
    }

    /// The task is polled: who rings from now on is found by it.
    pub(super) fn awake(&self, cx: &Context<'_>) {
        self.bell.change(|rung| {
            rung.awake = true;
            if !rung
                .task
                .as_ref()
                .is_some_and(|task| task.will_wake(cx.waker()))
            {
                rung.task = Some(cx.waker().clone());
            }
        });
    }

    /// The task goes to sleep. `false`: somebody has rung, and it must not.
    pub(super) fn sleep(&self) -> bool {
        self.bell.change(|rung| {
            rung.awake = !rung.parts.is_empty();
            !rung.awake
        })
    }

    /// The task has had its turn, whoever has rung: it comes again.
    pub(super) fn pause(&self) {
        self.bell.change(|rung| {
            rung.awake = false;
            if let Some(task) = &rung.task {
                task.wake_by_ref();
            }
        });
    }

    /// Takes a request, which is polled at the next [`poll`](Self::poll). It is made where it is wanted:
    /// a future is some kilobytes, that need not be moved through many hands.
    pub(super) fn begin(&mut self, make: impl FnOnce() -> F) {
        self.open += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        let Some(place) = self.places.get_mut(index) else {
            return;
        };
        let place = place.get_or_insert_with(|| {
            let part = self.bell.part(index);
            Place {
                future: Box::pin(None),
                waker: part.clone().into(),
                part,
            }
        });
        place.future.set(Some(make()));
        place.part.wake_by_ref();
    }

    /// Polls those that have rung, up to `most` of them. Answers whether the wire is among them, and
    /// how many requests were polled.
    pub(super) fn poll(&mut self, most: usize) -> (bool, usize) {
        let mut due = std::mem::take(&mut self.due);
        self.bell.change(|rung| {
            let now = rung.parts.len().min(most);
            due.extend(rung.parts.drain(..now));
        });
        let (mut wire, mut polled) = (false, 0);
        for index in due.drain(..) {
            if index == WIRE {
                self.wire.rung.store(false, Ordering::Release);
                wire = true;
                continue;
            }
            polled += 1;
            let Some(Some(place)) = self.places.get_mut(index) else {
                continue;
            };
            place.part.rung.store(false, Ordering::Release);
            let Some(future) = place.future.as_mut().as_pin_mut() else {
                continue;
            };
            if future
                .poll(&mut Context::from_waker(&place.waker))
                .is_ready()
            {
                place.future.set(None);
                self.ends(index);
            }
        }
        self.due = due;
        (wire, polled)
    }

    /// A request is over; what it took may be kept for the next ones.
    fn ends(&mut self, index: usize) {
        self.open -= 1;
        self.free.push(index);
        // The one that was used last is used next, and those before went when they were beyond.
        let beyond = self.free.len().saturating_sub(H2_STREAMS_KEPT);
        self.forget(beyond.saturating_sub(1)..beyond);
    }

    /// Gives back what requests took, unless one of them is under way.
    pub(super) fn rest(&mut self) {
        if self.open == 0 {
            self.forget(0..self.free.len());
        }
    }

    fn forget(&mut self, those: Range<usize>) {
        for index in self.free.get(those).unwrap_or_default() {
            if let Some(place) = self.places.get_mut(*index) {
                *place = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Poll;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Task {
        woken: Arc<Woken>,
        waker: Waker,
    }

    impl Task {
        fn new() -> Self {
            let woken = Arc::<Woken>::default();
            let waker = woken.clone().into();
            Self { woken, waker }
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    /// A request that is over once it may be, and leaves its waker meanwhile.
    fn request(
        may_end: &Rc<Cell<bool>>,
        waker: &Rc<Cell<Option<Waker>>>,
    ) -> impl Future<Output = ()> + use<> {
        let (may_end, waker) = (may_end.clone(), waker.clone());
        poll_fn(move |cx| {
            waker.set(Some(cx.waker().clone()));
            if may_end.get() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }

    fn begin_all<F: Future<Output = ()>>(streams: &mut Streams<F>, cx: &Context<'_>) {
        streams.awake(cx);
        while !streams.sleep() {
            streams.poll(usize::MAX);
        }
    }

    #[test]
    fn who_rings_is_polled_and_nobody_else() {
        let task = Task::new();
        let cx = Context::from_waker(&task.waker);
        let mut streams = Streams::new();
        let all: Vec<_> = (0..3).map(|_| (Rc::default(), Rc::default())).collect();
        for (may_end, waker) in &all {
            streams.begin(|| request(may_end, waker));
        }
        begin_all(&mut streams, &cx);
        assert_eq!((streams.open(), task.woken()), (3, 0));
        let (may_end, waker) = &all[1];
        may_end.set(true);
        let rung = waker.take().unwrap();
        rung.wake_by_ref();
        rung.wake_by_ref();
        assert_eq!(task.woken(), 1, "once, however often it rings");
        streams.awake(&cx);
        assert!(!streams.sleep());
        assert_eq!(streams.poll(usize::MAX), (false, 1));
        assert!(streams.sleep());
        assert_eq!(streams.open(), 2);
        // A waker that outlives its request rings for nobody, or for the next one.
        rung.wake();
        streams.awake(&cx);
        assert_eq!(streams.poll(usize::MAX), (false, 1));
        assert_eq!(streams.open(), 2);
    }

    #[test]
    fn who_rings_while_the_task_is_awake_wakes_it_when_it_pauses_only() {
        let task = Task::new();
        let cx = Context::from_waker(&task.waker);
        let mut streams = Streams::new();
        begin_all(&mut streams, &cx);
        streams.begin(|| request(&Rc::default(), &Rc::default()));
        streams.awake(&cx);
        streams.wake_wire();
        assert_eq!(task.woken(), 1, "the request that began rang first");
        assert_eq!(streams.poll(1), (false, 1));
        streams.pause();
        assert_eq!(task.woken(), 2);
        streams.awake(&cx);
        assert_eq!(streams.poll(1), (true, 0));
        assert!(streams.sleep());
        streams.wake_wire();
        assert_eq!(task.woken(), 3);
    }

    #[test]
    fn what_a_burst_took_is_given_back() {
        let task = Task::new();
        let cx = Context::from_waker(&task.waker);
        let mut streams = Streams::new();
        let (may_end, waker) = (Rc::<Cell<bool>>::default(), Rc::default());
        may_end.set(true);
        for _ in 0..3 {
            for _ in 0..10 * H2_STREAMS_KEPT {
                streams.begin(|| request(&may_end, &waker));
            }
            begin_all(&mut streams, &cx);
            assert_eq!(streams.open(), 0);
            assert_eq!(streams.places.len(), 10 * H2_STREAMS_KEPT);
            let kept = |streams: &Streams<_>| streams.places.iter().flatten().count();
            assert_eq!(kept(&streams), H2_STREAMS_KEPT);
            // While one is under way, the next burst may be near.
            let (ends, rings) = (Rc::<Cell<bool>>::default(), Rc::default());
            streams.begin(|| request(&ends, &rings));
            begin_all(&mut streams, &cx);
            streams.rest();
            assert_eq!(kept(&streams), H2_STREAMS_KEPT);
            ends.set(true);
            rings.take().unwrap().wake();
            begin_all(&mut streams, &cx);
            streams.rest();
            assert_eq!(kept(&streams), 0);
        }
    }
}
