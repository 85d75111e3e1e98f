//! The exchange of one request: what is counted, timed and logged, from the head to the last byte.
//!
//! It is closed once, when the response's body is over or dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant, SystemTime};

use super::alarm::Alarm;
use super::clocks::progress;
use super::pace::Pace;
use super::remainder::{self, Rest};
use super::standing::Standing;
use super::trace::Trace;
use super::{Connection, flood};
use crate::clock;
use crate::http::balance::Stay;
use crate::http::body::{BodyError, BodyObserver, Upload};
use crate::http::form::Form;
use crate::http::incoming::{Incoming, Interims};
use crate::http::request_id::RequestId;
use crate::http::response::Response;
use crate::http::tunnel::{OriginEnd, Traffic};
use crate::http::upstream::HeadBounds;
use crate::limits::INTERIM_RESPONSES_MAX;
use crate::observe::{EventKind, HostSlot, RequestRecord, RuleAction, RuleHit, Stage, StageTimes};
use crate::shares::{Beyond, Busy};
use config::LogStyle;
use http::header::CONTENT_LENGTH;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Version};
use http1::Headers;
use snapshot::Host;
use snapshot::checks::version_text;
use snapshot::http::headers::{is_within, remove_hop_by_hop};
use snapshot::http::origin::Origin;
use snapshot::origins::gate::Inside;
use snapshot::phases::Change;
use vocabulary::request_error::RequestError;
use vocabulary::side::Side;

/// The exchange of one request.
pub(super) struct Exchange {
    connection: Rc<Connection>,
    started: Instant,
    time: SystemTime,
    pub(super) id: RequestId,
    /// The same as a header.
    pub(super) id_value: HeaderValue,
    /// How its line is written.
    pub(super) log_style: LogStyle,
    /// The trace that it is part of, when requests are traced.
    pub(super) trace: Option<Box<Trace>>,
    method: Method,
    version: Version,
    pub(super) notes: RefCell<Notes>,
    received: Cell<u64>,
    sent: Cell<u64>,
    upload: Cell<Upload>,
    /// Bytes a second that its body has to come with; 0 for as slowly as it likes.
    rate: usize,
    /// Who takes interim answers to the client.
    takes_interims: Option<Rc<dyn Interims>>,
    /// How much of the request's body is still to come.
    rest: Cell<Rest>,
    /// Nobody wants that.
    left: Cell<bool>,
    /// Something of the response waits for the client to ask for it.
    offered: Cell<bool>,
    /// How the client takes that.
    pace: Cell<Pace>,
    /// Interim responses that the client gets.
    interims: Cell<usize>,
    /// It became a tunnel.
    tunnel: Cell<bool>,
    closed: Cell<bool>,
    /// It is off the account of its client.
    released: Cell<bool>,
    /// It counts among the streams of its client; whether that is within the share.
    counted: Option<bool>,
    /// The connection to an origin that it keeps busy, in the account of its client.
    busy: RefCell<Option<Busy>>,
    /// It counts at the address that it is at.
    stays: RefCell<Option<Stay>>,
    /// It has its turn at an origin that takes so many at once.
    turn: RefCell<Option<Inside>>,
    alarm: Alarm,
}

/// A request that becomes a tunnel once its 101 is written. The code that drives the
/// connection takes it out: an exchange holds its connection.
pub(super) struct Tunnel {
    pub(super) end: OriginEnd,
    pub(super) exchange: Rc<Exchange>,
}

/// What becomes known while the request is worked on.
#[derive(Default)]
pub(super) struct Notes {
    /// The verification that it was decided on.
    pub(super) standing: Option<Rc<Standing>>,
    /// The host it was for.
    pub(super) host: Option<Arc<Host>>,
    /// Its place in the worker's statistics, once something was counted.
    slot: Option<HostSlot>,
    pub(super) authority: Arc<str>,
    /// The authority is among those that the standing has to count.
    pub(super) elsewhere: bool,
    /// Its path is the one that rules saw, or as it came.
    pub(super) target: Option<PathAndQuery>,
    /// What the client accepts, unless it is answered as gRPC does.
    pub(super) accept: Option<HeaderValue>,
    /// What it says that it is, and where it says that it comes from, when the access log has it.
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    pub(super) status: StatusCode,
    /// The rule that answered, and what it did.
    pub(super) rule: Option<(Box<str>, RuleAction)>,
    pub(super) logged: Vec<Box<str>>,
    /// The origin closes its connection behind the answer.
    pub(super) origin_closes: bool,
    /// Where it was forwarded to: the last address that it was at.
    pub(super) origin: Option<Arc<Origin>>,
    /// What rules change of the headers that the client gets.
    pub(super) response_changes: Vec<Change>,
    pub(super) error: Option<RequestError>,
    /// Whose fault the error is, when it is one of forwarding.
    pub(super) fault: Option<Side>,
    pub(super) detail: String,
    pub(super) times: StageTimes,
}

