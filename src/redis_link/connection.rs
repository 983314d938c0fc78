//! One connection to one server.

use std::io;
use std::sync::{Arc, OnceLock};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::fault::RedisFault;
use super::guarded::{Guarded, Stream};
use super::scanner::Refusal;
use super::settings::{RedisAddress, RedisSettings};
use crate::net::{client_tls, dial};

/// The largest number of questions that wait for being sent. More wait for room, within their
/// deadline.
const QUEUE: usize = 1024;

/// The means to connect to servers with the same settings.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) settings: Arc<RedisSettings>,
    tls: Option<TlsConnector>,
    runtime: Handle,
    /// Is told when a connection has ended.
    ended: Arc<Notify>,
}

/// One connection to one server. Dropping it closes the connection.
pub(super) struct RedisConnection {
    pub(super) address: RedisAddress,
    questions: MultiplexedConnection,
    driver: JoinHandle<()>,
    refusal: Arc<OnceLock<Refusal>>,
}

/// The failure of a question.
pub(super) enum Failure {
    /// The link cannot be used.
    Link(RedisFault),
    /// The question cannot be answered, and others can.
    Question(RedisError),
}

impl From<RedisFault> for Failure {
    fn from(fault: RedisFault) -> Self {
        Self::Link(fault)
    }
}

impl Dialer {
    /// Creates the means.
    ///
    /// # Errors
    /// The certificate authorities of the system cannot be read.
    pub(super) fn new(
        settings: Arc<RedisSettings>,
        runtime: Handle,
        ended: Arc<Notify>,
    ) -> Result<Self, RedisFault> {
        let connector = |tls: &super::RedisTls| {
            let roots = match &tls.roots {
                Some(roots) => roots.clone(),
                None => client_tls::system_roots()?,
            };
            client_tls::config(roots).map(TlsConnector::from)
        };
        let tls = settings.tls.as_ref().map(connector).transpose().map_err(|error| {
            let remedy = "install ca-certificates, or set redis.ca";
            RedisFault::new("tls", "ca", error.to_string(), remedy)
        })?;
        Ok(Self { settings, tls, runtime, ended })
    }

    /// Connects to a server, without showing it the password.
    pub(super) async fn dial(&self, address: &RedisAddress) -> Result<RedisConnection, RedisFault> {
        let stream = self.stream(address).await;
        let stream = stream.map_err(|error| RedisFault::unreachable(address, &error))?;
        let guarded = Guarded::new(stream);
        let refusal = guarded.refusal();
        // The link has deadlines of its own, and sends no command that a server may not know.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let made = MultiplexedConnection::new_with_config(&info, guarded, config).await;
        let (questions, driver) = made.map_err(|_| RedisFault::closed(address))?;
        let ended = TellsEnd(self.ended.clone());
        let driver = self.runtime.spawn(async move {
            let _ended = ended;
            driver.await;
        });
        Ok(RedisConnection { address: address.clone(), questions, driver, refusal })
    }

    /// Connects to a server, logs in and chooses the database.
    pub(super) async fn connect(
        &self,
        address: &RedisAddress,
    ) -> Result<RedisConnection, RedisFault> {
        let connection = self.dial(address).await?;
        self.log_in(&connection).await?;
        if self.settings.database != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(self.settings.database);
            connection.demand(&select).await?;
        }
        Ok(connection)
    }

    /// Shows the server the password, if there is one.
    pub(super) async fn log_in(&self, connection: &RedisConnection) -> Result<(), RedisFault> {
        let Some(password) = &self.settings.password else { return Ok(()) };
        let mut auth = redis::cmd("AUTH");
        if let Some(username) = &self.settings.username {
            auth.arg(username);
        }
        auth.arg(password.expose_secret());
        connection.demand(&auth).await.map(drop)
    }

    async fn stream(&self, address: &RedisAddress) -> io::Result<Box<dyn Stream>> {
        let (host, port) = match address {
            RedisAddress::Socket(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            RedisAddress::Host { host, port } => (host, *port),
        };
        let tcp = dial::connect(host, port).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, tcp).await?))
    }
}

impl RedisConnection {
    /// Asks a question.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        command.query_async(&mut self.questions.clone()).await
    }

    /// Asks several questions, with none of others between them, and returns the last answer.
    pub(super) async fn ask_all(&self, commands: &Pipeline) -> Result<Value, RedisError> {
        let mut answers: Vec<Value> = commands.query_async(&mut self.questions.clone()).await?;
        Ok(answers.pop().unwrap_or(Value::Nil))
    }

    /// Asks a question without whose answer the link cannot be used.
    pub(super) async fn demand(&self, command: &Cmd) -> Result<Value, RedisFault> {
        self.ask(command).await.map_err(|error| {
            self.fault(&error).unwrap_or_else(|| {
                let code = error.code().filter(|code| code.bytes().all(|b| b.is_ascii_uppercase()));
                let what = format!("the server answers {}", code.unwrap_or("with an error"));
                RedisFault::garbage(&self.address, &what)
            })
        })
    }

    /// Returns what kind of failure an error of this connection is.
    pub(super) fn failure(&self, error: RedisError) -> Failure {
        self.fault(&error).map_or(Failure::Question(error), Failure::Link)
    }

    fn fault(&self, error: &RedisError) -> Option<RedisFault> {
        match self.refusal.get() {
            Some(refusal) => Some(RedisFault::garbage(&self.address, refusal)),
            None => RedisFault::of(error, &self.address),
        }
    }

    /// Returns the reason for which the connection has ended; `None` while it is open.
    pub(super) fn end(&self) -> Option<RedisFault> {
        self.driver.is_finished().then(|| match self.refusal.get() {
            Some(refusal) => RedisFault::garbage(&self.address, refusal),
            None => RedisFault::closed(&self.address),
        })
    }
}

impl Drop for RedisConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Tells the end of a connection, also one by a panic of the library.
struct TellsEnd(Arc<Notify>);

impl Drop for TellsEnd {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
