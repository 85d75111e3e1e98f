//! Header maps that are used again on their thread: those of one request serve the next, while they are
//! hot.

use std::cell::RefCell;

use http::HeaderMap;

use crate::limits::{SPARE_MAP_FIELDS_MAX, SPARE_MAPS_MAX};

thread_local! {
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map; the last one that was given back, if there is one.
#[must_use]
pub fn take() -> HeaderMap {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Forgets what is in a map and keeps its memory.
pub fn give_back(mut map: HeaderMap) {
    if map.capacity() == 0 || map.capacity() > SPARE_MAP_FIELDS_MAX {
        return;
    }
    map.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAPS_MAX {
            spare.push(map);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_map_comes_back_empty_and_large_ones_do_not() {
        let mut map = HeaderMap::with_capacity(20);
        map.insert("a", HeaderValue::from_static("b"));
        let capacity = map.capacity();
        give_back(map);
        give_back(HeaderMap::with_capacity(2 * SPARE_MAP_FIELDS_MAX));
        let again = take();
        assert_eq!((again.len(), again.capacity()), (0, capacity));
        assert_eq!(take().capacity(), 0);
    }
}
