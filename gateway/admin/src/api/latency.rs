//! Latencies of the last hour: of a zone's hosts together, or of one; and what each of them did.

use axum::response::Response;

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Parameters;
use crate::http::scope::InZone;
use control::Moment;

/// Minutes that are shown when the client names no number, and at most.
const MINUTES_MAX: u32 = 60;

fn since(parameters: &Parameters) -> Result<i64, Fault> {
    let minutes = match parameters.text("minutes") {
        None => MINUTES_MAX,
        Some(text) => text
            .parse::<u32>()
            .map_err(|_not_a_number| Fault::parameter("minutes: a number is expected"))?,
    };
    Ok(Moment::now().seconds() - i64::from(minutes.min(MINUTES_MAX)) * 60)
}

/// The zone's hosts by name, or the one that is asked for.
fn hosts(at: &InZone, parameters: &Parameters) -> Vec<String> {
    let model = at.control().model();
    let wanted = parameters.text("host");
    let hosts = model.hosts_of(at.zone).map(|host| host.name.as_str());
    hosts
        .filter(|name| wanted.is_none_or(|wanted| wanted == *name))
        .map(str::to_owned)
        .collect()
}

/// Percentiles of every stage in steps, and histograms.
pub(crate) async fn show(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let (since, hosts) = (since(&parameters)?, hosts(&at, &parameters));
    let series = at.context().series.clone();
    let shown = at
        .run(move |_, _| Ok(series.of(Some(&hosts), since)))
        .await?;
    Ok(envelope::result(shown))
}

/// What each host did.
pub(crate) async fn traffic(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let (since, hosts) = (since(&parameters)?, hosts(&at, &parameters));
    let series = at.context().series.clone();
    let shown = at.run(move |_, _| Ok(series.each(&hosts, since))).await?;
    Ok(envelope::result(shown))
}
