//! Extractors for handlers: for the whole gateway, below a zone, below the account; for reading or
//! for changing. They check that the zone or account exists before the body is read, and parse the
//! ids that the path has.
//!
//! Owns the rule that a change rests on nothing that was read before it: a handler that changes has
//! no way to read the model. It makes one change, and what it shows afterwards it reads from a
//! reader that it gets for that change.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::context::{Context, off_thread};
use super::fault::Fault;
use super::query::As;
use config::Live;
use control::{ChangeError, ChangeOnly, Control, Id, ReadOnly};

/// A request about the gateway as a whole, for reading or for changing (`A`).
pub(crate) struct InGateway<A = ReadOnly> {
    context: Arc<Context>,
    control: Control<A>,
    actor: Arc<str>,
    below: Below,
}

/// A request below a zone that exists.
pub(crate) struct InZone<A = ReadOnly> {
    pub(crate) zone: Id,
    at: InGateway<A>,
}

/// A request below the one account.
pub(crate) struct InAccount<A = ReadOnly> {
    at: InGateway<A>,
}

/// Changes the gateway.
pub(crate) type ChangeInGateway = InGateway<ChangeOnly>;
/// Changes a zone.
pub(crate) type ChangeInZone = InZone<ChangeOnly>;
/// Changes what belongs to the account.
pub(crate) type ChangeInAccount = InAccount<ChangeOnly>;

/// What the path names behind the scope, in order.
struct Below(Vec<String>);

impl Below {
    async fn of(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Fault> {
        let Path(names) = Path::<Vec<(String, String)>>::from_request_parts(parts, context)
            .await
            .map_err(|_not_utf8| Fault::path())?;
        Ok(Self(names.into_iter().map(|(_, value)| value).collect()))
    }

    fn text(&self, place: usize) -> &str {
        self.0.get(place).map_or("", String::as_str)
    }

    fn read<T: FromStr<Err: Into<Fault>>>(&self, place: usize) -> Result<T, Fault> {
        self.text(place).parse().map_err(Into::into)
    }

    /// The name of the scope itself.
    fn take_first(&mut self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        self.0.remove(0)
    }
}

impl FromRequestParts<Arc<Context>> for InGateway<ReadOnly> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Fault> {
        let As(intent) = As::from_request_parts(parts, context).await?;
        Ok(Self {
            context: context.clone(),
            actor: intent.actor.clone(),
            control: context.reader().acting(intent),
            below: Below::of(parts, context).await?,
        })
    }
}

impl FromRequestParts<Arc<Context>> for InGateway<ChangeOnly> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Fault> {
        let As(intent) = As::from_request_parts(parts, context).await?;
        Ok(Self {
            context: context.clone(),
            actor: intent.actor.clone(),
            control: context.changer(intent),
            below: Below::of(parts, context).await?,
        })
    }
}

impl<A> FromRequestParts<Arc<Context>> for InZone<A>
where
    InGateway<A>: FromRequestParts<Arc<Context>, Rejection = Fault>,
{
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Fault> {
        let mut at = InGateway::from_request_parts(parts, context).await?;
        let zone = context.zone(&at.below.take_first())?;
        Ok(Self { zone, at })
    }
}

impl<A> FromRequestParts<Arc<Context>> for InAccount<A>
where
    InGateway<A>: FromRequestParts<Arc<Context>, Rejection = Fault>,
{
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, context: &Arc<Context>) -> Result<Self, Fault> {
        let mut at = InGateway::from_request_parts(parts, context).await?;
        context.account(&at.below.take_first())?;
        Ok(Self { at })
    }
}

impl<A> InGateway<A> {
    /// The one thing that the path names, or the first of two.
    pub(crate) fn one<T: FromStr<Err: Into<Fault>>>(&self) -> Result<T, Fault> {
        self.below.read(0)
    }

    /// The two things that the path names.
    pub(crate) fn two<T, U>(&self) -> Result<(T, U), Fault>
    where
        T: FromStr<Err: Into<Fault>>,
        U: FromStr<Err: Into<Fault>>,
    {
        Ok((self.below.read(0)?, self.below.read(1)?))
    }

    /// The name at a place of the path, counted from 0, as it was written.
    pub(crate) fn text(&self, place: usize) -> &str {
        self.below.text(place)
    }

    /// Who asks, for the log.
    pub(crate) fn actor(&self) -> &Arc<str> {
        &self.actor
    }
}

impl InGateway {
    /// The control plane.
    pub(crate) fn control(&self) -> &Control<ReadOnly> {
        &self.control
    }

