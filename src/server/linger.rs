//! The end of a connection whose client still sends.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// The largest number of bytes that are read and dropped. Closing a connection with unread bytes
/// would reset it, and the client could lose the response.
const LINGER_BYTES: usize = 1024 * 1024;

/// The longest time that the gate keeps reading.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(5);

/// Reads and drops what a client still sends after its response. Stops after 1 MiB or 5 s, or when
/// nothing comes for `pause`.
pub(super) async fn linger(mut stream: impl AsyncRead + Unpin, pause: Duration) {
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while let Ok(Ok(read @ 1..)) = timeout(pause, stream.read(&mut buffer)).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(LINGER_TIME, reading).await;
}
