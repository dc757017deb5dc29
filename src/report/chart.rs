//! A chart as SVG: lines with bands, horizontal levels to compare with, vertical marks.
//!
//! Each chart is drawn twice, wide and narrow, and the page shows the one that fits, so that letters stay readable on a
//! telephone. Colors are written as fixed numbers which the page's style sheet exchanges for darker surroundings:
//! every color here has a line in `style.css`.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ReportError;

/// The drawing backend knows whole pixels only; it draws on a canvas that many times finer.
const FINENESS: u32 = 4;

const INK: RGBColor = RGBColor(0x3E, 0x4C, 0x59);
const GRID: RGBColor = RGBColor(0xE4, 0xE7, 0xEB);
const AXIS: RGBColor = RGBColor(0x9A, 0xA5, 0xB1);
const MARK: RGBColor = RGBColor(0xC9, 0x2A, 0x2B);

#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub title: String,
    /// What it shows and how to read it, one or two sentences.
    pub explanation: String,
    pub x_label: String,
    pub y_label: String,
    /// Shares and counts are only honest over a full axis; where a change matters more than the size, leave it away.
    pub y_from_zero: bool,
    pub series: Vec<Series>,
    pub levels: Vec<Level>,
    pub marks: Vec<Mark>,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    pub tone: Tone,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// Lower and upper end of an interval around y.
    pub interval: Option<(f64, f64)>,
}

/// A horizontal line to compare with.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    pub name: String,
    pub tone: Tone,
    pub value: f64,
}

/// A vertical line: something happened here.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub name: String,
    pub x: f64,
}

/// A color with its own place in the light and the dark palette.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Teal,
    Violet,
    Amber,
    Green,
    Gray,
}

impl Tone {
    pub const ALL: [Tone; 5] = [Tone::Teal, Tone::Violet, Tone::Amber, Tone::Green, Tone::Gray];

    /// The class by which the style sheet colors a legend's swatch.
    pub fn class(self) -> &'static str {
        match self {
            Tone::Teal => "teal",
            Tone::Violet => "violet",
            Tone::Amber => "amber",
            Tone::Green => "green",
            Tone::Gray => "gray",
        }
    }

    fn color(self) -> RGBColor {
        match self {
            Tone::Teal => RGBColor(0x0B, 0x72, 0x85),
            Tone::Violet => RGBColor(0x7A, 0x3E, 0x9D),
            Tone::Amber => RGBColor(0xB3, 0x5C, 0x00),
            Tone::Green => RGBColor(0x2B, 0x7A, 0x3E),
            Tone::Gray => RGBColor(0x6B, 0x77, 0x84),
        }
    }
}

impl Point {
    pub fn new(x: f64, y: f64) -> Point {
        Point { x, y, interval: None }
    }

    fn is_finite(&self) -> bool {
        let ends = self.interval.is_none_or(|(low, high)| low.is_finite() && high.is_finite());
        self.x.is_finite() && self.y.is_finite() && ends
    }
}

impl Series {
    pub fn new(name: impl Into<String>, tone: Tone, points: Vec<Point>) -> Series {
        Series { name: name.into(), tone, points }
    }

    /// What can be drawn: finite points, thinned to the greatest and the least of each of a fixed number of pieces, so
    /// that no spike disappears.
    fn drawn(&self, most: usize) -> Vec<Point> {
        let finite: Vec<Point> = self.points.iter().copied().filter(Point::is_finite).collect();
        if finite.len() <= most {
            return finite;
        }
        let piece = finite.len().div_ceil(most / 2);
        finite.chunks(piece).flat_map(least_and_greatest).collect()
    }
}

/// In the order in which they occur; one point if they are the same.
fn least_and_greatest(piece: &[Point]) -> Vec<Point> {
    let by_height = |a: &&Point, b: &&Point| a.y.total_cmp(&b.y);
    let (least, greatest) = (piece.iter().min_by(by_height), piece.iter().max_by(by_height));
    let mut ends: Vec<Point> = least.into_iter().chain(greatest).copied().collect();
    ends.sort_by(|a, b| a.x.total_cmp(&b.x));
    ends.dedup();
    ends
}

/// The two sizes in which a chart is drawn, in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Wide,
    Narrow,
}

impl Format {
    fn size(self) -> (u32, u32) {
        match self {
            Format::Wide => (860, 320),
            Format::Narrow => (380, 280),
        }
    }

    /// More points are thinned: a line shows no more than it has pixels.
    fn points_max(self) -> usize {
        match self {
            Format::Wide => 600,
            Format::Narrow => 200,
        }
    }

    fn ticks(self) -> usize {
        match self {
            Format::Wide => 8,
            Format::Narrow => 4,
        }
    }
}

impl Chart {
    /// How many values could not be drawn because they are no finite numbers.
    pub fn left_out(&self) -> usize {
        self.series.iter().flat_map(|series| &series.points).filter(|point| !point.is_finite()).count()
    }

    /// One `<svg>` element; `None` while there is not a single point.
    ///
    /// # Errors
    /// What the drawing backend says.
    pub fn svg(&self, format: Format) -> Result<Option<String>, ReportError> {
        let most = format.points_max();
        let drawn: Vec<(&Series, Vec<Point>)> = self.series.iter().map(|series| (series, series.drawn(most))).collect();
        let Some(extent) = Extent::of(self, &drawn) else {
            return Ok(None);
        };
        let mut text = String::new();
        self.draw(format, &extent, &drawn, &mut text)
            .map_err(|error| ReportError { chart: self.title.clone(), reason: error.to_string() })?;
        Ok(Some(labeled(&text, &self.title, &self.explanation)))
    }

