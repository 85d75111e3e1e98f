//! The table of routes as Markdown, for people who read `docs/api.md`.

use super::document::{bytes, query};
use crate::limits::ADMIN_SMALL_BODY_BYTES_MAX;
use crate::routes::{self, Answer, Body, Route};

/// All routes, one table a group.
pub(super) fn page() -> String {
    let mut page = String::new();
    for group in routes::groups() {
        page.push_str(&format!("### {}\n\n{}\n\n", group.name, group.about));
        page.push_str("| request | scope | what it does |\n|---|---|---|\n");
        for route in group.routes {
            page.push_str(&row(route));
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page
}

fn row(route: &Route) -> String {
    let mut says = vec![format!("{}.", route.summary)];
    let takes = match route.body {
        Body::None => None,
        Body::Json(name) => Some(format!("Takes `{name}`")),
        Body::MaybeJson(name) => Some(format!("May take `{name}`")),
        Body::Crl(name) => Some(format!("Takes DER, PEM, or `{name}`")),
    };
    if let Some(takes) = takes {
        says.push(match route.body_max {
            ADMIN_SMALL_BODY_BYTES_MAX => format!("{takes}."),
            larger => format!("{takes} of up to {}.", bytes(larger)),
        });
    }
    says.push(match route.answer {
        Answer::One(name) => format!("Gives `{name}`."),
        Answer::All(name)
        | Answer::Page(name)
        | Answer::Cursor(name)
        | Answer::PageOrCursor(name) => format!("Gives a list of `{name}`."),
        Answer::Nothing => "Gives nothing (204).".to_owned(),
        Answer::Media(kind) | Answer::MediaOr503(kind) => {
            format!("Gives `{}`.", kind.split(';').next().unwrap_or(kind))
        }
    });
    let query: Vec<String> = query(route)
        .iter()
        .map(|one| format!("`{}`", one.name))
        .collect();
    if !query.is_empty() {
        says.push(format!("Query: {}.", query.join(", ")));
    }
    let (method, path, scope) = (route.method, route.path, route.needs.as_str());
    format!("| `{method} {path}` | {scope} | {} |\n", says.join(" "))
}