impl Notes {
    /// What the request is, among the recent events.
    fn event(&self) -> EventKind {
        match &self.rule {
            Some((_, RuleAction::Block | RuleAction::RateLimit)) => EventKind::Blocked,
            _ if self.error.is_some() => EventKind::Failed,
            _ if !self.logged.is_empty() => EventKind::Logged,
            _ => EventKind::Passed,
        }
    }
}

impl Exchange {
    pub(super) fn open(
        connection: Rc<Connection>,
        method: Method,
        version: Version,
        (rest, rate): (Rest, usize),
        (takes_interims, headers): (Option<Rc<dyn Interims>>, &Headers),
    ) -> Self {
        connection.request_begins();
        // What is left of those that were answered counts, too.
        let before = connection.unreleased.get();
        connection.unreleased.set(before + 1);
        let alone = before == 0;
        if rest != Rest::Over {
            connection.remainder.body_begins();
        }
        let id = connection.local.request_ids.next();
        let live = connection.local.shared.live.load();
        let account = connection.account.as_ref();
        let counted = account
            .filter(|_| version == Version::HTTP_2 && !alone)
            .map(|account| account.stream_begins(&connection.tunables));
        Self {
            started: clock::now(),
            time: clock::time(),
            id,
            id_value: connection.local.request_ids.header(id),
            log_style: live.access_log,
            trace: Trace::begin(&connection, &live, headers, id),
            method,
            version,
            notes: RefCell::default(),
            received: Cell::new(0),
            sent: Cell::new(0),
            upload: Cell::default(),
            rate,
            takes_interims,
            rest: Cell::new(rest),
            left: Cell::new(false),
            offered: Cell::new(false),
            pace: Cell::default(),
            interims: Cell::new(0),
            tunnel: Cell::new(false),
            closed: Cell::new(false),
            released: Cell::new(false),
            counted,
            busy: RefCell::default(),
            stays: RefCell::default(),
            turn: RefCell::default(),
            alarm: Alarm::default(),
            connection,
        }
    }

    /// It takes over what the one before, which is over, has of use for it.
    pub(super) fn follows(&mut self, last: &mut Self) {
        std::mem::swap(&mut self.alarm, &mut last.alarm);
    }

    /// Nobody holds it any more, and its memory stays for the next one: it lets go of what it has of its
    /// request.
    pub(super) fn end(&mut self) {
        self.let_go();
        *self.notes.get_mut() = Notes::default();
        self.id_value = HeaderValue::from_static("");
        // One that nobody knows may be as long as a head.
        self.method = Method::GET;
        self.takes_interims = None;
        self.trace = None;
    }

