//! SIGINT and SIGTERM: a running measurement gives up and drops its guards, so that no server is left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Interval of checks for a stop.
const PAUSE: Duration = Duration::from_millis(100);

static STOPPED: AtomicBool = AtomicBool::new(false);

/// From now on these signals are heard, until the process ends; the second one ends it at once.
///
/// # Errors
/// If the system refuses.
pub(super) fn listen() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let both = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || runtime.block_on(hear(both)));
    Ok(())
}

async fn hear((mut interrupt, mut terminate): (Signal, Signal)) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if STOPPED.swap(true, Ordering::Relaxed) {
            std::process::exit(1);
        }
    }
}

/// True if to give up.
pub(super) fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// The reason to give then.
pub(super) const WHY: &str = "stopped by a signal";

/// Waits until it is time to give up.
pub(super) async fn until_stopped() {
    while !stopped() {
        tokio::time::sleep(PAUSE).await;
    }
}
