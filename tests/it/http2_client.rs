//! An HTTP/2 client for tests that control frames and windows.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response};

use crate::harness::{READ_WRITE, TestGate, basic};
use crate::scripted_upstream::soon;

/// Begins a request with a valid credential. `end` means that it has no body.
pub async fn begin(
    sender: &SendRequest<Bytes>,
    method: &str,
    target: &str,
    end: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::builder()
        .method(method)
        .uri(format!("https://registry.test{target}"))
        .header("authorization", basic(READ_WRITE))
        .body(())
        .unwrap();
    let mut sender = soon(sender.clone().ready()).await.unwrap();
    sender.send_request(request, end).unwrap()
}

/// Sends a request without a body and returns the head of the answer.
pub async fn ask(sender: &SendRequest<Bytes>, method: &str, target: &str) -> Response<RecvStream> {
    let (answer, _) = begin(sender, method, target, true).await;
    soon(answer).await.unwrap()
}

/// Reads a whole body. Returns the error if the body breaks off.
pub async fn body(response: Response<RecvStream>) -> Result<Vec<u8>, h2::Error> {
    let mut stream = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = soon(stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Sends all data, and waits for the windows to open.
pub async fn send(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = soon(std::future::poll_fn(|cx| stream.poll_capacity(cx))).await;
        let room = room.ok_or(h2::Error::from(h2::Reason::STREAM_CLOSED))??;
        let piece = data.split_to(room.min(data.len()));
        let last = end && data.is_empty();
        stream.send_data(piece, last)?;
    }
    Ok(())
}

/// Connects with windows of these sizes. They grow only if the test releases capacity. The returned
/// task ends with the connection.
pub async fn connect_with_windows(
    gate: &TestGate,
    stream: u32,
    connection: u32,
) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let socket = gate.connect_tls(&[b"h2"]).await;
    let (sender, driver) = h2::client::Builder::new()
        .initial_window_size(stream)
        .initial_connection_window_size(connection)
        .handshake(socket)
        .await
        .unwrap();
    let driver = tokio::spawn(driver);
    (sender.ready().await.unwrap(), driver)
}
