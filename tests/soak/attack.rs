//! A hostile client: sends the attacks of the classes and checks the answers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::classes::CLASSES;
use crate::client::PATIENCE;
use crate::message::{Attack, Break, GoesOn, Message, kind};
use crate::oracle::Allowed;
use crate::world::World;

/// The connection preface (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const PING: u8 = 6;
const ACK: u8 = 1;

/// The payload of the PING behind all other frames. Its acknowledgement shows that the gate has
/// read them.
const LAST_PING: &[u8] = b"the last";

/// The largest number of bytes of an answer that are read.
const LONGEST: usize = 256 * 1024;

/// Runs one hostile client. It keeps one connection of each protocol for as long as the gate does.
pub async fn attacker(world: Arc<World>, number: usize, end: Instant) {
    let mut client = Attacker { world: &world, http1: None, http2: None };
    // Each class occurs according to its weight, and each client starts at another turn.
    let schedule: Vec<usize> = CLASSES
        .iter()
        .enumerate()
        .flat_map(|(at, class)| std::iter::repeat_n(at, class.weight))
        .collect();
    let mut turn = number as u64 * 7919;
    while Instant::now() < end {
        turn += 1;
        let at = schedule.get(fastrand::usize(..schedule.len())).copied().unwrap_or_default();
        let Some((class, attack)) = CLASSES.get(at).and_then(|class| Some((class, class.attack?)))
        else {
            continue;
        };
        let id = format!("x{at}-{number}-{turn}");
        let attack = attack(&world.arsenal, turn, &id);
        let client_address = address();
        if let Some((goes_on, kind)) = kind(&attack) {
            let GoesOn { method, target } = goes_on.clone();
            world
                .oracle
                .allow(&id, Allowed { method, target, client: client_address.clone(), kind });
        }
        let requests = if let Attack::Resets(_, requests) = &attack { *requests as u64 } else { 1 };
        let may_go_on = kind(&attack).is_some();
        let what = describe(class.number, &attack);
        match timeout(PATIENCE, client.attack(attack, &id, &client_address)).await {
            Ok(Outcome::Refused) => {}
            Ok(Outcome::Answered(_)) if may_go_on => {}
            Ok(Outcome::Answered(status)) => world.tally.not_refused(format!("{what}: {status}")),
            Err(_) => {
                (client.http1, client.http2) = (None, None);
                world.tally.left_open(what);
            }
        }
        world.tally.hostile(at, requests);
    }
}

/// The outcome of an attack.
enum Outcome {
    /// A 4xx, 308 or 503, or an end of the stream or the connection.
    Refused,
    /// Any other status.
    Answered(u16),
}

impl Outcome {
    fn of(status: u16) -> Self {
        // 308 sends the client to the one right spelling, and forwards nothing.
        if (400..500).contains(&status) || matches!(status, 308 | 503) {
            Self::Refused
        } else {
            Self::Answered(status)
        }
    }
}

struct Attacker<'a> {
    world: &'a World,
    http1: Option<TlsStream<TcpStream>>,
    http2: Option<SendRequest<Bytes>>,
}

