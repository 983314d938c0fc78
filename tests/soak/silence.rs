//! Class 21: clients that stop at some stage and keep their connection open until the gate closes
//! it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::attack::{PREFACE, address, frame};
use crate::classes;
use crate::client::PATIENCE;
use crate::message::Credential;
use crate::oracle::{Allowed, Kind};
use crate::world::{MALLORY, World};

/// The stage at which a client falls silent.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Connected,
    InTheHandshake,
    AfterTheHandshake,
    InTheHead,
    BetweenRequests,
    InTheBody,
    InThePreface,
    AfterThePreface,
    InAHeaderBlock,
}

const STAGES: [Stage; 9] = [
    Stage::Connected,
    Stage::InTheHandshake,
    Stage::AfterTheHandshake,
    Stage::InTheHead,
    Stage::BetweenRequests,
    Stage::InTheBody,
    Stage::InThePreface,
    Stage::AfterThePreface,
    Stage::InAHeaderBlock,
];

/// Runs one silent client repeatedly.
pub async fn silent(world: Arc<World>, number: usize, end: Instant) {
    for stage in STAGES.iter().cycle().skip(number % STAGES.len()) {
        if Instant::now() >= end {
            return;
        }
        let id = format!("silent-{number}-{}", fastrand::u64(..));
        match timeout(PATIENCE, fall_silent(&world, *stage, &id)).await {
            // Any kind of end is accepted.
            Ok(Ok(()) | Err(_)) => {}
            Err(_) => world.tally.left_open(format!("silent {stage:?}")),
        }
        world.tally.hostile(classes::silence(), 1);
    }
}

async fn fall_silent(world: &World, stage: Stage, id: &str) -> io::Result<()> {
    let mut tcp = world.door.tcp().await?;
    let client = address();
    let line = format!("Host: localhost\r\nX-Forwarded-For: {client}\r\nX-Request-Id: {id}\r\n");
    match stage {
        Stage::Connected => until_closed(tcp).await,
        Stage::InTheHandshake => {
            // A handshake record that announces more bytes than follow.
            tcp.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await?;
            until_closed(tcp).await
        }
        Stage::AfterTheHandshake => until_closed(world.door.http1(tcp).await?).await,
        Stage::InTheHead => {
            let mut stream = world.door.http1(tcp).await?;
            stream.write_all(format!("GET /v2/ HTTP/1.1\r\n{line}X-Half: ").as_bytes()).await?;
            until_closed(stream).await
        }
        Stage::BetweenRequests => {
            let mut stream = world.door.http1(tcp).await?;
            stream.write_all(format!("GET /v2/ HTTP/1.1\r\n{line}\r\n").as_bytes()).await?;
            until_closed(stream).await
        }
        Stage::InTheBody => {
            let target = "/v2/mallory/app/manifests/half";
            let allowed = Allowed {
                method: "PUT".to_owned(),
                target: target.to_owned(),
                client,
                kind: Kind::BrokenOff,
            };
            world.oracle.allow(id, allowed);
            let authorization = Credential::basic(MALLORY.0, MALLORY.1).header();
            let head = format!(
                "PUT {target} HTTP/1.1\r\n{line}Authorization: {authorization}\r\n\
                 Content-Type: application/vnd.oci.image.manifest.v1+json\r\n\
                 Content-Length: 1000\r\n\r\n{{\"half\":"
            );
            let mut stream = world.door.http1(tcp).await?;
            stream.write_all(head.as_bytes()).await?;
            until_closed(stream).await
        }
        Stage::InThePreface => {
            let mut stream = world.door.http2(tcp).await?;
            stream.write_all(PREFACE.get(..10).unwrap_or_default()).await?;
            until_closed(stream).await
        }
        Stage::AfterThePreface | Stage::InAHeaderBlock => {
            let mut stream = world.door.http2(tcp).await?;
            stream.write_all(PREFACE).await?;
            stream.write_all(&frame(4, 0, 0, &[])).await?;
            if let Stage::InAHeaderBlock = stage {
                // HEADERS without END_HEADERS: `:method GET` without the rest.
                stream.write_all(&frame(1, 1, 1, &[0x82])).await?;
            }
            until_closed(stream).await
        }
    }
}

async fn until_closed(mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
