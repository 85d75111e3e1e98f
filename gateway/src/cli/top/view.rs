//! What `postern top` shows: draws rates into a buffer of any size.
//!
//! Knows neither terminal nor gateway. A narrow area gets fewer columns and panels, never cut numbers.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Widget};

use super::numbers::{rate, seconds, uptime, whole};
use super::reading::{HostRates, Rates};

/// Columns that a host's name has at least.
const NAME: u16 = 18;
/// Columns of a number.
const NUMBER: u16 = 7;
/// Columns of the first text in a panel, before numbers go.
const PANEL_NAME: u16 = 18;
/// Columns from which two panels stand side by side.
const WIDE: u16 = 70;
/// Rows from which there are two rows of panels.
const TALL: u16 = 36;
/// Rows of the panels below the hosts, their title included, when there is room for them.
const PANEL_ROWS: u16 = 10;

vocabulary::words! {
    /// What hosts are sorted by: a column.
    pub(super) enum Column("a column", without serde) {
        /// Requests.
        Requests = "requests",
        /// Median.
        P50 = "p50",
        /// What one in a hundred is slower than.
        P99 = "p99",
        /// Blocked by rules and rate limits.
        Blocked = "blocked",
        /// Answered with 4xx.
        ClientErrors = "4xx",
        /// Answered with 5xx.
        ServerErrors = "5xx",
        /// Full handshakes.
        Full = "full",
        /// Resumed ones.
        Resumed = "resumed",
        /// Refused ones.
        Refused = "refused",
        /// Bytes sent.
        Sent = "sent",
        /// Bytes received.
        Received = "received",
        /// The host's name.
        Host = "host",
    }
}

impl Column {
    /// Its title, and how early it goes where there is no room: the largest first.
    const fn head(self) -> (&'static str, u8) {
        match self {
            Self::Requests => ("REQ/S", 0),
            Self::P50 => ("P50", 7),
            Self::P99 => ("P99", 1),
            Self::Blocked => ("BLOCK/S", 2),
            Self::ClientErrors => ("4XX/S", 8),
            Self::ServerErrors => ("5XX/S", 3),
            Self::Full => ("FULL/S", 4),
            Self::Resumed => ("RESUM/S", 5),
            Self::Refused => ("REFUS/S", 6),
            Self::Sent => ("OUT/S", 9),
            Self::Received => ("IN/S", 10),
            Self::Host => ("HOST", 0),
        }
    }

    fn value(self, host: &HostRates) -> f64 {
        match self {
            Self::Requests => host.requests,
            Self::P50 => host.p50.unwrap_or(-1.0),
            Self::P99 => host.p99.unwrap_or(-1.0),
            Self::Blocked => host.blocked,
            Self::ClientErrors => host.client_errors,
            Self::ServerErrors => host.server_errors,
            Self::Full => host.full,
            Self::Resumed => host.resumed,
            Self::Refused => host.refused,
            Self::Sent => host.sent,
            Self::Received => host.received,
            Self::Host => 0.0,
        }
    }

    fn shown(self, host: &HostRates) -> String {
        match self {
            Self::P50 => seconds(host.p50),
            Self::P99 => seconds(host.p99),
            Self::Host => host.name.clone(),
            _ => rate(self.value(host)),
        }
    }

    /// The one behind it, or before.
    pub(super) fn next(self, back: bool) -> Self {
        let count = Self::ALL.len();
        let place = self as usize + if back { count - 1 } else { 1 };
        Self::ALL.get(place % count).copied().unwrap_or(self)
    }
}

/// The panels below the hosts.
const PANELS: usize = 4;

/// What is to be seen, and how.
#[derive(Debug)]
pub(super) struct View {
    pub(super) rates: Option<Rates>,
    /// Why there are no newer ones.
    pub(super) waiting: Option<String>,
    pub(super) sort: Column,
    pub(super) is_reversed: bool,
    /// Only hosts with this in their name.
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) has_help: bool,
    /// The first panel that is shown, where not all are.
    pub(super) panel: usize,
    /// Hosts above the first that is shown.
    pub(super) scrolled: usize,
    pub(super) interval_sec: f64,
}

impl View {
    pub(super) fn new(sort: Column, filter: String, interval_sec: f64) -> Self {
        Self {
            rates: None,
            waiting: None,
            sort,
            is_reversed: false,
            filter,
            is_typing: false,
            is_paused: false,
            has_help: false,
            panel: 0,
            scrolled: 0,
            interval_sec,
        }
    }

