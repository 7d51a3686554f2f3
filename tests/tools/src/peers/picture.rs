//! The figures as two SVGs: bars of each workload's throughput, and the latencies of one message at a time.

use std::fmt::Write as _;

use super::System;
use super::report::Report;
use super::workload::{Measure, ROWS, Workload};
use crate::bound::figure;
use crate::report_file::svg;

const LEFT: f64 = 90.0;
const WIDTH: f64 = 560.0;
/// To the right of a bar: its figure.
const RIGHT: f64 = 170.0;
const TOP: f64 = 34.0;
const BAR: f64 = 15.0;
/// A workload's title, and the text below its bars.
const TITLE: f64 = 20.0;
const GAP: f64 = 14.0;

fn colour(system: System) -> &'static str {
    match system {
        System::Baton => "#27a",
        System::Nats => "#2a7",
        System::RabbitMq => "#d83",
    }
}

/// Draws a bar for each system under each load; a load's longest bar takes the whole width.
#[must_use]
pub fn throughput(report: &Report) -> String {
    let mut body = "<text x=\"8\" y=\"18\">More is better; the median of the rounds, a line from the least to the \
                    most. Each group has a scale of its own.</text>\n"
        .to_owned();
    let mut y = TOP;
    for (workload, measure) in ROWS.into_iter().filter(|(_, measure)| !matches!(measure, Measure::P50 | Measure::P99)) {
        let spreads = System::ALL.map(|system| (system, report.spread(system, workload, measure)));
        let most =
            spreads.iter().filter_map(|(_, spread)| Some(spread.as_ref()?.max)).fold(f64::MIN_POSITIVE, f64::max);
        let x = |value: f64| LEFT + WIDTH * value / most;
        // Writing to a String does not fail.
        let title = format!("{}, {}", workload.name(), measure.unit());
        let _ = writeln!(body, "<text x=\"8\" y=\"{:.1}\" font-weight=\"bold\">{title}</text>", y + 13.0);
        y += TITLE;
        for (system, spread) in spreads {
            let Some(spread) = spread else { continue };
            let (middle, length) = (y + BAR / 2.0, x(spread.median) - LEFT);
            let _ = writeln!(
                body,
                "<text x=\"8\" y=\"{:.1}\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"{}\"/>\n\
                 <line x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\" stroke=\"black\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                middle + 4.0,
                system.name(),
                y + 1.0,
                BAR - 2.0,
                colour(system),
                x(spread.min),
                x(spread.max),
                x(spread.max) + 6.0,
                middle + 4.0,
                figure(spread.median)
            );
            y += BAR;
        }
        y += GAP;
    }
    svg(LEFT + WIDTH + RIGHT, y, 12, &body)
}

/// A row of the latencies.
struct Row {
    name: &'static str,
    colour: &'static str,
    p50: f64,
    p99: f64,
}

