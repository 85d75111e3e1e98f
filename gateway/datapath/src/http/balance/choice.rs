//! The ways to choose among addresses, as pure functions.
//!
//! Each takes the shares of those that may be chosen. None allocates; each looks at every address
//! once or twice.

use snapshot::limits::ADDRESSES_MAX;

/// Shares of addresses, by their places; 0 is no part of the choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    of: [u64; ADDRESSES_MAX],
    /// Places from here on have none.
    end: usize,
    total: u64,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            of: [0; ADDRESSES_MAX],
            end: 0,
            total: 0,
        }
    }
}

impl Shares {
    /// The address at this place is part of the choice.
    pub(super) fn set(&mut self, place: usize, share: u64) {
        if let Some(at) = self.of.get_mut(place) {
            self.total = self.total - *at + share;
            *at = share;
            self.end = self.end.max(place + 1);
        }
    }

    /// Those that are part of it.
    fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        let all = self.of.iter().copied().enumerate().take(self.end);
        all.filter(|(_, share)| *share > 0)
    }

    fn share(&self, place: usize) -> u64 {
        self.of.get(place).copied().unwrap_or_default()
    }

    /// One that is drawn by its share.
    fn draw(&self, random: &mut Random) -> Option<usize> {
        let mut left = random.below(self.total)?;
        for (place, share) in self.iter() {
            match left.checked_sub(share) {
                Some(rest) => left = rest,
                None => return Some(place),
            }
        }
        None
    }
}

/// Smooth weighted round robin, as nginx's: each turn everybody gains its share, and who is furthest
/// ahead is chosen and gives up what all have gained. In each round of turns every address is chosen as
/// often as its share says, and evenly spread.
pub(super) fn next_in_turn(shares: &Shares, ahead: &mut [i64; ADDRESSES_MAX]) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    let total = i64::try_from(shares.total).unwrap_or(i64::MAX);
    for (place, share) in shares.iter() {
        let Some(ahead) = ahead.get_mut(place) else {
            continue;
        };
        // With these shares nobody is further off than a turn. Who is, is so from other shares: it does
        // not make up for the turns it missed.
        *ahead = (*ahead).clamp(-total, total);
        *ahead = ahead.saturating_add(i64::try_from(share).unwrap_or(i64::MAX));
        if best.is_none_or(|(_, most)| *ahead > most) {
            best = Some((place, *ahead));
        }
    }
    let (place, _) = best?;
    if let Some(ahead) = ahead.get_mut(place) {
        *ahead -= total;
    }
    Some(place)
}

/// The first turn is drawn: workers, and origins that are asked for seldom, do not all begin with the
/// same address. With it comes how far each is ahead then, as after any other turn.
pub(super) fn first_turn(
    shares: &Shares,
    random: &mut Random,
) -> Option<(usize, [i64; ADDRESSES_MAX])> {
    let chosen = shares.draw(random)?;
    let mut ahead = [0; ADDRESSES_MAX];
    for (place, ahead) in ahead.iter_mut().enumerate() {
        *ahead = i64::try_from(shares.share(place)).unwrap_or(i64::MAX);
    }
    if let Some(ahead) = ahead.get_mut(chosen) {
        *ahead = ahead.saturating_sub(i64::try_from(shares.total).unwrap_or(i64::MAX));
    }
    Some((chosen, ahead))
}

/// Of two that are drawn by their shares, the one with fewer open requests for its share (the power of
/// two choices): as good as looking for the least of all, and workers do not all run to the same one.
pub(super) fn least_of_two(
    shares: &Shares,
    random: &mut Random,
    open: impl Fn(usize) -> u32,
) -> Option<usize> {
    let first = shares.draw(random)?;
    let mut others = *shares;
    others.set(first, 0);
    let Some(second) = others.draw(random) else {
        return Some(first);
    };
    // The next request counts, so that one with a large share and one request is not passed over.
    let load = |place: usize, other: usize| (u64::from(open(place)) + 1) * shares.share(other);
    Some(if load(second, first) < load(first, second) {
        second
    } else {
        first
    })
}

/// Weighted rendezvous hashing: each address draws a number from the key and its own hash, and the
/// highest wins. When one goes, only its keys move, spread over the others; when one comes, it takes its
/// share from each of them and nothing else moves.
pub(super) fn by_hash(shares: &Shares, key: u64, hash: impl Fn(usize) -> u64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (place, share) in shares.iter() {
        let drawn = mix(key ^ mix(hash(place)));
        #[expect(
            clippy::cast_precision_loss,
            reason = "53 bits are kept, which a double holds; shares are small"
        )]
        // Between 0 and 1, neither of them; the least time of a race with these speeds wins, and each
        // wins as often as its share says.
        let time = -(((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64).ln() / share as f64;
        if best.is_none_or(|(_, least)| time < least) {
            best = Some((place, time));
        }
    }
    best.map(|(place, _)| place)
}

/// Mixes all bits into all bits (the finaliser of SplitMix64).
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Numbers that nothing depends on but an even spread (SplitMix64).
#[derive(Debug, Clone, Copy)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`; `None` when there is none.
    fn below(&mut self, end: u64) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let drawn = mix(self.0);
        // The high half of the product: even enough for ends far below 2^64.
        let product = u128::from(drawn) * u128::from(end);
        (end > 0).then(|| u64::try_from(product >> 64).unwrap_or_default())
    }
}