    fn let_go(&mut self) {
        // Its client went away before there was any answer.
        if !self.closed.get() {
            self.notes.get_mut().status = StatusCode::from_u16(499).unwrap_or_default();
            self.note_fault(RequestError::ClientGone, Side::Client);
            flood::cancelled(&self.connection);
            self.close(clock::now());
        }
        // Whoever had the request's body has let go of it.
        self.left.set(true);
        self.release();
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// The protocol that it came over.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Whether its client has more streams open than its share.
    pub(super) fn is_beyond_share(&self) -> bool {
        self.counted == Some(false)
    }

    /// The form in which its client reads what Postern itself says.
    pub(super) fn form(&self) -> Form {
        Form::asked(self.notes.borrow().accept.as_ref())
    }

    /// Charges its client with a connection to an origin, until this is closed.
    pub(super) fn keep_busy(&self) -> Result<(), Beyond> {
        if let Some(account) = &self.connection.account {
            let busy = account.use_origin(&self.connection.tunables)?;
            self.busy.replace(Some(busy));
        }
        Ok(())
    }

    /// Counts at the address that it is at, until this is closed.
    pub(super) fn stays_at(&self, address: Option<Stay>) {
        if !self.closed.get() {
            self.stays.replace(address);
        }
    }

    /// Has its turn at its origin, until this is closed.
    pub(super) fn has_its_turn(&self, turn: Option<Inside>) {
        if !self.closed.get() {
            self.turn.replace(turn);
        }
    }

    /// How long the request's body is, when that was said and none of it has come yet.
    pub(super) fn body_length(&self) -> Option<u64> {
        match self.rest.get() {
            Rest::Over => Some(0),
            Rest::Coming(bytes) | Rest::Unasked(bytes) => bytes,
        }
    }

    /// Milliseconds since the epoch at which the head was complete.
    pub(super) fn time_msec(&self) -> i64 {
        clock::msec(self.time)
    }

    /// Whether an HTTP/1.1 connection cannot be used again after the answer, because the client
    /// still sends a body that nobody reads to its end.
    pub(super) fn is_cut_short(&self) -> bool {
        let upload = self.upload.get();
        if upload.broken || upload.oversized {
            return true;
        }
        let unwanted = self.left.get() || self.notes.borrow().origin_closes;
        unwanted && !self.rest.get().is_small()
    }

    /// The request became a tunnel, which has ended.
    pub(super) fn tunnelled(&self, traffic: &Traffic, error: Option<RequestError>) {
        self.tunnel.set(true);
        self.received.set(traffic.up.get());
        self.sent.set(traffic.down.get());
        self.notes.borrow_mut().error = error;
        if let Some(stay) = &*self.stays.borrow()
            && !traffic.origin_broke.get()
        {
            stay.ended_well(clock::now());
        }
        self.close(clock::now());
    }

    /// Notes how long a stage took, in the exchange and in the host's histogram.
    pub(super) fn stage(&self, stage: Stage, time: Duration) {
        if let Some(trace) = &self.trace {
            trace.stage(stage);
        }
        let mut notes = self.notes.borrow_mut();
        notes.times.set(stage, time);
        let Notes { host, slot, .. } = &mut *notes;
        if let Some(host) = host {
            let mut stats = self.connection.local.stats.borrow_mut();
            let slot = *slot.get_or_insert_with(|| stats.host(host.name()));
            stats.record(slot, stage, time);
            if let (Stage::Total, Some(trace)) = (stage, &self.trace)
                && let Some(id) = trace.sampled()
            {
                stats.exemplar(slot, time, id, self.time);
            }
        }
    }

    fn close(&self, now: Instant) {
        if self.closed.replace(true) {
            return;
        }
        self.upload.set(Upload {
            answered: true,
            ..self.upload.get()
        });
        self.stays.take();
        self.turn.take();
        self.release();
        let total = now.saturating_duration_since(self.started);
        if self.tunnel.get() {
            // How long people talk says nothing about how fast we are.
            self.notes.borrow_mut().times.set(Stage::Total, total);
        } else {
            self.stage(Stage::Total, total);
        }
        let notes = self.notes.borrow();
        self.count(&notes);
        self.log(&notes, total);
        self.offer(false);
        if notes.elsewhere {
            self.connection.standings.closes_elsewhere(&notes.authority);
        }
        self.connection.request_ends(now);
    }

    /// Takes it off the account of its client, once both directions are over.
    fn release(&self) {
        let is_over = self.rest.get() == Rest::Over || self.left.get();
        if !(is_over && self.closed.get()) || self.released.replace(true) {
            return;
        }
        self.busy.take();
        let unreleased = &self.connection.unreleased;
        unreleased.set(unreleased.get().saturating_sub(1));
        if let (Some(_), Some(account)) = (self.counted, &self.connection.account) {
            account.stream_ends();
        }
    }

    /// Notes why the response does not reach its end. What is known by then stands.
    fn note_fault(&self, error: RequestError, side: Side) {
        let mut notes = self.notes.borrow_mut();
        if notes.error.is_none() {
            notes.error = Some(error);
            notes.fault = Some(side);
        }
    }

    /// The origin broke its answer off. Not where that may be the client's doing: who leaves an origin
    /// waiting, for its request or with its answer, is given up by it sooner or later.
    fn breaks_off(&self) {
        let upload = self.upload.get();
        let waits = upload.waits_for_client && self.rest.get() != Rest::Over;
        let is_slow = self.pace.get().made_it_wait(clock::now());
        let is_broken = upload.broken || upload.oversized || upload.too_large;
        let is_clients = is_broken || waits || is_slow;
        // Taken: whatever is said of its end after that, it was none.
        if let Some(stay) = self.stays.take().filter(|_| !is_clients) {
            stay.broke_off(clock::now());
        }
    }

    fn offer(&self, something: bool) {
        if self.offered.replace(something) != something {
            let clocks = &self.connection.clocks;
            if something {
                clocks.offer();
            } else {
                clocks.withdraw_offer();
            }
        }
    }

    fn count(&self, notes: &Notes) {
        let mut stats = self.connection.local.stats.borrow_mut();
        if let Some((rule, action)) = &notes.rule {
            stats.rule(rule, *action);
        }
        for rule in &notes.logged {
            stats.rule(rule, RuleAction::Log);
        }
        let standing = notes
            .standing
            .as_ref()
            .unwrap_or_else(|| self.connection.standings.established());
        let host = notes.host.as_ref().unwrap_or(&standing.host);
        let slot = notes.slot.unwrap_or_else(|| stats.host(host.name()));
        let verdict = standing.facts.client.verdict;
        let answered_by = notes.rule.as_ref().map(|(_, action)| *action);
        stats.request(slot, notes.status.as_u16(), verdict, answered_by);
        stats.bytes(slot, self.received.get(), self.sent.get());
        if let (Some(error), false) = (notes.error, self.tunnel.get()) {
            match notes.fault {
                Some(Side::Client) => stats.client_error(slot, error),
                Some(_) => stats.origin_error(slot, error),
                None => {}
            }
        }
    }

    fn log(&self, notes: &Notes, total: Duration) {
        let standing = notes
            .standing
            .as_ref()
            .unwrap_or_else(|| self.connection.standings.established());
        let host = notes.host.as_ref().unwrap_or(&standing.host);
        let local = &self.connection.local;
        let name = host.name().as_str();
        let wanted = local.recorder.wants(notes.event(), name, self.time);
        let access_log = &local.shared.access_log;
        let trace = self.trace.as_ref();
        let is_told = trace.is_some() && local.shared.spans.are_taken();
        if wanted.is_none() && !access_log.enabled() && !is_told {
            return;
        }
        let logged: Vec<&str> = notes.logged.iter().map(|rule| &**rule).collect();
        let record = RequestRecord {
            time: self.time,
            request_id: self.id.as_str(),
            client: standing.facts.source,
            host: name,
            zone: &host.endpoint.zone,
            authority: &notes.authority,
            method: self.method.as_str(),
            path: notes.target.as_ref().map_or("", PathAndQuery::path),
            http_version: version_text(self.version),
            status: notes.status.as_u16(),
            bytes_received: self.received.get(),
            bytes_sent: self.sent.get(),
            tls_version: standing.facts.tls_version,
            tls_cipher: standing.facts.tls_cipher,
            sni: &standing.facts.sni,
            resumed: self.connection.resumed,
            client_auth: &standing.facts.client,
            rule: notes.rule.as_ref().map(|(id, action)| RuleHit {
                id,
                action: action.as_str(),
            }),
            logged: &logged,
            origin: notes.origin.as_ref().map_or("", |origin| &origin.url),
            worker: local.index,
            steered: self.connection.steered,
            times: notes.times,
            error: notes.error,
            detail: &notes.detail,
            user_agent: notes.user_agent.as_ref().map_or(b"", HeaderValue::as_bytes),
            referer: notes.referer.as_ref().map_or(b"", HeaderValue::as_bytes),
            trace_id: trace.map_or("", |trace| trace.hex()),
        };
        access_log.write(&record, &self.log_style);
        if let Some(trace) = trace.filter(|_| is_told)
            && let Some(spans) = trace.spans(&record, (self.started, total))
        {
            local.shared.spans.put(spans);
        }
        if let Some(wanted) = wanted {
            local.recorder.request(wanted, &record);
        }
    }
}

impl BodyObserver for Exchange {
    fn interim(&self, mut head: Response<()>) {
        let watch = self.connection.watch.get();
        let is_ours = match head.status() {
            StatusCode::SWITCHING_PROTOCOLS => true,
            // h2 says it when the body is wanted.
            StatusCode::CONTINUE => watch.is_some(),
            _ => false,
        };
        let heads = HeadBounds::of(&self.connection.tunables);
        let headers = head.headers_mut();
        remove_hop_by_hop(headers);
        headers.remove(CONTENT_LENGTH);
        for change in &self.notes.borrow().response_changes {
            change.apply_to_interim(headers);
        }
        let before = self.interims.get();
        if !is_ours
            && before < INTERIM_RESPONSES_MAX
            && is_within(headers, heads.bytes_max, heads.count_max)
        {
            self.interims.set(before + 1);
            match (watch, &self.takes_interims) {
                (Some(watch), _) => watch.interims.borrow_mut().push(head),
                (None, Some(taker)) => taker.pass(head.status(), head.headers()),
                (None, None) => {}
            }
        }
    }

