//! Memory that one request after the other is put into: in steady state none of them asks the
//! allocator for any.
//!
//! Owns when it is free again. What drives a connection has the memory, not the connection, which
//! what lies in it may hold; who waits for a request without buffers has none of it.

use std::rc::Rc;

/// Where the last value was, for the next one.
pub(super) struct Spare<T>(Option<Rc<T>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Spare<T> {
    /// Puts a value where the last one was, and keeps hold of it until it is [settled](Self::settle).
    /// What it may take over of that is up to `follows`.
    pub(super) fn place(&mut self, mut value: T, follows: impl FnOnce(&mut T, &mut T)) -> Rc<T> {
        let placed = match self.0.take() {
            Some(mut place) => match Rc::get_mut(&mut place) {
                Some(last) => {
                    follows(&mut value, last);
                    *last = value;
                    place
                }
                None => Rc::new(value),
            },
            None => Rc::new(value),
        };
        self.0 = Some(placed.clone());
        placed
    }

    /// The value is over: it ends as if nobody held it here, and its memory is kept. Where others hold
    /// it, it is theirs, and ends when they let go.
    pub(super) fn settle(&mut self, end: impl FnOnce(&mut T)) {
        match self.0.as_mut().map(Rc::get_mut) {
            Some(Some(value)) => end(value),
            Some(None) => self.0 = None,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Counts its end, which comes once.
    struct Value<'c>(&'c Cell<usize>, bool);

    impl Value<'_> {
        fn end(&mut self) {
            if !std::mem::replace(&mut self.1, true) {
                self.0.set(self.0.get() + 1);
            }
        }
    }

    impl Drop for Value<'_> {
        fn drop(&mut self) {
            self.end();
        }
    }

    #[test]
    fn the_next_one_lies_where_the_last_one_lay() {
        let ended = Cell::new(0);
        let mut spare = Spare::default();
        let first = spare.place(Value(&ended, false), |_, _| ());
        let place = Rc::as_ptr(&first);
        drop(first);
        assert_eq!(ended.get(), 0, "it is not settled");
        spare.settle(Value::end);
        assert_eq!(ended.get(), 1);
        let second = spare.place(Value(&ended, false), |_, _| ());
        assert_eq!((Rc::as_ptr(&second), ended.get()), (place, 1));
        drop(second);
        drop(spare);
        assert_eq!(ended.get(), 2);
    }

    #[test]
    fn who_holds_one_on_keeps_it() {
        let ended = Cell::new(0);
        let mut spare = Spare::default();
        let first = spare.place(Value(&ended, false), |_, _| ());
        spare.settle(Value::end);
        assert_eq!((Rc::strong_count(&first), ended.get()), (1, 0));
        let unsettled = spare.place(Value(&ended, false), |_, _| ());
        let another = spare.place(Value(&ended, false), |_, _| ());
        assert!(!Rc::ptr_eq(&unsettled, &another));
        drop((first, unsettled));
        assert_eq!(ended.get(), 2);
        spare.settle(Value::end);
        drop(another);
        assert_eq!(ended.get(), 3);
    }
}
