//! The distribution as an SVG: a line of dots for each kind of move, over a logarithmic axis.

use std::fmt::Write as _;

use super::Report;
use crate::report_file::svg;

const LEFT: f64 = 230.0;
const WIDTH: f64 = 640.0;
const ROW: f64 = 38.0;
const TOP: f64 = 46.0;
/// The axis, in milliseconds.
const FROM: f64 = 1.0;
const TO: f64 = 10_000.0;

fn x(ms: f64) -> f64 {
    LEFT + WIDTH * (ms.clamp(FROM, TO) / FROM).ln() / (TO / FROM).ln()
}

/// Draws the results.
#[must_use]
pub fn picture(report: &Report) -> String {
    let rows = report.rows();
    let (width, height) = (LEFT + WIDTH + 30.0, TOP + ROW * rows.len() as f64 + 16.0);
    let mut body =
        "<text x=\"8\" y=\"18\">Longest time without a confirm, each run a dot, the median a bar</text>\n".to_owned();
    // Writing to a String does not fail.
    for ms in [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000] {
        let at = x(f64::from(ms));
        let label = if ms < 1_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) };
        let _ = writeln!(body, "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{height}\" stroke=\"#ddd\"/>");
        let _ = writeln!(body, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", TOP - 6.0);
    }
    for (row, (what, figures)) in rows.iter().enumerate() {
        let middle = TOP + ROW * (row as f64 + 0.5);
        let _ = writeln!(body, "<text x=\"8\" y=\"{:.1}\">{what}</text>", middle + 4.0);
        for (run, ms) in figures.all_ms.iter().enumerate() {
            // Side by side, so that equal times are seen.
            let spread = (run % 5) as f64 * 4.0 - 8.0;
            let _ = writeln!(
                body,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"#27a\" fill-opacity=\"0.5\"/>",
                x(*ms),
                middle + spread
            );
        }
        let median = x(figures.median_ms);
        let _ = writeln!(
            body,
            "<line x1=\"{median:.1}\" y1=\"{:.1}\" x2=\"{median:.1}\" y2=\"{:.1}\" stroke=\"#d33\" stroke-width=\"2\"/>",
            middle - 14.0,
            middle + 14.0
        );
    }
    svg(width, height, 12, &body)
}

#[cfg(test)]
mod tests {
    use super::super::Figures;
    use super::*;

    #[test]
    fn every_run_is_a_dot_and_the_axis_grows() {
        assert!(x(1.0) < x(10.0) && (x(10.0) - x(1.0) - (x(100.0) - x(10.0))).abs() < 1e-6);
        assert!(x(0.0).is_finite() && x(1e9) <= LEFT + WIDTH);
        let figures = |values: &[f64]| Figures::new(values.to_vec());
        let report = Report {
            machine: String::new(),
            program: String::new(),
            undisturbed: figures(&[3.0]),
            kill: figures(&[30.0, 40.0, 50.0]),
            planned_move: figures(&[20.0]),
            host_loss: Some(figures(&[700.0, 800.0])),
            backlog: None,
            idle: Vec::new(),
        };
        let svg = picture(&report);
        assert_eq!(svg.matches("<circle").count(), 7);
        assert!(svg.contains("kill -9 of the host") && svg.contains("host lost to the network"));
    }
}
