//! The live view in the terminal.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use crossterm::style::Stylize;
use crossterm::{cursor, queue, style, terminal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::output::thousands;

use super::board::{Board, NodeView, Shown, line};

/// Interval between two frames.
const PICTURE: Duration = Duration::from_millis(100);
/// Number of frames over which rates are computed.
const RATE_PICTURES: usize = 10;
/// Number of timeline events shown.
const EVENTS: usize = 14;

/// The view, while it is shown.
pub(super) struct Screen {
    stop: oneshot::Sender<()>,
    drawing: JoinHandle<()>,
}

/// Takes the terminal until [`Screen::end`].
pub(super) fn show(board: Arc<Board>) -> Screen {
    let (stop, stopped) = oneshot::channel();
    Screen { stop, drawing: tokio::spawn(draw_until(board, stopped)) }
}

impl Screen {
    /// Gives the terminal back.
    pub(super) async fn end(self) {
        // The task gives the terminal back when it ends, for whatever reason.
        let _ = self.stop.send(());
        let _ = self.drawing.await;
    }
}

/// The terminal's alternate screen; dropping it restores the main screen.
struct Page;

impl Page {
    fn open() -> Self {
        // A terminal that does not support it shows the view anyway.
        let _ = crossterm::execute!(std::io::stdout(), terminal::EnterAlternateScreen, cursor::Hide);
        Self
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = crossterm::execute!(std::io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
    }
}

async fn draw_until(board: Arc<Board>, mut stopped: oneshot::Receiver<()>) {
    let _page = Page::open();
    let mut ticks = tokio::time::interval(PICTURE);
    let mut counts: Vec<(Duration, u64, u64)> = Vec::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut stopped => return,
        }
        let lines = {
            let shown = board.look();
            let age = board.age();
            counts.push((age, shown.confirmed, shown.received));
            if counts.len() > RATE_PICTURES {
                counts.remove(0);
            }
            picture(&shown, age, rates(&counts))
        };
        if draw(&lines).is_err() {
            return;
        }
    }
}

/// Messages confirmed and received per second, over the last frames.
fn rates(counts: &[(Duration, u64, u64)]) -> (u64, u64) {
    let (Some(first), Some(last)) = (counts.first(), counts.last()) else { return (0, 0) };
    let ms = u64::try_from((last.0 - first.0).as_millis()).unwrap_or(u64::MAX);
    let rate = |from: u64, to: u64| ((to - from) * 1_000).checked_div(ms).unwrap_or(0);
    (rate(first.1, last.1), rate(first.2, last.2))
}

/// The view, line by line.
fn picture(shown: &Shown, age: Duration, (confirmed_rate, received_rate): (u64, u64)) -> Vec<String> {
    let mut lines = vec![format!("{}  {:.1} s", "baton demo".bold(), age.as_secs_f64()), String::new()];
    lines.extend(shown.nodes.iter().map(|(name, node)| node_line(name, node)));
    lines.push(String::new());
    lines.push(format!("  sent       {:>9}", thousands(shown.sent)));
    lines.push(format!("  confirmed  {:>9}  {:>6}/s", thousands(shown.confirmed), thousands(confirmed_rate)));
    lines.push(format!("  received   {:>9}  {:>6}/s", thousands(shown.received), thousands(received_rate)));
    lines.push(String::new());
    let hidden = shown.timeline.len().saturating_sub(EVENTS);
    lines.extend(shown.timeline[hidden..].iter().map(|(age, what)| line(*age, what).trim_end().to_owned()));
    lines
}

fn node_line(name: &str, node: &NodeView) -> String {
    let (up, engine) = match (node.runs, node.up) {
        (false, _) => ("killed".red().to_string(), String::new()),
        (true, false) => ("away  ".yellow().to_string(), String::new()),
        (true, true) if node.engine == "started" => ("up    ".green().to_string(), "ENGINE".bold().green().to_string()),
        (true, true) => ("up    ".green().to_string(), node.engine.clone()),
    };
    format!("  {name:<10} {up}  {engine}")
}

fn draw(lines: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let height = terminal::size().map_or(usize::MAX, |(_, rows)| usize::from(rows));
    queue!(out, cursor::MoveTo(0, 0))?;
    for line in lines.iter().take(height.saturating_sub(1)) {
        queue!(out, style::Print(line), terminal::Clear(terminal::ClearType::UntilNewLine), style::Print("\r\n"))?;
    }
    queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::board::Telling;

    #[test]
    fn the_picture_shows_where_the_engine_is_and_what_happened() {
        let board = Board::new(Telling::Screen);
        board.runs("server1", false);
        board.runs("server2", true);
        {
            let mut shown = board.look();
            let node = shown.nodes.get_mut("server2").unwrap();
            (node.up, node.engine) = (true, "started".to_owned());
        }
        for event in 0..20 {
            board.tell(format!("event {event}"));
        }
        let text = picture(&board.look(), Duration::from_secs(3), (1_000, 900)).join("\n");
        assert!(text.contains("server1") && text.contains("killed"), "{text}");
        assert!(text.lines().any(|line| line.contains("server2") && line.contains("ENGINE")), "{text}");
        assert!(text.contains("1,000/s") && text.contains("event 19") && !text.contains("event 5\n"), "{text}");
    }

    #[test]
    fn rates_are_a_second() {
        let at = |ms, confirmed, received| (Duration::from_millis(ms), confirmed, received);
        assert_eq!(rates(&[at(0, 0, 0), at(500, 250, 100)]), (500, 200));
        assert_eq!(rates(&[at(0, 5, 5)]), (0, 0));
        assert_eq!(rates(&[]), (0, 0));
    }
}
