//! Relays between one gate and Redis: one that a test can cut, and one that is slow.

use std::sync::Arc;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// A relay to a Redis on this machine. It ends when it is dropped.
pub(super) struct Relay {
    /// The port of the relay.
    pub(super) port: u16,
    is_cut: Arc<watch::Sender<bool>>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub(super) async fn to(redis: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_cut = Arc::new(watch::Sender::new(false));
        let told = is_cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut gate, _)) = listener.accept().await {
                let mut told = told.subscribe();
                tokio::spawn(async move {
                    if *told.borrow() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", redis)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut gate, &mut server) => {}
                        _ = told.wait_for(|is_cut| *is_cut) => {}
                    }
                });
            }
        });
        Self { port, is_cut, task }
    }

    /// Ends all connections, and lets no new one through.
    pub(super) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Lets new connections through again.
    pub(super) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a relay to a Redis on this machine that passes on each of its answers after this time.
/// Returns its port. It ends with the test.
pub(super) async fn slow(redis: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((gate, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", redis)).await else { return };
            let (mut from_gate, mut to_gate) = gate.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { copy(&mut from_gate, &mut to_server).await });
            let (late, mut due) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                let mut buffer = vec![0; 65536];
                while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
                    let _ = late.send((Instant::now() + delay, buffer[..count].to_vec()));
                }
            });
            tokio::spawn(async move {
                while let Some((at, bytes)) = due.recv().await {
                    sleep_until(at).await;
                    if to_gate.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}