/// Draws p50 and p99 of a message at a time on a logarithmic axis, with the floor.
#[must_use]
pub fn latency(report: &Report) -> String {
    let rows = latencies(report);
    let of_all =
        |start: f64, pick: fn(f64, f64) -> f64| rows.iter().flat_map(|row| [row.p50, row.p99]).fold(start, pick);
    // Whole decades.
    let (from, to) = (of_all(1.0, f64::min).max(1e-3).log10().floor(), of_all(10.0, f64::max).log10().ceil());
    let x = |ms: f64| LEFT + WIDTH * (ms.max(1e-3).log10() - from) / (to - from);
    let height = TOP + 24.0 + 34.0 * rows.len() as f64;
    let mut body =
        "<text x=\"8\" y=\"18\">From the sending of a message to its confirm, one at a time: p50 (dot) to p99 \
                    (ring), in ms</text>\n"
            .to_owned();
    for decade in (0..).map(|step| from + f64::from(step)).take_while(|decade| *decade <= to) {
        let ms = 10_f64.powf(decade);
        let at = x(ms);
        let _ = writeln!(
            body,
            "<line x1=\"{at:.1}\" y1=\"{0}\" x2=\"{at:.1}\" y2=\"{height}\" stroke=\"#ddd\"/>\n\
             <text x=\"{at:.1}\" y=\"{TOP}\" text-anchor=\"middle\">{ms}</text>",
            TOP + 6.0
        );
    }
    for (number, Row { name, colour, p50, p99 }) in rows.iter().enumerate() {
        let (middle, p50_at, p99_at) = (TOP + 30.0 + 34.0 * number as f64, x(*p50), x(*p99));
        let _ = writeln!(
            body,
            "<text x=\"8\" y=\"{0:.1}\">{name}</text>\n\
             <line x1=\"{p50_at:.1}\" y1=\"{middle:.1}\" x2=\"{p99_at:.1}\" y2=\"{middle:.1}\" stroke=\"{colour}\" \
             stroke-width=\"3\"/>\n\
             <circle cx=\"{p50_at:.1}\" cy=\"{middle:.1}\" r=\"5\" fill=\"{colour}\"/>\n\
             <circle cx=\"{p99_at:.1}\" cy=\"{middle:.1}\" r=\"5\" fill=\"white\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{1:.1}\" y=\"{0:.1}\">{2} / {3}</text>",
            middle + 4.0,
            p99_at + 10.0,
            figure(*p50),
            figure(*p99)
        );
    }
    svg(LEFT + WIDTH + RIGHT, height + 8.0, 12, &body)
}

fn latencies(report: &Report) -> Vec<Row> {
    let of = |system: System| {
        let median = |measure| Some(report.spread(system, Workload::OneAtATime, measure)?.median);
        let (p50, p99) = (median(Measure::P50)?, median(Measure::P99)?);
        Some(Row { name: system.name(), colour: colour(system), p50, p99 })
    };
    let floor = report.floor(|floor| floor.confirm_p50_ms).zip(report.floor(|floor| floor.confirm_p99_ms));
    let floor = floor.map(|(p50, p99)| Row { name: "floor", colour: "#888", p50: p50.median, p99: p99.median });
    System::ALL.into_iter().filter_map(of).chain(floor).collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    fn numbers(svg: &str, key: &str) -> Vec<f64> {
        let start = format!(" {key}=\"");
        let values = svg.split(&start).skip(1).filter_map(|rest| rest.split('"').next());
        values.filter_map(|value| value.parse().ok()).collect()
    }

    #[test]
    fn bars_are_as_long_as_the_figures_and_fit_in() {
        let mut report = report([(400.0, 1.0), (200.0, 2.0), (100.0, 4.0)]);
        let svg = throughput(&report);
        // The first is the background, whose width is a percentage.
        assert_eq!(numbers(&svg, "width")[1..4], [WIDTH, WIDTH / 2.0, WIDTH / 4.0]);
        // The background and seven rows of three, but for what is for NATS alone.
        assert_eq!(svg.matches("<rect").count(), 1 + 7 * 3 - 2);
        report.cells.retain(|cell| cell.system != System::Nats);
        assert!(!throughput(&report).contains(colour(System::Nats)));
    }

    #[test]
    fn latencies_lie_on_an_axis_of_whole_decades_with_the_floor() {
        let svg = latency(&report([(1.0, 2.0), (1.0, 0.5), (1.0, 80.0)]));
        assert_eq!(svg.matches("<circle").count(), 2 * 4);
        assert!(svg.contains(">floor<") && svg.contains(">2.00 / 4.00<"));
        let at = numbers(&svg, "cx");
        assert!(at.iter().all(|x| (LEFT..=LEFT + WIDTH).contains(x)), "{at:?}");
        // From 0.1 to 1000 ms: four decades.
        assert_eq!(svg.matches("stroke=\"#ddd\"").count(), 5);
        let (baton_p50, nats_p50) = (at[0], at[2]);
        assert!((baton_p50 - nats_p50 - WIDTH * 4_f64.log10() / 4.0).abs() < 0.2, "{at:?}");
    }

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        let mut report = report([(1.0, 1.0); 3]);
        report.cells.clear();
        report.floors.clear();
        assert_eq!(latency(&report).matches("<circle").count(), 0);
        assert_eq!(throughput(&report).matches("<rect").count(), 1);
    }
}
