//! A bench as an SVG: latency percentiles above, rate over time below.

use std::fmt::Write as _;

use crate::output;

use super::figures::Measured;
use super::meter::Meter;

const LEFT: f64 = 80.0;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
/// Space above and between the diagrams: titles and tick labels.
const GAP: f64 = 60.0;
/// Colours of producers and consumers.
const COLOURS: [&str; 2] = ["#27a", "#d33"];

/// Draws the measurement.
pub(super) fn picture(measured: &Measured) -> String {
    let (width, height) = (LEFT + WIDTH + 40.0, 2.0 * (GAP + HEIGHT) + 40.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}{}</svg>\n",
        latency(measured),
        rate(measured)
    )
}

/// Both axes are logarithmic, so that the slowest messages have room: 90 %, 99 %, 99.9 % are at equal distances.
fn latency(measured: &Measured) -> String {
    let mut curves = vec![("from sending to confirm", curve(&measured.produced))];
    if measured.delivery {
        curves.push(("to receipt", curve(&measured.consumed)));
    }
    let points = || curves.iter().flat_map(|(_, curve)| curve);
    let orders = |value: f64| if value > 0.0 { value.log10() } else { 0.0 };
    let highest = points().map(|(_, ms)| orders(*ms).ceil()).fold(1.0, f64::max);
    let lowest = points().map(|(_, ms)| orders(*ms).floor()).fold(highest - 1.0, f64::min);
    let nines = points().map(|(nines, _)| nines.ceil()).fold(1.0, f64::max);
    let panel = Panel { top: GAP, x: (0.0, nines), y: (lowest, highest) };
    let mut svg = panel.title("Latency by percentile", curves.iter().map(|(name, _)| *name));
    for (nine, name) in (0..).zip(["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"]) {
        svg += &panel.x_tick(f64::from(nine), name);
    }
    for order in -3_i32..=6 {
        let ms = 10_f64.powi(order);
        svg +=
            &panel.y_tick(f64::from(order), &if ms < 1_000.0 { format!("{ms} ms") } else { format!("{} s", ms / 1e3) });
    }
    for ((_, curve), colour) in curves.iter().zip(COLOURS) {
        svg += &panel.line(curve.iter().map(|(nines, ms)| (*nines, orders(*ms))), colour);
    }
    svg
}

/// Each recorded latency in milliseconds, with the number of nines of its percentile.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn curve(meter: &Meter) -> Vec<(f64, f64)> {
    let steps = meter.steps();
    let total: u64 = steps.iter().map(|(_, count)| count).sum();
    let mut left = total;
    let point = |(ms, count): (f64, u64)| {
        let nines = (total as f64 / left as f64).log10();
        left -= count;
        (nines, ms)
    };
    steps.into_iter().map(point).collect()
}

fn rate(measured: &Measured) -> String {
    let rates = [("confirmed", &measured.produced), ("received", &measured.consumed)];
    let rates: Vec<_> = rates.map(|(name, meter)| (name, meter.rate().per_second(measured.elapsed))).into();
    let points = || rates.iter().flat_map(|(_, points)| points);
    let end = points().map(|(at, _)| *at).fold(f64::MIN_POSITIVE, f64::max);
    let highest = points().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let panel = Panel { top: 2.0 * GAP + HEIGHT, x: (0.0, end), y: (0.0, highest) };
    let mut svg = panel.title("Messages a second", rates.iter().map(|(name, _)| *name));
    for quarter in 0..=4 {
        let part = f64::from(quarter) / 4.0;
        svg += &panel.x_tick(end * part, &format!("{:.1} s", end * part));
        svg += &panel.y_tick(highest * part, &output::thousands(whole(highest * part)));
    }
    for ((_, points), colour) in rates.iter().zip(COLOURS) {
        svg += &panel.line(points.iter().copied(), colour);
    }
    svg
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, never negative")]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// One diagram; axis bounds are in the units of the data.
struct Panel {
    top: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Panel {
    fn x(&self, value: f64) -> f64 {
        LEFT + WIDTH * (value - self.x.0) / (self.x.1 - self.x.0)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + HEIGHT * (self.y.1 - value) / (self.y.1 - self.y.0)
    }

    fn title<'a>(&self, title: &str, lines: impl Iterator<Item = &'a str>) -> String {
        let names = lines.zip(COLOURS).fold(String::new(), |mut names, (name, colour)| {
            // Writing to a String does not fail.
            let _ = write!(names, " <tspan fill=\"{colour}\">{name}</tspan>");
            names
        });
        format!("<text x=\"{LEFT}\" y=\"{}\">{title}:{names}</text>\n", self.top - 16.0)
    }

    /// A grid line over the height of the diagram, with its label; nothing outside the axis.
    fn x_tick(&self, value: f64, name: &str) -> String {
        let (at, top, bottom) = (self.x(value), self.top, self.top + HEIGHT);
        if value > self.x.1 {
            return String::new();
        }
        format!(
            "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\n\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>\n",
            bottom + 16.0
        )
    }

    fn y_tick(&self, value: f64, name: &str) -> String {
        let (at, right) = (self.y(value), LEFT + WIDTH);
        if value < self.y.0 || value > self.y.1 {
            return String::new();
        }
        format!(
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\n",
            LEFT - 6.0,
            at + 4.0
        )
    }

    fn line(&self, points: impl Iterator<Item = (f64, f64)>, colour: &str) -> String {
        let points: Vec<String> = points.map(|(x, y)| format!("{:.1},{:.1}", self.x(x), self.y(y))).collect();
        format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n", points.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use baton_domain::clock::BootTime;

    use super::*;

    fn measured(latencies_ms: &[u64], delivery: bool) -> Measured {
        let at = |ms| BootTime(1_000_000_000) + Duration::from_millis(ms);
        let mut meter = Meter::new(at(0));
        for ms in latencies_ms {
            meter.latency(at(0), at(*ms));
            meter.count(1, at(*ms));
        }
        let (elapsed, silence) = (Duration::from_secs(1), Duration::ZERO);
        Measured { produced: meter.clone(), consumed: meter, delivery, elapsed, silence }
    }

    #[test]
    fn the_curve_rises_with_every_nine() {
        let curve = curve(&measured(&[1; 90], false).produced);
        assert_eq!(curve.len(), 1);
        let mut latencies = vec![1; 90];
        latencies.extend([10; 9]);
        latencies.push(100);
        let nines: Vec<f64> =
            super::curve(&measured(&latencies, false).produced).into_iter().map(|(at, _)| at).collect();
        assert_eq!(nines.len(), 3);
        for (found, expected) in nines.iter().zip([0.0, 1.0, 2.0]) {
            assert!((found - expected).abs() < 1e-9, "{nines:?}");
        }
    }

    #[test]
    fn everything_lies_within_the_picture() {
        for (latencies, delivery, lines) in [(&[1, 5, 700][..], true, 4), (&[3; 20], false, 3), (&[], false, 3)] {
            let svg = picture(&measured(latencies, delivery));
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            assert_eq!(svg.matches("<polyline").count(), lines);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let points =
                svg.split("points=\"").skip(1).flat_map(|rest| rest.split('"').next()).flat_map(str::split_whitespace);
            for point in points {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=LEFT + WIDTH).contains(&x) && (GAP..=2.0 * (GAP + HEIGHT)).contains(&y), "{point}");
            }
        }
    }
}
