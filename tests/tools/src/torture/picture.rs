//! The timeline of a run as an SVG: a row for each member with bars where the engine was, faults as shaded spans, and
//! a row that marks when consumers got nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::history::{FaultRecord, History};
use super::lab::members;
use crate::report_file::svg;

const LEFT: u64 = 90;
const ROW: u64 = 34;
const TOP: u64 = 60;
/// Pixels per second.
const SECOND: u64 = 24;
/// Consumers that got nothing for longer than this are marked, in milliseconds.
const SILENCE_MS: u64 = 300;

/// Draws a history.
#[must_use]
pub fn picture(history: &History) -> String {
    let rows = members();
    let end_ms = history.status.iter().map(|it| it.at_ms).chain(history.faults.iter().map(|it| it.ended_ms)).max();
    let end_ms = end_ms.unwrap_or(0) + 1_000;
    let (width, height) = (x(end_ms) + 20, y(rows.len() + 1) + 20);
    let mut body = String::new();
    // Writing to a String does not fail.
    for second in (0..=end_ms / 1000).step_by(5) {
        let at = x(second * 1000);
        let _ = writeln!(body, "<line x1=\"{at}\" y1=\"{TOP}\" x2=\"{at}\" y2=\"{height}\" stroke=\"#ddd\"/>");
        let _ = writeln!(body, "<text x=\"{at}\" y=\"{}\">{second} s</text>", TOP - 4);
    }
    for (row, name) in rows.iter().map(String::as_str).chain(["silence"]).enumerate() {
        let _ = writeln!(body, "<text x=\"4\" y=\"{}\">{name}</text>", y(row) + 20);
        let _ = writeln!(body, "<line x1=\"0\" y1=\"{0}\" x2=\"{width}\" y2=\"{0}\" stroke=\"#eee\"/>", y(row));
    }
    for (number, done) in history.faults.iter().enumerate() {
        fault(&mut body, number, done, &rows);
    }
    for (name, from, to, what) in engines(history) {
        let Some(row) = rows.iter().position(|row| *row == name) else { continue };
        rect(&mut body, (from, to), (y(row) + 8, 16), "#2a7", &what);
    }
    for (from, to) in history.silences(SILENCE_MS) {
        rect(&mut body, (from, to), (y(rows.len()) + 8, 16), "#d33", &format!("nothing for {} ms", to - from));
    }
    svg(width as f64, height as f64, 11, &body)
}

/// The engine's hosts: by the traces from the first to the last release of each epoch; without them, by the status.
fn engines(history: &History) -> Vec<(String, u64, u64, String)> {
    let mut spans: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    let mut add = |epoch: String, server: &str, at_ms: u64| {
        let span = spans.entry((epoch, server.to_owned())).or_insert((at_ms, at_ms));
        *span = (span.0.min(at_ms), span.1.max(at_ms));
    };
    for release in &history.trace.releases {
        add(release.epoch.to_string(), &release.server, history.ms_of_boot(release.boot_ns));
    }
    if history.trace.releases.is_empty() {
        for sample in &history.status {
            let Ok(status) = &sample.answer else { continue };
            if let (Some(host), Some(epoch)) = (status.host(), &status.engine.epoch) {
                add(epoch.clone(), host, sample.at_ms);
            }
        }
    }
    let span = |((epoch, server), (from, to))| (server, from, to, format!("epoch {epoch}"));
    spans.into_iter().map(span).collect()
}

fn fault(svg: &mut String, number: usize, done: &FaultRecord, rows: &[String]) {
    let (kind, span) = (done.fault.kind.name(), (done.began_ms, done.ended_ms));
    let title = format!("{} of {}: {}", kind, done.victims.join(", "), done.notes.join("; "));
    let shade = |svg: &mut String, row: usize| rect(svg, span, (y(row), ROW), "#f90\" fill-opacity=\"0.35", &title);
    for victim in &done.victims {
        if let Some(row) = rows.iter().position(|row| row == victim) {
            shade(svg, row);
        }
    }
    if done.victims.is_empty() {
        (0..rows.len()).for_each(|row| rect(svg, span, (y(row), ROW), "#69c\" fill-opacity=\"0.2", &title));
    }
    // In three lines by turns, so that neighbours do not cover each other.
    let line = 12 + 14 * (number as u64 % 3);
    let _ = writeln!(svg, "<text x=\"{}\" y=\"{line}\" font-size=\"10\">{kind}</text>", x(done.began_ms));
}

fn rect(svg: &mut String, (from, to): (u64, u64), (top, height): (u64, u64), fill: &str, title: &str) {
    let width = (x(to) - x(from)).max(2);
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<rect x=\"{}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"><title>{title}</title></rect>",
        x(from)
    );
}

fn x(ms: u64) -> u64 {
    LEFT + ms * SECOND / 1000
}

fn y(row: usize) -> u64 {
    TOP + ROW * row as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::kind::Kind;
    use crate::torture::schedule::{Fault, Victims};
    use crate::torture::trace::{Epoch, Release};

    #[test]
    fn engines_faults_and_their_reasons_are_in_the_picture() {
        let mut history = History::default();
        let fault = Fault { kind: Kind::KillHost, victims: Victims::Host, after_ms: 0, length_ms: 9, seed: 0 };
        let notes = vec!["a < b".to_owned()];
        let done = FaultRecord {
            fault,
            victims: vec!["server1".to_owned()],
            began_ms: 1_000,
            ended_ms: 2_000,
            notes,
            lost_bytes: 0,
        };
        history.faults.push(done);
        let (server, what) = ("server2".to_owned(), "reply".to_owned());
        history.trace.releases.push(Release { server, boot_ns: 3_000_000_000, epoch: Epoch(0, 17), what });
        let svg = picture(&history);
        for part in ["kill-host of server1: a &lt; b", "epoch 0.17", "silence", "witness2"] {
            assert!(svg.contains(part), "{part} is missing in {svg}");
        }
    }
}
