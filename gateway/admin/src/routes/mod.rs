//! The table of routes: what the API answers, with what it takes and what it gives.
//!
//! Owns the one list that the router, the OpenAPI document and the page `docs/api.md` are made
//! from. A route that is not in it is not served. Does not own the schemas that it names
//! ([`crate::openapi`]), nor what a token may do ([`crate::http::auth`]; tests compare the two).

mod cloudflare;
mod health;
mod postern;
pub(crate) mod router;

use std::sync::Arc;

use axum::routing::MethodRouter;
use axum::{Extension, Router};

use crate::http::context::Context;
use crate::http::query::BodyMax;
use crate::limits::ADMIN_SMALL_BODY_BYTES_MAX;

/// Routes about one subject.
pub(super) struct Group {
    /// Its name: a tag of the document, a heading of the page.
    pub(super) name: &'static str,
    /// What one should know of all of them, in a sentence or two.
    pub(super) about: &'static str,
    pub(super) routes: &'static [Route],
}

/// One method on one path.
pub(super) struct Route {
    /// In capitals.
    pub(super) method: &'static str,
    /// With `{names}`, as axum and OpenAPI write it.
    pub(super) path: &'static str,
    handler: fn() -> MethodRouter<Arc<Context>>,
    /// Its `operationId`: part of the contract, since generated clients name functions by it.
    pub(super) id: &'static str,
    /// What it does, as a command.
    pub(super) summary: &'static str,
    pub(super) needs: Need,
    pub(super) query: &'static [Parameter],
    pub(super) body: Body,
    /// How many bytes its body has at most.
    pub(super) body_max: usize,
    pub(super) answer: Answer,
    /// Whether `dry_run=true` only tries it.
    pub(super) dry_run: bool,
    /// Whether the answer counts what is lost for good, when it is only tried as well.
    tells_losses: bool,
}

vocabulary::words! {
    /// Who may call a route.
    pub(super) enum Need("a need", without serde) {
        /// Everyone who can connect.
        Nothing = "none",
        /// A token of any scope.
        Read = "read",
        /// A token with the scope `certificates`, or `all`.
        Certificates = "certificates",
        /// A token with the scope `rules`, or `all`.
        Rules = "rules",
        /// A token with the scope `all`.
        All = "all",
        /// The unix socket; no token is enough.
        Socket = "unix socket",
    }
}

/// A parameter of the query. None of them is required.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) about: &'static str,
}

/// What a parameter's value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Flag,
    /// RFC 3339.
    Time,
    Uuid,
    /// A whole number that is at least this.
    AtLeast(u64),
    /// One of these.
    OneOf(&'static [&'static str]),
}

/// What a request carries. Names are those of schemas.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    None,
    /// JSON that has to be there.
    Json(&'static str),
    /// JSON that may be left out.
    MaybeJson(&'static str),
    /// A revocation list in DER or PEM, or PEM inside of JSON of this schema.
    Crl(&'static str),
}

/// What comes back when all is well. Names are those of schemas.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// The envelope with one thing as its result.
    One(&'static str),
    /// The envelope with everything there is.
    All(&'static str),
    /// The envelope with a page of a list.
    Page(&'static str),
    /// The envelope with a part of a list, and the cursor of the next part.
    Cursor(&'static str),
    /// A page; with a filter, a part with a cursor.
    PageOrCursor(&'static str),
    /// 204.
    Nothing,
    /// No envelope: a body of this media type.
    Media(&'static str),
    /// The same, and 503 with such a body while it is not so.
    MediaOr503(&'static str),
}

impl Route {
    const fn new(
        method: &'static str,
        path: &'static str,
        handler: fn() -> MethodRouter<Arc<Context>>,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        let needs = match method.as_bytes() {
            b"GET" => Need::Read,
            _ => Need::All,
        };
        Self {
            method,
            path,
            handler,
            id,
            summary,
            needs,
            query: &[],
            body: Body::None,
            body_max: ADMIN_SMALL_BODY_BYTES_MAX,
            answer: Answer::Nothing,
            dry_run: false,
            tells_losses: false,
        }
    }

    const fn needs(mut self, needs: Need) -> Self {
        self.needs = needs;
        self
    }

    const fn query(mut self, query: &'static [Parameter]) -> Self {
        self.query = query;
        self
    }

    const fn takes(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// The bound of a body that may be larger than most, or smaller.
    const fn up_to(mut self, bytes: usize) -> Self {
        self.body_max = bytes;
        self
    }

    const fn gives(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }

    /// A change that `dry_run=true` only tries.
    const fn tried(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// A change that `dry_run=true` only tries, and then says what would be lost for good.
    const fn tried_for_losses(mut self) -> Self {
        self.dry_run = true;
        self.tells_losses = true;
        self
    }

    /// Whether only trying it is answered without a result, as Cloudflare does.
    pub(super) fn is_silent_when_tried(&self) -> bool {
        self.dry_run && !self.tells_losses && self.path.starts_with("/client/v4/")
    }

    /// The names in the path, in order.
    pub(super) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }
}

impl Parameter {
    pub(super) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, about }
    }
}

/// A row: the method is said once, for the table and for axum.
macro_rules! route {
    ($method:ident $path:literal, $handler:path, $id:literal, $summary:literal) => {
        $crate::routes::Route::new(
            stringify!($method),
            $path,
            || axum::routing::on(axum::routing::MethodFilter::$method, $handler),
            $id,
            $summary,
        )
    };
}
use route;

/// All groups, in the order of the document.
pub(super) fn groups() -> impl Iterator<Item = &'static Group> {
    let all = [cloudflare::GROUPS, postern::GROUPS, health::GROUPS];
    all.into_iter().flatten()
}

/// All routes.
pub(super) fn all() -> impl Iterator<Item = &'static Route> {
    groups().flat_map(|group| group.routes)
}

/// The handlers of the table, at their paths.
fn of_the_table() -> Router<Arc<Context>> {
    all().fold(Router::new(), |router, route| {
        let handler = (route.handler)();
        let most = Extension(BodyMax(route.body_max));
        router.route(route.path, handler.route_layer(most))
    })
}