    fn draw(
        &self,
        format: Format,
        extent: &Extent,
        drawn: &[(&Series, Vec<Point>)],
        text: &mut String,
    ) -> Result<(), DrawingError> {
        let (width, height) = format.size();
        let fine = |pixels: u32| pixels * FINENESS;
        let root = SVGBackend::with_string(text, (fine(width), fine(height))).into_drawing_area();
        let letters = |size: u32| ("sans-serif", fine(size)).into_font().color(&INK);
        let mut chart = ChartBuilder::on(&root)
            .margin_top(fine(10))
            .margin_right(fine(18))
            .x_label_area_size(fine(42))
            .y_label_area_size(fine(62))
            .build_cartesian_2d(extent.x.0..extent.x.1, extent.y.0..extent.y.1)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(FINENESS))
            .axis_style(AXIS.stroke_width(FINENESS))
            .set_all_tick_mark_size(fine(4))
            .label_style(letters(15))
            .axis_desc_style(letters(15))
            .x_labels(format.ticks())
            .y_labels(5)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .draw()?;
        for mark in self.marks.iter().filter(|mark| mark.x.is_finite()) {
            let ends = [(mark.x, extent.y.0), (mark.x, extent.y.1)];
            chart.draw_series(LineSeries::new(ends, MARK.stroke_width(fine(1))))?;
            // The name stands on the side that has room.
            let is_left = mark.x > (extent.x.0 + extent.x.1) / 2.0;
            let anchor = Pos::new(if is_left { HPos::Right } else { HPos::Left }, VPos::Top);
            let style = ("sans-serif", fine(14)).into_font().color(&MARK).pos(anchor);
            let offset = fine(5) as i32 * if is_left { -1 } else { 1 };
            let label = EmptyElement::at(ends[1]) + Text::new(mark.name.clone(), (offset, 0), style);
            chart.draw_series(std::iter::once(label))?;
        }
        for level in self.levels.iter().filter(|level| level.value.is_finite()) {
            let ends = [(extent.x.0, level.value), (extent.x.1, level.value)];
            // The style sheet makes lines of this width dashed.
            chart.draw_series(LineSeries::new(ends, level.tone.color().stroke_width(LEVEL_WIDTH)))?;
        }
        for (series, points) in drawn {
            chart.draw_series(std::iter::once(Polygon::new(band(points), series.tone.color().mix(0.18))))?;
            let line = points.iter().map(|point| (point.x, point.y));
            chart.draw_series(LineSeries::new(line, series.tone.color().stroke_width(fine(2))))?;
            if points.len() <= 40 {
                let dots =
                    points.iter().map(|point| Circle::new((point.x, point.y), fine(3), series.tone.color().filled()));
                chart.draw_series(dots)?;
            }
        }
        root.present()?;
        Ok(())
    }
}

/// One and a half pixels; `style.css` knows it by this number.
const LEVEL_WIDTH: u32 = 6;

type DrawingError = DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>;

/// Along the upper ends and back along the lower ones.
fn band(points: &[Point]) -> Vec<(f64, f64)> {
    let ends: Vec<(f64, f64, f64)> =
        points.iter().filter_map(|point| point.interval.map(|(low, high)| (point.x, low, high))).collect();
    let upper = ends.iter().map(|(x, _, high)| (*x, *high));
    let lower = ends.iter().rev().map(|(x, low, _)| (*x, *low));
    upper.chain(lower).collect()
}

/// What the axes span.
struct Extent {
    x: (f64, f64),
    y: (f64, f64),
}

impl Extent {
    fn of(chart: &Chart, drawn: &[(&Series, Vec<Point>)]) -> Option<Extent> {
        let points = || drawn.iter().flat_map(|(_, points)| points);
        let x = span(points().map(|point| point.x))?;
        let ends = points().flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [point.y, low, high]
        });
        let levels = chart.levels.iter().map(|level| level.value).filter(|value| value.is_finite());
        let zero = chart.y_from_zero.then_some(0.0);
        let (low, high) = span(ends.chain(levels).chain(zero))?;
        let room = (high - low) * 0.06;
        // A quantity that is never negative gets no axis below 0.
        let bottom = if low >= 0.0 { (low - room).max(0.0) } else { low - room };
        Some(Extent { x, y: (bottom, high + room) })
    }
}

/// Least and greatest; made a little wider when they are the same, because an axis needs a length.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return None;
    }
    let least = f64::max(low.abs() * 0.01, 1e-6);
    Some(if high - low < least { (low - least, high + least) } else { (low, high) })
}

/// `12 500`, `0.25`, `3e-5`: short, without false digits.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e9 || (size > 0.0 && size < 1e-3) {
        return format!("{value:.1e}");
    }
    let decimals = match size {
        _ if size >= 1_000.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 0.1 => 2,
        _ => 4,
    };
    let plain = format!("{value:.decimals$}");
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let fraction = fraction.trim_end_matches('0');
    let whole = grouped(whole);
    match (whole.as_str(), fraction) {
        ("-0", "") => String::from("0"),
        (_, "") => whole,
        (_, fraction) => format!("{whole}.{fraction}"),
    }
}

/// Thin groups of three digits.
fn grouped(whole: &str) -> String {
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// The picture with a name for those who do not see it, and without a fixed size.
fn labeled(svg: &str, title: &str, explanation: &str) -> String {
    let label = super::page::escaped(&format!("{title}. {explanation}"));
    let Some((open, rest)) = svg.split_once('>') else {
        return String::new();
    };
    let sizeless: Vec<&str> = open
        .split(' ')
        .filter(|attribute| !attribute.starts_with("width=") && !attribute.starts_with("height="))
        .collect();
    format!("{} role=\"img\" aria-label=\"{label}\">{rest}", sizeless.join(" "))
}
