//! A plot: curves over an axis of marks, as SVG.

use super::super::svg::{decade_above, decade_below, decade_name};
use super::escape;
use crate::peers::Name;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 280.0;
/// The field within: left, top, right, bottom.
const FIELD: (f64, f64, f64, f64) = (66.0, 34.0, 448.0, 232.0);
/// Lines across the field at most.
const LINES_MAX: f64 = 6.0;

/// A point of a curve.
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// From where to where the figure went.
    pub(super) range: Option<(f64, f64)>,
    /// What is shown of it on demand.
    pub(super) says: String,
}

/// A curve.
pub(super) struct Series {
    pub(super) name: Name,
    pub(super) points: Vec<Point>,
}

/// An axis: what it is, how far it goes, where its marks are.
pub(super) struct Axis {
    name: String,
    span: (f64, f64),
    marks: Vec<(f64, String)>,
    logarithmic: bool,
}

impl Axis {
    /// As far as its marks go.
    pub(super) fn marks(name: &str, marks: Vec<(f64, String)>) -> Self {
        let first = marks.first().map_or(0.0, |(at, _)| *at);
        let last = marks.last().map_or(0.0, |(at, _)| *at);
        // A single mark stands in the middle.
        let span = if last > first {
            (first, last)
        } else {
            (first - 1.0, first + 1.0)
        };
        Self {
            name: name.to_owned(),
            span,
            marks,
            logarithmic: false,
        }
    }

    /// From zero to `most`, in even steps.
    pub(super) fn even(most: f64, show: &dyn Fn(f64) -> String) -> Self {
        let step = step(most);
        let mut marks = vec![(0.0, "0".to_owned())];
        let mut at = step;
        while at < most + step {
            marks.push((at, show(at)));
            at += step;
        }
        let end = marks.last().map_or(1.0, |(at, _)| *at);
        Self {
            name: String::new(),
            span: (0.0, end),
            marks,
            logarithmic: false,
        }
    }

    /// Decades of nanoseconds.
    pub(super) fn decades(least: u64, most: u64) -> Self {
        let low = decade_below(least);
        let high = decade_above(most).max(low * 10.0);
        let mut marks = Vec::new();
        let mut at = low;
        while at <= high * 1.01 {
            marks.push((at, decade_name(at)));
            at *= 10.0;
        }
        Self {
            name: String::new(),
            span: (low, high),
            marks,
            logarithmic: true,
        }
    }

    /// Where a value is: 0 at the beginning, 1 at the end.
    fn part(&self, value: f64) -> f64 {
        let scale = |value: f64| {
            if self.logarithmic {
                value.max(1.0).log10()
            } else {
                value
            }
        };
        let (from, to) = (scale(self.span.0), scale(self.span.1));
        ((scale(value) - from) / (to - from)).clamp(0.0, 1.0)
    }
}

/// A step of 1, 2 or 5 and zeros, by which an axis to `most` has few lines.
fn step(most: f64) -> f64 {
    let rough = (most / LINES_MAX).max(f64::MIN_POSITIVE);
    let decade = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|part| part * decade);
    steps
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * decade)
}

/// A plot to be drawn.
pub(super) struct Plot<'a> {
    pub(super) heading: &'a str,
    pub(super) across: Axis,
    pub(super) down: Axis,
    pub(super) series: Vec<Series>,
}

impl Plot<'_> {
    /// As a figure of the page.
    pub(super) fn draw(&self) -> String {
        let heading = escape(self.heading);
        let mut out = format!(
            "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{heading}\">\n\
             <text class=\"heading\" x=\"4\" y=\"16\">{heading}</text>\n"
        );
        let (left, top, right, bottom) = FIELD;
        for (at, name) in &self.down.marks {
            let y = self.y(*at);
            line(&mut out, "grid", (left, y), (right, y));
            text(&mut out, "end", (left - 6.0, y + 4.0), name);
        }
        for (at, name) in &self.across.marks {
            let x = self.x(*at);
            line(&mut out, "grid", (x, top), (x, bottom));
            // The last one would stand out of the picture.
            let (anchor, x) = if *at >= self.across.span.1 {
                ("end", x + 10.0)
            } else {
                ("middle", x)
            };
            text(&mut out, anchor, (x, bottom + 16.0), name);
        }
        let middle = f64::midpoint(left, right);
        text(
            &mut out,
            "middle",
            (middle, HEIGHT - 8.0),
            &self.across.name,
        );
        for (series, index) in self.series.iter().zip(0_u32..) {
            self.curve(&mut out, series, index);
        }
        out.push_str("</svg></figure>\n");
        out
    }

    fn curve(&self, out: &mut String, series: &Series, index: u32) {
        let name = series.name.as_str();
        out.push_str(&format!("<g class=\"{name}\">\n"));
        // Side by side where they would hide each other.
        let beside = match series.points.first() {
            Some(Point { range: Some(_), .. }) => {
                (f64::from(index) - (self.series.len() as f64 - 1.0) / 2.0) * 3.0
            }
            _ => 0.0,
        };
        let x = |point: &Point| (self.x(point.x) + beside).clamp(FIELD.0, FIELD.2 + 6.0);
        let path: Vec<String> = series
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point), self.y(point.y)))
            .collect();
        out.push_str(&format!("<polyline points=\"{}\"/>\n", path.join(" ")));
        for point in &series.points {
            if let Some((least, most)) = point.range {
                let x = x(point);
                line(out, "range", (x, self.y(least)), (x, self.y(most)));
            }
            out.push_str(&format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}</title></circle>\n",
                x(point),
                self.y(point.y),
                escape(&point.says)
            ));
        }
        out.push_str("</g>\n");
    }

    fn x(&self, value: f64) -> f64 {
        let (left, _, right, _) = FIELD;
        left + self.across.part(value) * (right - left)
    }

    fn y(&self, value: f64) -> f64 {
        let (_, top, _, bottom) = FIELD;
        bottom - self.down.part(value) * (bottom - top)
    }
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    out.push_str(&format!(
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
        from.0, from.1, to.0, to.1
    ));
}

fn text(out: &mut String, anchor: &str, at: (f64, f64), text: &str) {
    out.push_str(&format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
        at.0,
        at.1,
        escape(text)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_few_round_marks() {
        for (most, want) in [(30.0, 5.0), (31_000.0, 10_000.0), (1.4, 0.5), (0.9, 0.2)] {
            assert!(
                (step(most) - want).abs() < want / 1e6,
                "{most}: {}",
                step(most)
            );
        }
        let axis = Axis::even(30.0, &|value| value.to_string());
        assert!((axis.part(0.0)).abs() < 1e-9);
        assert!((axis.part(15.0) - 0.5).abs() < 1e-9);
        let one = Axis::marks("x", vec![(0.0, "64".into())]);
        assert!((one.part(0.0) - 0.5).abs() < 1e-9);
        let decades = Axis::decades(20_000, 3_000_000);
        assert_eq!(decades.marks.len(), 4);
    }
}