    fn takes_maps(&self) -> bool {
        self.version == Version::HTTP_2
    }

    fn received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
        let since = self.upload.get().last_progress.unwrap_or(self.started);
        let until = progress(since, bytes as u64, self.rate, clock::now());
        let last_progress = Some(until);
        if self.closed.get() {
            // It was answered, and its connection is not idle all the same.
            self.connection.clocks.goes_on(until);
        }
        self.upload.set(Upload {
            last_progress,
            waits_for_client: false,
            ..self.upload.get()
        });
        if let Rest::Coming(Some(rest)) | Rest::Unasked(Some(rest)) = self.rest.get() {
            let rest = rest.saturating_sub(bytes as u64);
            self.rest.set(Rest::Coming(Some(rest)));
        }
    }

    fn waits_for_client(&self) {
        self.upload.set(Upload {
            waits_for_client: true,
            ..self.upload.get()
        });
        if let Rest::Unasked(rest) = self.rest.get() {
            self.rest.set(Rest::Coming(rest));
        }
    }

    fn request_broken(&self) {
        self.upload.set(Upload {
            broken: true,
            ..self.upload.get()
        });
    }

    fn request_oversized(&self) {
        self.upload.set(Upload {
            oversized: true,
            ..self.upload.get()
        });
    }

    fn request_too_large(&self) {
        self.note_fault(RequestError::RequestBody, Side::Client);
        self.upload.set(Upload {
            too_large: true,
            ..self.upload.get()
        });
    }

