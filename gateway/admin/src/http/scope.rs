//! Extractors for handlers below a zone or the account. They check that the zone or account exists
//! before the body is read, and parse the ids that follow in the path.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::context::Context;
use super::fault::Fault;
use super::query::As;
use control::{ChangeError, Control, Id, Intent};

/// A request below a zone that exists.
pub(crate) struct InZone {
    pub(crate) zone: Id,
    pub(crate) intent: Intent,
    pub(crate) context: Arc<Context>,
    below: Below,
}

/// A request below the one account.
pub(crate) struct InAccount {
    pub(crate) intent: Intent,
    pub(crate) context: Arc<Context>,
    below: Below,
}

/// What the path names behind the scope, in order.
struct Below(Vec<String>);

/// The first name of the path, and what follows it.
async fn names(parts: &mut Parts, context: &Arc<Context>) -> Result<(String, Below), Fault> {
    let Path(names) = Path::<Vec<(String, String)>>::from_request_parts(parts, context)
        .await
        .map_err(|_not_utf8| Fault::path())?;
    let mut names = names.into_iter().map(|(_, value)| value);
    let scope = names.next().unwrap_or_default();
    Ok((scope, Below(names.collect())))
}

impl FromRequestParts<Arc<Context>> for InZone {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Fault> {
        let As(intent) = As::from_request_parts(parts, context).await?;
        let (zone, below) = names(parts, context).await?;
        Ok(Self {
            zone: context.zone(&zone)?,
            intent,
            context: context.clone(),
            below,
        })
    }
}

impl FromRequestParts<Arc<Context>> for InAccount {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Fault> {
        let As(intent) = As::from_request_parts(parts, context).await?;
        let (account, below) = names(parts, context).await?;
        context.account(&account)?;
        Ok(Self {
            intent,
            context: context.clone(),
            below,
        })
    }
}

impl Below {
    fn text(&self, place: usize) -> &str {
        self.0.get(place).map_or("", String::as_str)
    }

    fn read<T: FromStr<Err: Into<Fault>>>(&self, place: usize) -> Result<T, Fault> {
        self.text(place).parse().map_err(Into::into)
    }
}

impl InZone {
    /// The one thing that the path names below the zone, or the first of two.
    pub(crate) fn one<T: FromStr<Err: Into<Fault>>>(&self) -> Result<T, Fault> {
        self.below.read(0)
    }

    /// The two things that the path names below the zone.
    pub(crate) fn two<A, B>(&self) -> Result<(A, B), Fault>
    where
        A: FromStr<Err: Into<Fault>>,
        B: FromStr<Err: Into<Fault>>,
    {
        Ok((self.below.read(0)?, self.below.read(1)?))
    }

    /// The name at a place below the zone, counted from 0, as it was written.
    pub(crate) fn text(&self, place: usize) -> &str {
        self.below.text(place)
    }

    /// The control plane.
    pub(crate) fn control(&self) -> &Control {
        &self.context.state.control
    }

    /// Runs work of the control plane in this zone, see [`Context::run`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Control, Id) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        let zone = self.zone;
        let work = move |control: &Control| work(control, zone);
        self.context.run(self.intent.clone(), work).await
    }
}

impl InAccount {
    /// The one thing that the path names below the account, or the first of two.
    pub(crate) fn one<T: FromStr<Err: Into<Fault>>>(&self) -> Result<T, Fault> {
        self.below.read(0)
    }

    /// The two things that the path names below the account.
    pub(crate) fn two<A, B>(&self) -> Result<(A, B), Fault>
    where
        A: FromStr<Err: Into<Fault>>,
        B: FromStr<Err: Into<Fault>>,
    {
        Ok((self.below.read(0)?, self.below.read(1)?))
    }

    /// The control plane.
    pub(crate) fn control(&self) -> &Control {
        &self.context.state.control
    }

    /// Runs work of the control plane, see [`Context::run`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Control) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        self.context.run(self.intent.clone(), work).await
    }
}