    /// The parts of the gateway beside the control plane.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Reads what takes long, or waits for the disk, off the thread that answers everybody.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Control<ReadOnly>) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        let granted = |control: &Control<ReadOnly>| {
            control.check_granted()?;
            work(control)
        };
        off_thread(self.control.clone(), granted).await
    }
}

impl ChangeInGateway {
    /// Checks an account id, see [`Context::account`].
    pub(crate) fn check_account(&self, id: &str) -> Result<Id, Fault> {
        self.context.account(id)
    }

    /// Makes the one change of the request.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Control<ChangeOnly>) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        off_thread(self.control, work).await
    }

    /// Makes a change of the process that is in no store.
    pub(crate) async fn tune<T: Send + 'static>(
        self,
        work: impl FnOnce(&Live) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let context = self.context;
        let work =
            move |control: &Control<ChangeOnly>| control.beside_the_store(|| work(context.live()));
        off_thread(self.control, work).await
    }

    /// As [`Self::run`], with a request that shows what there is afterwards.
    pub(crate) async fn run_then_read<T: Send + 'static>(
        self,
        work: impl FnOnce(&Control<ChangeOnly>) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<(T, InGateway), Fault> {
        let control = self.context.reader().clone();
        let made = off_thread(self.control, work).await?;
        let then = InGateway {
            context: self.context,
            control,
            actor: self.actor,
            below: self.below,
        };
        Ok((made, then))
    }
}

impl<A> InZone<A> {
    /// The one thing that the path names below the zone, or the first of two.
    pub(crate) fn one<T: FromStr<Err: Into<Fault>>>(&self) -> Result<T, Fault> {
        self.at.one()
    }

    /// The two things that the path names below the zone.
    pub(crate) fn two<T, U>(&self) -> Result<(T, U), Fault>
    where
        T: FromStr<Err: Into<Fault>>,
        U: FromStr<Err: Into<Fault>>,
    {
        self.at.two()
    }

    /// The name at a place below the zone, counted from 0, as it was written.
    pub(crate) fn text(&self, place: usize) -> &str {
        self.at.text(place)
    }
}

impl InZone {
    /// The control plane.
    pub(crate) fn control(&self) -> &Control<ReadOnly> {
        self.at.control()
    }

    /// The parts of the gateway beside the control plane.
    pub(crate) fn context(&self) -> &Context {
        self.at.context()
    }

    /// Who asks, for the log.
    pub(crate) fn actor(&self) -> &Arc<str> {
        self.at.actor()
    }

    /// As [`InGateway::run`], in this zone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Control<ReadOnly>, Id) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        let zone = self.zone;
        self.at.run(move |control| work(control, zone)).await
    }
}

impl ChangeInZone {
    /// Makes the one change of the request, in this zone.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Control<ChangeOnly>, Id) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        let zone = self.zone;
        self.at.run(move |control| work(control, zone)).await
    }

    /// As [`Self::run`], with a request that shows what there is afterwards.
    pub(crate) async fn run_then_read<T: Send + 'static>(
        self,
        work: impl FnOnce(&Control<ChangeOnly>, Id) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<(T, InZone), Fault> {
        let zone = self.zone;
        let work = move |control: &Control<ChangeOnly>| work(control, zone);
        let (made, at) = self.at.run_then_read(work).await?;
        Ok((made, InZone { zone, at }))
    }
}

impl<A> InAccount<A> {
    /// The one thing that the path names below the account, or the first of two.
    pub(crate) fn one<T: FromStr<Err: Into<Fault>>>(&self) -> Result<T, Fault> {
        self.at.one()
    }

    /// The two things that the path names below the account.
    pub(crate) fn two<T, U>(&self) -> Result<(T, U), Fault>
    where
        T: FromStr<Err: Into<Fault>>,
        U: FromStr<Err: Into<Fault>>,
    {
        self.at.two()
    }
}

impl InAccount {
    /// The control plane.
    pub(crate) fn control(&self) -> &Control<ReadOnly> {
        self.at.control()
    }

    /// As [`InGateway::run`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Control<ReadOnly>) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        self.at.run(work).await
    }
}

impl ChangeInAccount {
    /// Makes the one change of the request.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Control<ChangeOnly>) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        self.at.run(work).await
    }

    /// As [`Self::run`], with a request that shows what there is afterwards.
    pub(crate) async fn run_then_read<T: Send + 'static>(
        self,
        work: impl FnOnce(&Control<ChangeOnly>) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<(T, InAccount), Fault> {
        let (made, at) = self.at.run_then_read(work).await?;
        Ok((made, InAccount { at }))
    }
}