    fn request_over(&self) {
        self.rest.set(Rest::Over);
        let upload = self.upload.get();
        if upload.last_progress.is_some() {
            // The origin has all its time from now on.
            let last_progress = Some(clock::now());
            self.upload.set(Upload {
                last_progress,
                waits_for_client: false,
                ..upload
            });
        }
        remainder::body_ends(&self.connection);
        self.release();
    }

    fn request_left(&self, rest: Incoming) {
        self.left.set(true);
        let http2 = self.version == Version::HTTP_2;
        remainder::leave(&self.connection, rest, self.rest.get(), http2);
        self.release();
    }

    fn is_due(&self, cx: &mut Context<'_>, due: Instant) -> bool {
        self.alarm.is_due(cx, due)
    }

    fn upload(&self) -> Upload {
        self.upload.get()
    }

    fn may_fetch(&self, cx: &Context<'_>) -> bool {
        let watch = self.connection.watch.get();
        watch.is_none_or(|watch| watch.may_fetch(cx))
    }

    fn offered(&self) {
        self.offer(true);
        self.pace.set(self.pace.get().offered(clock::now()));
    }

    fn waits_for_origin(&self) {
        if self.offered.get() {
            self.pace.set(self.pace.get().withdrawn(clock::now()));
        }
        self.offer(false);
    }

    fn origin_stalled(&self) {
        self.note_fault(RequestError::OriginStalled, Side::Origin);
        self.breaks_off();
    }

    fn origin_broke(&self, why: &BodyError) {
        self.note_fault(RequestError::ResponseCut, Side::Origin);
        if why.is_given_up() {
            // Nothing is said of its address: it is what becomes of a call whose time is over.
            self.stays.take();
        } else if matches!(why, BodyError::Broken(_)) {
            self.breaks_off();
        }
        let mut notes = self.notes.borrow_mut();
        if notes.detail.is_empty() {
            notes.detail = why.to_string();
        }
    }

    fn sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
        if !self.offered.get() {
            self.pace.set(self.pace.get().offered(clock::now()));
        }
        self.offer(true);
        self.connection.clocks.client_asked(bytes);
        if let Some(watch) = self.connection.watch.get() {
            watch.fetched(bytes);
        }
    }

    fn ended(&self, whole: bool) {
        let now = clock::now();
        // The body of an answer to HEAD is never read.
        if !whole && self.method != Method::HEAD {
            // What the origin broke off is noted by now.
            let why = if self.connection.closing.cut_due().is_some() {
                RequestError::CertificateLost
            } else {
                RequestError::ClientGone
            };
            self.note_fault(why, Side::Client);
            let clients = self.notes.borrow().fault == Some(Side::Client);
            if clients && self.sent.get() == 0 {
                flood::cancelled(&self.connection);
            }
        } else {
            flood::answered(&self.connection);
            if let Some(stay) = &*self.stays.borrow() {
                stay.ended_well(now);
            }
        }
        self.close(now);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.let_go();
    }
}
