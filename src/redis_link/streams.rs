//! Streams: lists that are read on from the last entry seen.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::time::timeout;

use super::connection::{Failure, RedisConnection};
use super::fault::RedisFault;
use super::session::Session;
use super::{RedisAway, RedisLink, connect_limit};

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// The key of the stream.
    pub stream: String,
    /// The id of the entry, such as `1526919030474-0`.
    pub id: String,
    /// The names and values of the entry, in order.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The time by which an answer may be later than that to another question, since no request waits
/// for it: it may be long, and a server with nothing to do ends a wait when it wakes, ten times a
/// second (`hz 10`).
const LATE: Duration = Duration::from_secs(1);

/// The label of the question in the log.
const OPERATION: &str = "read_streams";

impl RedisLink {
    /// Reads at most `count` entries of each stream after the given ids, and waits for `block` if
    /// there are none. `after` has pairs of a stream and an id; all streams must be in one slot of
    /// a cluster. The question has a connection of its own, so that it delays no other one.
    ///
    /// # Errors
    /// The link is down or goes down meanwhile; Redis has not answered in time, after which the
    /// link is down; or the answer is not one to this question.
    pub async fn read_streams(
        &self,
        after: &[(String, String)],
        count: usize,
        block: Duration,
    ) -> Result<Vec<StreamEntry>, RedisAway> {
        let session = self.session().ok_or(RedisAway)?;
        let mut told = self.told.subscribe();
        let answer = tokio::select! {
            answer = read(&session, after, count, block) => answer,
            _ = told.wait_for(|up| !up) => return Err(RedisAway),
        };
        let value = answer.map_err(|failure| self.failed(OPERATION, &session, failure))?;
        self.was_answered();
        entries(&value).ok_or_else(|| {
            let error = (redis::ErrorKind::UnexpectedReturnType, "not a list of streams");
            self.log_nonsense(OPERATION, &session, &RedisError::from(error));
            RedisAway
        })
    }
}

async fn read(
    session: &Arc<Session>,
    after: &[(String, String)],
    count: usize,
    block: Duration,
) -> Result<Value, Failure> {
    let key = after.first().map_or("", |(stream, _)| stream.as_str());
    let command = command(after, count, block);
    let limit = block + LATE + session.settings.timeout;
    let mut moved_already = false;
    loop {
        let connection = connection(session, key).await?;
        let Ok(answer) = timeout(limit, connection.ask(&command)).await else {
            let waited = humantime::format_duration(limit);
            let what = format!("no answer to the question `{OPERATION}` within {waited}");
            return Err(RedisFault::late(what).into());
        };
        match answer {
            Ok(value) => {
                session.put_back(connection);
                return Ok(value);
            }
            Err(error) if !moved_already && session.was_moved(key, &error, &connection.address) => {
                moved_already = true;
            }
            Err(error) => {
                let failure = connection.failure(error);
                if matches!(failure, Failure::Question(_)) {
                    session.put_back(connection);
                }
                return Err(failure);
            }
        }
    }
}

/// Returns a connection to the server of a key that no other question uses.
async fn connection(session: &Session, key: &str) -> Result<RedisConnection, RedisFault> {
    if let Some(connection) = session.take_idle(&session.address_of(key)?) {
        return Ok(connection);
    }
    match timeout(connect_limit(&session.settings), session.connect_for(key)).await {
        Ok(connection) => connection,
        Err(_) => Err(RedisFault::late("no second connection in time")),
    }
}

fn command(after: &[(String, String)], count: usize, block: Duration) -> Cmd {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(count.max(1));
    // To Redis, 0 means for ever.
    if !block.is_zero() {
        let block = u64::try_from(block.as_millis()).unwrap_or(u64::MAX).max(1);
        command.arg("BLOCK").arg(block);
    }
    command.arg("STREAMS");
    for (stream, _) in after {
        command.arg(stream);
    }
    for (_, id) in after {
        command.arg(id);
    }
    command
}

/// Reads the answer to `XREAD`; `None` if it has another form.
fn entries(answer: &Value) -> Option<Vec<StreamEntry>> {
    let streams = match answer {
        Value::Nil => return Some(Vec::new()),
        Value::Array(streams) => streams,
        _ => return None,
    };
    let mut read = Vec::new();
    for stream in streams {
        let [name, Value::Array(entries)] = list(stream)? else { return None };
        let stream = text(name)?;
        for entry in entries {
            let [id, Value::Array(fields)] = list(entry)? else { return None };
            let pair = |pair: &[Value]| match pair {
                [name, value] => Some((bytes(name)?.to_vec(), bytes(value)?.to_vec())),
                _ => None,
            };
            let fields = fields.chunks(2).map(pair).collect::<Option<_>>()?;
            read.push(StreamEntry { stream: stream.clone(), id: text(id)?, fields });
        }
    }
    Some(read)
}

fn list(value: &Value) -> Option<&[Value]> {
    if let Value::Array(values) = value { Some(values) } else { None }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}

fn text(value: &Value) -> Option<String> {
    Some(str::from_utf8(bytes(value)?).ok()?.to_owned())
}