    /// The hosts that fit the filter, sorted.
    pub(super) fn hosts(&self) -> Vec<&HostRates> {
        let wanted = self.filter.to_ascii_lowercase();
        let all = self.rates.iter().flat_map(|rates| &rates.hosts);
        let mut hosts: Vec<_> = all
            .filter(|host| host.name.to_ascii_lowercase().contains(&wanted))
            .collect();
        hosts.sort_by(|one, other| {
            let by_value = self.sort.value(other).total_cmp(&self.sort.value(one));
            by_value.then_with(|| one.name.cmp(&other.name))
        });
        if self.is_reversed {
            hosts.reverse();
        }
        hosts
    }

    /// Draws what fits.
    pub(super) fn draw(&self, area: Rect, out: &mut Buffer) {
        if area.width < 20 || area.height < 4 {
            Paragraph::new("too small").render(area, out);
            return;
        }
        let head = if area.height < 10 { 1 } else { 2 };
        let below = match area.height {
            0..10 => 0,
            10..TALL => ((area.height - head - 1) / 2).min(PANEL_ROWS),
            _ => 2 * PANEL_ROWS,
        };
        let [header, hosts, panels, footer] = Layout::vertical([
            Constraint::Length(head),
            Constraint::Min(2),
            Constraint::Length(below),
            Constraint::Length(1),
        ])
        .areas(area);
        self.header(header, out);
        if self.has_help {
            Paragraph::new(HELP).render(hosts, out);
        } else {
            self.host_table(hosts, out);
        }
        self.panels(panels, out);
        self.footer(footer, out);
    }

