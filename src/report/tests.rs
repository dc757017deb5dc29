use super::chart::{Format, number};
use super::*;

fn report() -> Report {
    let points = (0..2_000).map(|x| Point::new(f64::from(x), f64::from(x % 7))).collect();
    let measured = (0..9)
        .map(|x| Point { x: f64::from(x), y: f64::from(x), interval: Some((f64::from(x) - 0.5, f64::from(x) + 0.5)) })
        .collect();
    let chart = |series, levels, marks| Chart {
        title: "Return & <more>".into(),
        explanation: "Higher is \"better\".".into(),
        x_label: "updates".into(),
        y_label: "return".into(),
        y_from_zero: false,
        series,
        levels,
        marks,
    };
    Report {
        title: "A <demo> & more".into(),
        lead: "What came of it".into(),
        headline: vec![Figure { label: "Return".into(), value: "5.2".into(), note: "log 2.3".into() }],
        tables: vec![super::Table {
            title: "A < B".to_owned(),
            header: vec!["name".to_owned(), "value".to_owned()],
            rows: vec![vec!["<b>".to_owned(), "1".to_owned()]],
        }],
        charts: vec![
            chart(
                vec![Series::new("policy", Tone::Teal, measured)],
                vec![Level { name: "expert's".into(), tone: Tone::Green, value: 5.18 }],
                vec![Mark { name: "SIGKILL".into(), x: 4.0 }],
            ),
            chart(vec![Series::new("threshold", Tone::Violet, points)], vec![], vec![]),
        ],
        sections: Vec::new(),
        crash: Some(CrashProof {
            kills: vec![Kill { records_read: 1_234, records_sealed: 1_000, checkpoint: "checkpoint-3".into() }],
            straight_digest: "ab12".into(),
            resumed_digest: "ab12".into(),
        }),
        reading: vec!["Read it aloud.".into()],
        summary: vec![("records".into(), "1 234".into())],
        settings: vec![("filter.kappa".into(), "0.1".into())],
        made_by: "sluicebox".into(),
    }
}

/// Names of elements in the order in which they open; panics unless all are closed in turn and quotes pair up.
fn elements(markup: &str) -> Vec<String> {
    let (mut open, mut seen): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = markup;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "stray > in {:?}", &rest[..start]);
        let end = rest[start..].find('>').expect("every tag ends") + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().expect("a name").to_owned();
        let is_void = ["meta", "!DOCTYPE"].contains(&name.as_str()) || tag.ends_with('/');
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            seen.push(name.clone());
            if !is_void {
                open.push(name);
            }
        }
    }
    assert_eq!(open, Vec::<String>::new());
    seen
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let html = report().to_html().unwrap();
    let without_names = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for loading in ["http:", "https:", "//", "url(", "@import", "src=", "href=", "<script", "<link", "<iframe"] {
        assert!(!without_names.contains(loading), "{loading}");
    }
}

#[test]
fn the_page_and_its_charts_are_well_formed() {
    let html = report().to_html().unwrap();
    let seen = elements(&html);
    // Two charts, each wide and narrow.
    assert_eq!(seen.iter().filter(|name| *name == "svg").count(), 4);
    for format in [Format::Wide, Format::Narrow] {
        let svg = report().charts[0].svg(format).unwrap().unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert!(elements(&svg).contains(&"polyline".to_owned()));
    }
}

/// In a window of 1000 pixels a sweep's thirteen columns stand beside each other; a narrower one scrolls.
#[test]
fn what_is_compared_is_set_close_and_can_be_scrolled() {
    let mut report = report();
    report.tables = vec![Table::new("Side by side", ["variant", "digest"])];
    let html = report.to_html().unwrap();
    assert!(html.contains("<div class=\"scroll\" tabindex=\"0\"><table class=\"compared\">"), "{html}");
    for rule in [".compared { width: 100%; font-size: .8rem; }", ".scroll { overflow-x: auto;"] {
        assert!(html.contains(rule), "{rule}");
    }
}

#[test]
fn nobody_can_write_markup_into_the_page() {
    let html = report().to_html().unwrap();
    assert!(html.contains("A &lt;demo&gt; &amp; more") && !html.contains("<demo>"));
    assert!(html.contains("aria-label=\"Return &amp; &lt;more&gt;. Higher is &quot;better&quot;.\""));
}

