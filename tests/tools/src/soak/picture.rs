//! Resource use over time as an SVG: a panel for each measure, a line for each member, a tick for each fault.

use std::fmt::Write as _;

use super::Report;
use super::report::{Line, Panel};
use crate::report_file::svg;

const LEFT: f64 = 70.0;
const WIDTH: f64 = 780.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 46.0;
const TOP: f64 = 20.0;
const COLOURS: [&str; 5] = ["#27a", "#2a7", "#d83", "#85b", "#888"];

/// Draws it.
#[must_use]
pub fn picture(report: &Report) -> String {
    let panels = report.panels();
    let height = TOP + (PANEL + GAP) * panels.len() as f64 + 10.0;
    let end_s = report.samples.last().map_or(1, |sample| sample.at_s).max(1);
    let x = |at_s: u64| LEFT + WIDTH * at_s as f64 / end_s as f64;
    let mut body = String::new();
    // Writing to a String does not fail.
    for (number, Panel { what, unit, lines }) in panels.iter().enumerate() {
        let top = TOP + (PANEL + GAP) * number as f64 + 16.0;
        let bottom = top + PANEL;
        let most = lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value)).fold(1.0, f64::max);
        let y = |value: f64| bottom - PANEL * value / most;
        let _ = writeln!(body, "<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\">{what}</text>", top - 6.0);
        for value in [0.0, most / 2.0, most] {
            let _ = writeln!(
                body,
                "<line x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{1:.1}\" y2=\"{0:.1}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\">{value:.0} {unit}</text>",
                y(value),
                LEFT + WIDTH,
                LEFT - 4.0,
                y(value) + 4.0
            );
        }
        for fault in &report.fault_times_s {
            let at = x(*fault);
            let _ = writeln!(
                body,
                "<line x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#d33\"/>",
                bottom - 5.0
            );
        }
        for (colour, Line { member, points }) in COLOURS.iter().cycle().zip(lines) {
            let path: Vec<String> =
                points.iter().map(|(at_s, value)| format!("{:.1},{:.1}", x(*at_s), y(*value))).collect();
            let _ = writeln!(
                body,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"><title>{member}</title></polyline>",
                path.join(" ")
            );
        }
        for (at, (colour, Line { member, .. })) in COLOURS.iter().cycle().zip(lines).enumerate() {
            let _ = writeln!(
                body,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{member}</text>",
                LEFT + 150.0 + 80.0 * at as f64,
                top - 6.0
            );
        }
        for minute in (0..=end_s / 60).step_by(10) {
            let _ = writeln!(
                body,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{minute} min</text>",
                x(minute * 60),
                bottom + 14.0
            );
        }
    }
    svg(LEFT + WIDTH + 20.0, height, 11, &body)
}
