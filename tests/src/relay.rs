//! A relay between one server and its database, which can be cut without a word: connections stay open and are silent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const OPEN: u8 = 0;
const CUT: u8 = 1;
const ENDED: u8 = 2;
/// Interval at which a thread that waits looks at the state.
const LOOK: Duration = Duration::from_millis(10);

/// The relay; its connections end with it.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    state: Arc<AtomicU8>,
}

impl Relay {
    /// Starts in front of a port of the loopback.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(AtomicU8::new(OPEN));
        let seen = Arc::clone(&state);
        std::thread::spawn(move || {
            while seen.load(Ordering::Acquire) != ENDED {
                match listener.accept() {
                    Ok((near, _)) => connect(near, target, &seen),
                    Err(_) => std::thread::sleep(LOOK),
                }
            }
        });
        Self { port, state }
    }

    /// Its own port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing passes, in either direction.
    pub fn cut(&self) {
        self.state.store(CUT, Ordering::Release);
    }

    /// Lets everything pass again, also what waited.
    pub fn mend(&self) {
        self.state.store(OPEN, Ordering::Release);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.store(ENDED, Ordering::Release);
    }
}

fn connect(near: TcpStream, target: u16, state: &Arc<AtomicU8>) {
    // A target that is down: the caller sees its connection end.
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { return };
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let state = Arc::clone(state);
        std::thread::spawn(move || pass(from, to, &state));
    }
}

/// Copies bytes until either end closes.
fn pass(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    let ready = from.set_nonblocking(false).and_then(|()| from.set_read_timeout(Some(LOOK)));
    let mut bytes = vec![0; 64 * 1024];
    while ready.is_ok() && state.load(Ordering::Acquire) != ENDED {
        let count = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        while state.load(Ordering::Acquire) == CUT {
            std::thread::sleep(LOOK);
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // The end of a connection is silent as well while the relay is cut.
    while state.load(Ordering::Acquire) == CUT {
        std::thread::sleep(LOOK);
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_passes_a_relay_that_is_cut_until_it_is_mended() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let relay = Relay::to(listener.local_addr().expect("it is bound").port());
        let mut near = TcpStream::connect(("127.0.0.1", relay.port())).expect("the relay listens");
        let (mut far, _) = listener.accept().expect("the relay connects");
        let mut byte = [0];
        near.write_all(b"a").expect("it is open");
        far.read_exact(&mut byte).expect("it passes");

        relay.cut();
        near.write_all(b"b").expect("it is open");
        far.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        assert!(far.read(&mut byte).is_err(), "nothing passes");
        relay.mend();
        far.set_read_timeout(None).expect("no timeout");
        far.read_exact(&mut byte).expect("it passes");
        assert_eq!(&byte, b"b");
    }
}