    /// All that there is, as text.
    pub(super) fn text(&self, columns: u16) -> String {
        let rows = |count: usize| u16::try_from(count + 2).unwrap_or(u16::MAX);
        let rates = self.rates.as_ref();
        let count = |of: fn(&Rates) -> usize| rows(rates.map_or(0, of));
        let heights = [
            3,
            rows(self.hosts().len().max(1)),
            count(|rates| rates.stages.len().max(1)),
            count(|rates| rates.refusals.len().max(1)),
            count(|rates| rates.workers.len().max(1)),
            count(|rates| rates.origins.len().max(1)),
        ];
        let mut text = String::new();
        for (place, height) in heights.into_iter().enumerate() {
            let area = Rect::new(0, 0, columns, height);
            let mut out = Buffer::empty(area);
            match place {
                0 => self.header(Rect { height: 2, ..area }, &mut out),
                1 => self.host_table(area, &mut out),
                _ => self.panel(place - 2, area, &mut out),
            }
            for row in 0..height {
                let cells = (0..columns).filter_map(|column| out.cell((column, row)));
                let line: String = cells.map(|cell| cell.symbol()).collect();
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn header(&self, area: Rect, out: &mut Buffer) {
        let Some(rates) = &self.rates else {
            Paragraph::new("Postern").style(bold()).render(area, out);
            return;
        };
        let (version, state) = (&rates.version, rates.state);
        let mut first = format!(
            "Postern {version}  {state}  up {}",
            uptime(rates.uptime_sec)
        );
        if area.width >= WIDE {
            let (generation, steering) = (rates.generation, &rates.steering);
            first.push_str(&format!("  generation {generation}  steering {steering}"));
        }
        if rates.lost_lines > 0.0 {
            first.push_str(&format!("  access log loses {}/s", rate(rates.lost_lines)));
        }
        let sum = |of: fn(&HostRates) -> f64| rates.hosts.iter().map(of).sum::<f64>();
        let (open, idle) = rates.workers.iter().fold((0, 0), |(open, idle), worker| {
            (open + worker.open, idle + worker.idle)
        });
        let done = rates.full + rates.resumed;
        let part = if done > 0.0 {
            format!(" ({:.0} %)", rates.resumed / done * 100.0)
        } else {
            String::new()
        };
        let long = format!(
            "{} req/s  {} blocked  {} 5xx  handshakes {} full {} resumed{part} {} refused  connections {open} ({idle} idle)",
            rate(sum(|host| host.requests)),
            rate(sum(|host| host.blocked)),
            rate(sum(|host| host.server_errors)),
            rate(rates.full),
            rate(rates.resumed),
            rate(rates.refused),
        );
        let short = format!(
            "{} req/s {} blk {} 5xx  TLS {}+{} -{}  conn {open}",
            rate(sum(|host| host.requests)),
            rate(sum(|host| host.blocked)),
            rate(sum(|host| host.server_errors)),
            rate(rates.full),
            rate(rates.resumed),
            rate(rates.refused),
        );
        let second = if long.chars().count() <= usize::from(area.width) {
            long
        } else {
            short
        };
        let lines = vec![Line::styled(first, bold()), Line::raw(second)];
        Paragraph::new(lines).render(area, out);
    }

    fn host_table(&self, area: Rect, out: &mut Buffer) {
        // Those that matter most, as many as fit, in their order.
        let room = area.width.saturating_sub(NAME) / (NUMBER + 1);
        let shown = |column: &Column| *column != Column::Host && u16::from(column.head().1) < room;
        let columns: Vec<Column> = Column::ALL.into_iter().filter(shown).collect();
        let title = |column: Column| {
            let (name, _) = column.head();
            let style = if column == self.sort {
                bold().add_modifier(Modifier::UNDERLINED)
            } else {
                bold()
            };
            Span::styled(name, style)
        };
        let mut head = vec![Cell::from(title(Column::Host))];
        head.extend(
            columns
                .iter()
                .map(|column| Cell::from(Line::from(title(*column)).right_aligned())),
        );
        let hosts = self.hosts();
        let rows = usize::from(area.height.saturating_sub(1));
        let first = self.scrolled.min(hosts.len().saturating_sub(rows));
        let body = hosts.iter().skip(first).take(rows).map(|host| {
            let mut cells = vec![Cell::from(host.name.clone())];
            cells.extend(columns.iter().map(|column| {
                let is_bad = matches!(column, Column::ServerErrors) && host.server_errors > 0.0;
                let style = if is_bad { bad() } else { Style::new() };
                Cell::from(Line::styled(column.shown(host), style).right_aligned())
            }));
            Row::new(cells)
        });
        let mut widths = vec![Constraint::Min(NAME)];
        widths.extend(columns.iter().map(|_| Constraint::Length(NUMBER)));
        let table = Table::new(body, widths).header(Row::new(head));
        Widget::render(table, area, out);
        if hosts.is_empty() && area.height > 1 {
            let why = if self.rates.is_none() {
                ""
            } else if self.filter.is_empty() {
                "no host has done anything yet"
            } else {
                "no host has this in its name"
            };
            let below = Rect {
                y: area.y + 1,
                height: 1,
                ..area
            };
            Paragraph::new(why).render(below, out);
        }
    }

    fn panels(&self, area: Rect, out: &mut Buffer) {
        if area.height < 2 {
            return;
        }
        let across: usize = if area.width < WIDE { 1 } else { 2 };
        let down: usize = if area.height < 2 * PANEL_ROWS { 1 } else { 2 };
        let count = across * down;
        let first = self.panel % PANELS / count * count;
        let rows = Layout::vertical(vec![Constraint::Fill(1); down]).split(area);
        let areas = rows.iter().flat_map(|row| {
            let columns = Layout::horizontal(vec![Constraint::Fill(1); across]);
            columns.spacing(2).split(*row).to_vec()
        });
        for (place, area) in areas.enumerate() {
            self.panel(first + place, area, out);
        }
    }

    /// Shows other panels, where not all are shown.
    pub(super) fn next_panel(&mut self, columns: u16) {
        self.panel += if columns < WIDE { 1 } else { 2 };
        self.panel %= PANELS;
    }

    fn panel(&self, number: usize, area: Rect, out: &mut Buffer) {
        let Some(rates) = &self.rates else { return };
        match number {
            0 => {
                let rows = rates.stages.iter().map(|stage| {
                    let numbers = [rate(stage.rate), seconds(stage.p50), seconds(stage.p99)];
                    (stage.name.clone(), numbers, Style::new())
                });
                panel(["STAGE", "/S", "P50", "P99"], rows, area, out);
            }
            1 => {
                let rows = rates.refusals.iter().map(|refusal| {
                    let numbers = [rate(refusal.rate), whole(refusal.total)];
                    (refusal.reason.clone(), numbers, Style::new())
                });
                panel(["REFUSED", "/S", "ALL"], rows, area, out);
            }
            2 => {
                let rows = rates.workers.iter().map(|worker| {
                    let numbers = [
                        rate(worker.requests),
                        rate(worker.accepted),
                        whole(worker.open),
                        whole(worker.to_origins),
                    ];
                    (worker.number.to_string(), numbers, Style::new())
                });
                panel(
                    ["WORKER", "REQ/S", "ACC/S", "OPEN", "ORIGIN"],
                    rows,
                    area,
                    out,
                );
            }
            _ => {
                // Those in trouble first.
                let mut origins: Vec<_> = rates.origins.iter().collect();
                origins.sort_by(|one, other| {
                    let by_health = one.is_good.cmp(&other.is_good);
                    by_health.then(other.failed.total_cmp(&one.failed))
                });
                let rows = origins.into_iter().map(|origin| {
                    let state = if origin.is_good { "good" } else { "DOWN" };
                    let numbers = [
                        state.to_owned(),
                        rate(origin.requests),
                        rate(origin.failed),
                        whole(origin.open),
                    ];
                    let style = if origin.is_good { Style::new() } else { bad() };
                    let address = &origin.address;
                    let address = address.strip_prefix("http://").unwrap_or(address);
                    let name = format!("{address} {}", origin.origin);
                    (name, numbers, style)
                });
                panel(
                    ["ORIGIN", "STATE", "REQ/S", "FAIL/S", "OPEN"],
                    rows,
                    area,
                    out,
                );
            }
        }
    }

    fn footer(&self, area: Rect, out: &mut Buffer) {
        let line = if self.is_typing {
            Line::styled(
                format!("host: {}_  (Enter, Esc clears)", self.filter),
                bold(),
            )
        } else if let Some(why) = &self.waiting {
            Line::styled(format!("waiting for the gateway: {why}"), bad())
        } else {
            let paused = if self.is_paused { "PAUSED  " } else { "" };
            let filter = if self.filter.is_empty() {
                String::new()
            } else {
                format!("host: {}  ", self.filter)
            };
            Line::raw(format!(
                "{paused}{filter}every {}s, by {}  q quit  s sort  p pause  / host  Tab panel  ? help",
                self.interval_sec, self.sort,
            ))
        };
        Paragraph::new(line).render(area, out);
    }
}

const HELP: &str = "\
q, Esc, Ctrl-C  quit
s, S            sort by the next column, by the one before
r               the other way round
/               only hosts with this in their name; Esc shows all
p, Space        hold still, go on
+, -            read less often, more often
Tab             other panels, where not all fit
arrows, PageUp, PageDown, Home
                the hosts above and below";

/// A table of a title line and rows of one text and some numbers, of which those at the end go where
/// there is no room.
fn panel<const T: usize, const N: usize>(
    titles: [&'static str; T],
    rows: impl Iterator<Item = (String, [String; N], Style)>,
    area: Rect,
    out: &mut Buffer,
) {
    let room = area.width.saturating_sub(PANEL_NAME) / NUMBER;
    let numbers_max = usize::from(room).clamp(1, N);
    let mut head = Vec::with_capacity(T);
    for (place, title) in titles.into_iter().take(1 + numbers_max).enumerate() {
        let line = Line::styled(title, bold());
        head.push(Cell::from(if place == 0 {
            line
        } else {
            line.right_aligned()
        }));
    }
    let rows = rows.take(area.height.saturating_sub(1).into());
    let body = rows.map(|(name, numbers, style)| {
        let mut cells = vec![Cell::from(name)];
        let numbers = numbers.into_iter().take(numbers_max);
        cells.extend(numbers.map(|number| Cell::from(Line::from(number).right_aligned())));
        Row::new(cells).style(style)
    });
    let mut widths = vec![Constraint::Min(8)];
    widths.extend(vec![Constraint::Length(NUMBER - 1); numbers_max]);
    Widget::render(Table::new(body, widths).header(Row::new(head)), area, out);
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn bad() -> Style {
    Style::new().fg(Color::Red)
}

#[cfg(test)]
mod tests {
    use super::super::reading::Reading;
    use super::super::reading::tests::reading;
    use super::*;

    fn view() -> View {
        let mut view = View::new(Column::Requests, String::new(), 2.0);
        let before = Reading::read(&reading(10.0, 40));
        view.rates = Some(Reading::read(&reading(12.0, 100)).since(&before));
        view
    }

    fn drawn(view: &View, columns: u16, rows: u16) -> Vec<String> {
        let area = Rect::new(0, 0, columns, rows);
        let mut out = Buffer::empty(area);
        view.draw(area, &mut out);
        let line = |row| (0..columns).map(move |column| (column, row));
        (0..rows)
            .map(|row| {
                let cells = line(row).filter_map(|place| out.cell(place));
                cells.map(|cell| cell.symbol()).collect()
            })
            .collect()
    }

    #[test]
    fn every_size_is_drawn_and_what_matters_is_there() {
        let mut view = view();
        for columns in [1, 19, 20, 40, 60, 69, 70, 80, 115, 116, 120, 300] {
            for rows in [1, 3, 4, 9, 10, 15, 24, 40, 100] {
                for panel in 0..PANELS {
                    view.panel = panel;
                    let text = drawn(&view, columns, rows).join("\n");
                    if columns >= 60 && rows >= 4 {
                        for wanted in ["api.example.test", "REQ/S", "P99", "running"] {
                            assert!(text.contains(wanted), "{columns}x{rows}: {wanted}\n{text}");
                        }
                    }
                    assert!(
                        !text.chars().any(|c| c.is_control() && c != '\n'),
                        "{text:?}"
                    );
                }
            }
        }
        let wide = drawn(&view, 120, 40).join("\n");
        for wanted in [
            "STAGE", "REFUSED", "WORKER", "ORIGIN", "DOWN", "expired", "75 %",
        ] {
            assert!(wide.contains(wanted), "{wanted}\n{wide}");
        }
    }

    #[test]
    fn panels_change_where_not_all_fit() {
        let mut view = view();
        assert!(drawn(&view, 80, 24).join("\n").contains("STAGE"));
        view.next_panel(80);
        let text = drawn(&view, 80, 24).join("\n");
        assert!(text.contains("WORKER") && !text.contains("STAGE"), "{text}");
        view.next_panel(80);
        assert!(drawn(&view, 80, 24).join("\n").contains("STAGE"));
        view.next_panel(60);
        let text = drawn(&view, 60, 15).join("\n");
        assert!(text.contains("REFUSED"), "{text}");
    }

    #[test]
    fn hosts_are_sorted_and_filtered() {
        let mut view = view();
        let names = |view: &View| -> Vec<String> {
            view.hosts().iter().map(|host| host.name.clone()).collect()
        };
        let [api, evil] = ["api.example.test", "evil\u{fffd}[31m\u{fffd}"];
        assert_eq!(names(&view), [api, evil]);
        view.is_reversed = true;
        assert_eq!(names(&view), [evil, api]);
        view.filter = "API".into();
        assert_eq!(names(&view), [api]);
        view.filter = "nobody".into();
        assert!(drawn(&view, 80, 24).join("\n").contains("no host has this"));
        let mut column = Column::Requests;
        for _ in Column::ALL {
            view.sort = column;
            drawn(&view, 80, 24);
            assert_eq!(column.next(false).next(true), column);
            column = column.next(false);
        }
        assert_eq!(column, Column::Requests);
    }

    #[test]
    fn states_are_said() {
        let mut view = view();
        let last = |view: &View| drawn(view, 100, 24).pop().unwrap();
        assert!(last(&view).contains("every 2s, by requests"));
        view.is_paused = true;
        assert!(last(&view).starts_with("PAUSED"));
        view.waiting = Some("/run/postern/admin.sock: nobody listens".into());
        assert!(last(&view).starts_with("waiting for the gateway: /run"));
        view.is_typing = true;
        assert!(last(&view).starts_with("host: _"));
        view.rates = None;
        view.is_typing = false;
        let text = drawn(&view, 80, 24).join("\n");
        assert!(text.contains("waiting for the gateway"), "{text}");
        view.has_help = true;
        assert!(drawn(&view, 80, 24).join("\n").contains("Ctrl-C"));
    }

    #[test]
    fn one_frame_as_text_has_everything() {
        let text = view().text(100);
        for wanted in [
            "Postern 0.1.0  running  up 12s",
            "api.example.test",
            "STAGE",
            "REFUSED",
            "WORKER",
            "127.0.0.1:9 api.example.test",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(text.lines().all(|line| line.trim_end() == line));
    }
}