impl Attacker<'_> {
    async fn attack(&mut self, attack: Attack, id: &str, client: &str) -> Outcome {
        let done = match attack {
            Attack::Request(mut message, _) => {
                sign(&mut message, id, client);
                if fastrand::bool() {
                    self.over_http2(&message).await
                } else {
                    self.over_http1(&message).await
                }
            }
            Attack::Bytes(bytes, _) => {
                let text = String::from_utf8_lossy(&bytes);
                // Bytes with a placeholder for the client's address receive it, as from a trusted
                // proxy.
                let bytes = match text.contains("@client@") {
                    true => text.replace("@client@", client).into_bytes(),
                    false => bytes,
                };
                self.bytes(&bytes).await
            }
            Attack::Untrusted(mut message) => {
                sign(&mut message, id, "10.1.0.1");
                self.untrusted(&message).await
            }
            Attack::Frames(frames) => self.frames(&frames).await,
            Attack::Resets(mut message, requests) => {
                sign(&mut message, id, client);
                self.resets(&message, requests).await
            }
            Attack::BrokenOff(mut message, _, how) => {
                sign(&mut message, id, client);
                self.broken_off(&message, how).await
            }
        };
        done.unwrap_or(Outcome::Refused)
    }

    /// Sends a request on the existing connection, or on a new one if that has ended.
    async fn over_http1(&mut self, message: &Message) -> anyhow::Result<Outcome> {
        let bytes = render(message);
        if let Some(stream) = self.http1.take()
            && let Ok(answered) = self.exchange(stream, &bytes).await
        {
            return Ok(answered);
        }
        let stream = self.world.door.http1(self.world.door.tcp().await?).await?;
        Ok(self.exchange(stream, &bytes).await?)
    }

    async fn exchange(
        &mut self,
        mut stream: TlsStream<TcpStream>,
        bytes: &[u8],
    ) -> io::Result<Outcome> {
        // A gate that has already refused the request need not read all of it.
        let _ = stream.write_all(bytes).await;
        let answer = read_answer(&mut stream).await?;
        if answer.keep {
            self.http1 = Some(stream);
        }
        Ok(Outcome::of(answer.status))
    }

    async fn untrusted(&self, message: &Message) -> anyhow::Result<Outcome> {
        let tcp = self.world.door.tcp_from(Ipv4Addr::new(127, 0, 1, fastrand::u8(1..=200))).await?;
        let mut stream = self.world.door.http1(tcp).await?;
        stream.write_all(&render(message)).await?;
        Ok(Outcome::of(read_answer(&mut stream).await?.status))
    }

    /// Sends bytes and judges all answers, because the gate may read several requests in the bytes.
    async fn bytes(&self, bytes: &[u8]) -> anyhow::Result<Outcome> {
        let mut stream = self.world.door.http1(self.world.door.tcp().await?).await?;
        let _ = stream.write_all(bytes).await;
        let answers = read_until(&mut stream, None).await;
        let refused = |status: &u16| matches!(Outcome::of(*status), Outcome::Refused);
        Ok(statuses(&answers)
            .into_iter()
            .find(|status| !refused(status))
            .map_or(Outcome::Refused, Outcome::Answered))
    }

    async fn over_http2(&mut self, message: &Message) -> anyhow::Result<Outcome> {
        let Ok(request) = http2_request(message) else { return self.over_http1(message).await };
        let mut sender = self.sender().await?;
        let (response, mut body) = sender.send_request(request, message.body.is_empty())?;
        if !message.body.is_empty() {
            // If the gate has reset the stream already, its answer still counts.
            let _ = body.send_data(message.body.clone().into(), true);
        }
        let response = response.await;
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                if error.is_go_away() || error.is_io() {
                    self.http2 = None;
                }
                return Ok(Outcome::Refused);
            }
        };
        let (head, mut body) = response.into_parts();
        while let Some(Ok(data)) = body.data().await {
            // This fails only if the stream has ended.
            let _ = body.flow_control().release_capacity(data.len());
        }
        Ok(Outcome::of(head.status.as_u16()))
    }

    async fn sender(&mut self) -> anyhow::Result<SendRequest<Bytes>> {
        if let Some(sender) = self.http2.take()
            && let Ok(sender) = sender.ready().await
        {
            self.http2 = Some(sender.clone());
            return Ok(sender);
        }
        let sender = self.new_http2().await?;
        self.http2 = Some(sender.clone());
        Ok(sender)
    }

    async fn new_http2(&self) -> anyhow::Result<SendRequest<Bytes>> {
        let stream = self.world.door.http2(self.world.door.tcp().await?).await?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(sender.ready().await?)
    }

    /// Sends frames that no library would send. Only the end counts: the answers of the gate are
    /// frames without a status.
    async fn frames(&self, frames: &[u8]) -> anyhow::Result<Outcome> {
        let mut stream = self.world.door.http2(self.world.door.tcp().await?).await?;
        let opening = [PREFACE, &frame(4, 0, 0, &[])].concat();
        stream.write_all(&opening).await?;
        let _ = stream.write_all(&[frames, &frame(PING, 0, 0, LAST_PING)].concat()).await;
        read_until(&mut stream, Some(&frame(PING, ACK, 0, LAST_PING))).await;
        Ok(Outcome::Refused)
    }

    async fn resets(&self, message: &Message, requests: usize) -> anyhow::Result<Outcome> {
        let mut sender = self.new_http2().await?;
        for _ in 0..requests {
            sender = sender.ready().await?;
            let (_, mut body) = sender.send_request(http2_request(message)?, false)?;
            body.send_reset(h2::Reason::CANCEL);
        }
        Ok(Outcome::Refused)
    }

    async fn broken_off(&self, message: &Message, how: Break) -> anyhow::Result<Outcome> {
        let mut sender = self.new_http2().await?;
        let mut request = http2_request(message)?;
        request.headers_mut().insert("content-length", (message.body.len() + 1000).into());
        let (answer, mut body) = sender.send_request(request, false)?;
        body.send_data(message.body.clone().into(), false)?;
        match how {
            Break::Reset(reason) => {
                // Lets a part of the body be forwarded first.
                tokio::task::yield_now().await;
                body.send_reset(reason);
            }
            Break::Leave => {}
        }
        drop(answer);
        Ok(Outcome::Refused)
    }
}