#[test]
fn every_color_of_a_chart_is_known_to_the_style_sheet() {
    let mut report = report();
    let points = vec![Point::new(0.0, 0.0), Point::new(1.0, 1.0)];
    report.charts[0].series = Tone::ALL.map(|tone| Series::new(tone.class(), tone, points.clone())).into();
    let svg = report.charts[0].svg(Format::Wide).unwrap().unwrap();
    let style = include_str!("style.css");
    for attribute in ["fill=\"#", "stroke=\"#"] {
        for (at, _) in svg.match_indices(attribute) {
            let selector = format!("svg [{}]", &svg[at..at + attribute.len() + 7]);
            assert!(style.contains(&selector), "{selector}");
        }
    }
    for tone in Tone::ALL {
        assert!(style.contains(&format!(".swatch.{} ", tone.class())));
    }
}

#[test]
fn a_chart_without_points_says_so() {
    let mut report = report();
    report.charts[0].series[0].points.clear();
    assert_eq!(report.charts[0].svg(Format::Wide).unwrap(), None);
    assert!(report.to_html().unwrap().contains("Nothing was measured."));
}

#[test]
fn values_that_cannot_be_drawn_are_counted() {
    let mut report = report();
    let points = &mut report.charts[0].series[0].points;
    points[2].y = f64::NAN;
    points[3].interval = Some((0.0, f64::INFINITY));
    assert!(report.to_html().unwrap().contains("2 values were no finite numbers"));
}

#[test]
fn one_point_and_a_flat_line_can_be_drawn() {
    let mut chart = report().charts.remove(0);
    chart.levels.clear();
    for points in [vec![Point::new(3.0, 0.0)], vec![Point::new(0.0, 1e9), Point::new(1.0, 1e9)]] {
        chart.series[0].points = points;
        assert!(chart.svg(Format::Wide).unwrap().is_some());
    }
}

#[test]
fn thinning_keeps_the_spikes() {
    let mut chart = report().charts.remove(1);
    let mut points: Vec<Point> = (0..50_000).map(|x| Point::new(f64::from(x), 1.0)).collect();
    chart.series[0].points = points.clone();
    let flat = chart.svg(Format::Wide).unwrap().unwrap();
    points[31_415].y = 2.0;
    chart.series[0].points = points;
    let spiked = chart.svg(Format::Wide).unwrap().unwrap();
    assert!(flat.len() < 40_000 && spiked.len() < 40_000, "{} {}", flat.len(), spiked.len());
    let greatest_height = |svg: &str| {
        let line = svg.lines().rfind(|line| line.contains("#7A3E9D")).expect("the line is there");
        let points = line.split("points=\"").nth(1).expect("it has points").trim_end_matches("\"/>");
        let heights = points.split_whitespace().filter_map(|point| point.split(',').nth(1));
        let heights: Vec<i32> = heights.map(|height| height.parse().expect("a number")).collect();
        (heights.iter().min().copied(), heights.iter().max().copied())
    };
    let (top, bottom) = greatest_height(&spiked);
    assert!(bottom > top.map(|top| top + 500), "the spike is higher than the rest: {top:?} {bottom:?}");
}

#[test]
fn unequal_digests_are_not_called_identical() {
    let mut report = report();
    assert!(report.to_html().unwrap().contains("Identical"));
    if let Some(crash) = &mut report.crash {
        crash.resumed_digest = "ab13".into();
    }
    let html = report.to_html().unwrap();
    assert!(!html.contains("Identical") && html.contains("must not happen"));
}

#[test]
fn numbers_are_short_and_not_wrong() {
    let cases = [
        (0.0, "0"),
        (0.05, "0.05"),
        (1.0, "1"),
        (-0.25, "-0.25"),
        (-0.000_000_000_1, "-1.0e-10"),
        (12.34, "12.3"),
        (100.0, "100"),
        (12_500.0, "12\u{202f}500"),
        (-1_234_567.0, "-1\u{202f}234\u{202f}567"),
        (3e-5, "3.0e-5"),
        (2e12, "2.0e12"),
        (999.99, "1\u{202f}000"),
    ];
    for (value, text) in cases {
        assert_eq!(number(value), text);
    }
}