/// Adds the request id and the client's address, as a proxy would.
fn sign(message: &mut Message, id: &str, client: &str) {
    message.headers.push(("X-Request-Id".to_owned(), id.to_owned()));
    let forwarded = message.headers.iter_mut().find(|(name, _)| name == "X-Forwarded-For");
    match forwarded {
        // Proxies append, so the value of the client comes first.
        Some((_, value)) => *value = format!("{value}, {client}"),
        None => message.headers.push(("X-Forwarded-For".to_owned(), client.to_owned())),
    }
}

/// Returns the address of a hostile client. Half of the attacks come from a few addresses; the
/// others come from some thousand IPv4 addresses and as many IPv6 networks.
pub fn address() -> String {
    let (high, low) = if fastrand::bool() {
        (fastrand::u8(..16), fastrand::u8(..))
    } else {
        (0, fastrand::u8(..8))
    };
    if fastrand::bool() {
        Ipv4Addr::new(203, 0, high, low).to_string()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, high.into(), low.into(), 0, 0, 0, fastrand::u16(1..))
            .to_string()
    }
}

fn render(message: &Message) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", message.method, message.target);
    for (name, value) in &message.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !message.body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", message.body.len()));
    }
    [head.as_bytes(), b"\r\n", &message.body].concat()
}

fn http2_request(message: &Message) -> Result<http::Request<()>, http::Error> {
    let uri = format!("https://localhost{}", message.target);
    let mut request = http::Request::builder().method(message.method.as_str()).uri(uri);
    for (name, value) in &message.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    request.body(())
}

/// Encodes a frame (RFC 9113, section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let mut frame: Vec<u8> = length.into_iter().skip(1).chain([kind, flags]).collect();
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// An answer that was read to its end.
struct Answer {
    status: u16,
    /// `true` if the connection can carry another request.
    keep: bool,
}

/// Reads one answer. If it has no length, its body is not read and `keep` is `false`.
async fn read_answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > LONGEST {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_lowercase();
    let status = statuses(head.as_bytes()).into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = header("content-length:").and_then(|length| length.parse::<usize>().ok());
    let keep = header("connection:") != Some("close");
    let Some(length) = length else { return Ok(Answer { status, keep: false }) };
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(Answer { status, keep: false });
        }
    }
    Ok(Answer { status, keep })
}

/// Reads until the gate closes or resets the connection, or has sent `last`.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), last: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let said = |bytes: &[u8]| last.is_some_and(|last| find(bytes, last).is_some());
    while !said(&bytes)
        && bytes.len() < LONGEST
        && matches!(stream.read_buf(&mut bytes).await, Ok(1..))
    {}
    bytes
}

/// Returns the statuses of all answers in these bytes.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    text.split("http/1.1 ").skip(1).filter_map(|answer| answer.get(..3)?.parse().ok()).collect()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn describe(class: &str, attack: &Attack) -> String {
    match attack {
        Attack::Request(message, _)
        | Attack::Untrusted(message)
        | Attack::Resets(message, _)
        | Attack::BrokenOff(message, ..) => {
            let body = message.body.len();
            format!(
                "class {class}: {} {} {:?}, {body} bytes",
                message.method, message.target, message.headers
            )
        }
        Attack::Bytes(bytes, _) => format!("class {class}: {:?}", String::from_utf8_lossy(bytes)),
        Attack::Frames(frames) => {
            format!("class {class}: frames {:?}", frames.get(..64.min(frames.len())))
        }
    }
}
