//! From the configuration to a session: two connections to the same server of the database, which takes writes, keeps
//! what it commits, and holds this cluster's log.

use std::net::IpAddr;
use std::time::Duration;

use baton_domain::ClusterId;
use baton_replica::shared::{Claimant, LogError, LogIdentity};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use crate::config::{Database, DatabaseError, Host};
use crate::errors::{Effect, is_forbidden, is_missing, log_error};
use crate::link::{Fate, Link};
use crate::schema;
use crate::tls::Tls;

/// Time for one connection, with its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time after which the next host is tried, too.
const STAGGER: Duration = Duration::from_millis(100);

/// A lost network ends a connection after that many seconds, on both sides.
const DEAD_AFTER: Duration = Duration::from_secs(5);

/// Settings of each session, which no default of a role, database or server changes.
///
/// `client_min_messages`: a warning says that a commit is doubtful, so it must arrive. No timeout but that of a
/// transaction whose client stopped in the middle. The planner finds each row by its key, however large a table was
/// when the statement was planned.
const SETTINGS: [(&str, &str); 18] = [
    ("client_min_messages", "warning"),
    ("search_path", "pg_catalog"),
    ("default_transaction_isolation", "read\\ committed"),
    ("default_transaction_read_only", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("idle_session_timeout", "0"),
    ("tcp_keepalives_idle", "2"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "5s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("bytea_output", "hex"),
];

/// A session with the log: two connections.
pub(crate) struct Session {
    /// For what commits. Nothing that waits for a standby delays a read.
    pub(crate) write: Link,
    /// For what reads.
    pub(crate) read: Link,
    /// The processes of the database behind them.
    pub(crate) processes: [i32; 2],
    pub(crate) identity: LogIdentity,
}

/// A database in which a log was created, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// Its name, without secrets: "`PostgreSQL` 15.18 at db1:5432".
    pub name: String,
    /// `synchronous_standby_names`; if empty, a failover of the database may lose commits.
    pub standby: String,
}

/// The facts about a server that must be right.
struct Server {
    process: i32,
    version: String,
    timeline: u32,
    standby: String,
    /// Differs between two servers, and between two runs of one.
    run: String,
    system: u64,
}

/// An address of the database.
struct Target<'a> {
    host: &'a Host,
    /// The resolved address of a host; `None` for a socket.
    address: Option<IpAddr>,
}

/// A connection to a server that is checked.
struct Connected<'a> {
    target: Target<'a>,
    link: Link,
    server: Server,
    fate: Fate,
}

/// Opens a session with the first host that fits.
pub(crate) async fn open(database: &Database, who: &Claimant, cluster: ClusterId) -> Result<Session, LogError> {
    let name = session_name(who.incarnation);
    session(database, first_host(database, &name).await?, &name, cluster).await
}

/// Opens one connection for an administrator's work, such as the creation of the schema.
pub(crate) async fn administer(database: &Database) -> Result<(Link, Created), LogError> {
    let Connected { target, link, server, .. } = first_host(database, "baton").await?;
    let name = format!("PostgreSQL {} at {}", server.version, target.host);
    Ok((link, Created { name, standby: server.standby }))
}

/// Connects to all hosts of the URL, each a little later than the one before: a host that is silent holds up no other.
async fn first_host<'a>(database: &'a Database, name: &str) -> Result<Connected<'a>, LogError> {
    let attempt = async |(at, host)| {
        tokio::time::sleep(STAGGER * at).await;
        (host, connect_host(database, host, name).await)
    };
    let mut attempts: FuturesUnordered<_> = (0..).zip(&database.hosts).map(attempt).collect();
    let mut failures = Failures::default();
    while let Some((host, outcome)) = attempts.next().await {
        match outcome {
            Ok(connected) => return Ok(connected),
            Err(error) => failures.add(host, error),
        }
    }
    Err(failures.into_error())
}

/// Connects to one host, at the first of its addresses that fits.
async fn connect_host<'a>(database: &Database, host: &'a Host, name: &str) -> Result<Connected<'a>, LogError> {
    let unreachable = |why: String| LogError::Unreachable(why);
    let addresses: Vec<Option<IpAddr>> = match host {
        Host::Socket(..) => vec![None],
        Host::Tcp(host, port) => {
            let found = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host.as_str(), *port))).await;
            let found = found.map_err(|_| unreachable("its name is not resolved in time".to_owned()))?;
            found.map_err(|error| unreachable(error.to_string()))?.map(|found| Some(found.ip())).collect()
        }
    };
    let mut last = unreachable("its name has no address".to_owned());
    for address in addresses {
        let (target, fate) = (Target { host, address }, Fate::new(None));
        match connect(database, &target, name, &fate).await {
            Ok((link, server)) => return Ok(Connected { target, link, server, fate }),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The name of a process's sessions in `pg_stat_activity`.
pub(crate) fn session_name(incarnation: u64) -> String {
    format!("baton-{incarnation:016x}")
}

/// The errors of all hosts that were tried.
#[derive(Default)]
struct Failures(Vec<(String, LogError)>);

impl Failures {
    fn add(&mut self, host: &Host, error: LogError) {
        self.0.push((host.to_string(), error));
    }

    /// The error that says most: of a host that answers, rather than of one that is down.
    fn into_error(self) -> LogError {
        let rank = |error: &LogError| match error {
            LogError::Foreign(_) | LogError::Damaged(_) => 4,
            LogError::Refused(_) => 3,
            LogError::NoRoom(_) => 2,
            LogError::NotPrimary(_) => 1,
            _ => 0,
        };
        let text = |(host, error): &(String, LogError)| format!("{host}: {}", words(error));
        let all: Vec<String> = self.0.iter().map(text).collect();
        let all = all.join("; ");
        match self.0.into_iter().map(|(_, error)| error).max_by_key(rank) {
            Some(LogError::Foreign(_)) => LogError::Foreign(all),
            Some(LogError::Damaged(_)) => LogError::Damaged(all),
            Some(LogError::Refused(_)) => LogError::Refused(all),
            Some(LogError::NoRoom(_)) => LogError::NoRoom(all),
            Some(LogError::NotPrimary(_)) => LogError::NotPrimary(all),
            _ => LogError::Unreachable(all),
        }
    }
}

/// The words of an error, without those of its kind.
fn words(error: &LogError) -> String {
    match error {
        LogError::Unknown(text) | LogError::Unreachable(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Two connections to one server: the first one is there.
async fn session(
    database: &Database,
    first: Connected<'_>,
    name: &str,
    cluster: ClusterId,
) -> Result<Session, LogError> {
    let Connected { target, link: write, server, fate } = first;
    let (read, second) = connect(database, &target, name, &fate).await?;
    if (&server.run, server.system) != (&second.run, second.system) {
        let why = "two connections to one address reach two servers, or it was started between them";
        return Err(LogError::Unreachable(why.to_owned()));
    }
    let generation = schema::check(read.client()?, database.schema(), cluster).await?;
    let processes = [server.process, second.process];
    let ended = read.client()?.execute(END_EARLIER, &[&name, &processes.as_slice()]).await;
    ended.map_err(|error| log_error(&error, Effect::None))?;
    write.trust();
    let identity = LogIdentity {
        cluster,
        generation,
        name: format!("PostgreSQL {} at {}, schema {}", server.version, target.host, database.schema()),
        system: server.system,
        timeline: server.timeline,
        standby: server.standby,
    };
    Ok(Session { write, read, processes, identity })
}

/// Ends what an earlier session of this process left behind, so that it holds no lock. One that waits for the standby
/// stays: the database cannot commit for anybody then.
const END_EARLIER: &str = "SELECT pg_terminate_backend(pid, 500) FROM pg_stat_activity \
    WHERE usename = current_user AND datname = current_database() AND application_name = $1 AND pid <> ALL($2) \
    AND wait_event IS DISTINCT FROM 'SyncRep'";

/// One connection to a server that is checked.
async fn connect(
    database: &Database,
    target: &Target<'_>,
    name: &str,
    fate: &Fate,
) -> Result<(Link, Server), LogError> {
    let attempt = async {
        let link = dial(database, target, name, fate).await?;
        let server = check_server(link.client()?, name).await?;
        Ok((link, server))
    };
    let late = |_| LogError::Unreachable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
    tokio::time::timeout(CONNECT_TIMEOUT, attempt).await.map_err(late)?
}

async fn dial(database: &Database, target: &Target<'_>, name: &str, fate: &Fate) -> Result<Link, LogError> {
    let refused = |error: DatabaseError| LogError::Refused(error.to_string());
    let mut config = Config::new();
    match target.host {
        Host::Tcp(host, port) => config.host(host).port(*port),
        Host::Socket(directory, port) => config.host_path(directory).port(*port),
    };
    if let Some(address) = target.address {
        config.hostaddr(address);
    }
    if let Some(password) = database.password().map_err(refused)? {
        config.password(password.text());
    }
    let options: Vec<String> = SETTINGS.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
    config.user(&database.user).dbname(&database.name).application_name(name).options(options.join(" "));
    config.keepalives_idle(Duration::from_secs(2)).keepalives_interval(Duration::from_secs(1)).keepalives_retries(3);
    config.tcp_user_timeout(DEAD_AFTER);

    let failed = |error| log_error(&error, Effect::None);
    match database.ca_file(target.host) {
        Some(ca) => {
            let tls = Tls::load(ca).map_err(refused)?;
            let (client, connection) = config.ssl_mode(SslMode::Require).connect(tls).await.map_err(failed)?;
            Ok(Link::drive(client, connection, fate))
        }
        None => {
            let (client, connection) = config.ssl_mode(SslMode::Disable).connect(NoTls).await.map_err(failed)?;
            Ok(Link::drive(client, connection, fate))
        }
    }
}

/// The setting of `synchronous_commit` is fixed for the session: a reload of the configuration does not change it.
const SERVER: &str = "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), \
    pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', \
    current_setting('fsync'), current_setting('full_page_writes'), \
    set_config('synchronous_commit', current_setting('synchronous_commit'), false), \
    current_setting('synchronous_standby_names'), pg_backend_pid(), pg_postmaster_start_time()::text, \
    current_setting('client_min_messages') = 'warning' AND current_setting('plan_cache_mode') = 'force_generic_plan' \
        AND current_setting('application_name') = $1, \
    CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_walfile_name(pg_current_wal_insert_lsn()) END";

/// Refuses a server that takes no writes or does not keep what it commits.
async fn check_server(client: &Client, name: &str) -> Result<Server, LogError> {
    let failed = |error| log_error(&error, Effect::None);
    let row = client.query_one(SERVER, &[&name]).await.map_err(failed)?;
    let text = |column: usize| row.try_get::<_, String>(column).map_err(failed);
    let number: i32 = row.try_get(0).map_err(failed)?;
    let version = text(1)?;
    let refused = |why: String| Err(LogError::Refused(why));
    if number < 140_000 {
        return refused(format!("PostgreSQL {version} is too old: use 14 or newer"));
    }
    if row.try_get(2).map_err(failed)? {
        return Err(LogError::NotPrimary("it takes no writes: a standby, or read-only".to_owned()));
    }
    if !row.try_get(9).map_err(failed)? {
        return refused(
            "something in front of PostgreSQL drops the settings of a session, such as a connection pooler: name \
             PostgreSQL's own address"
                .to_owned(),
        );
    }
    for (column, setting) in [(3, "fsync"), (4, "full_page_writes")] {
        if text(column)? != "on" {
            return refused(format!(
                "{setting} is off, so confirmed messages would be lost: set {setting} = on in postgresql.conf and reload"
            ));
        }
    }
    let commit = text(5)?;
    if commit == "off" || commit == "local" {
        return refused(format!(
            "synchronous_commit is {commit}, so confirmed messages could be lost: \
             ALTER ROLE .. IN DATABASE .. SET synchronous_commit = on"
        ));
    }
    // A role may be denied this function; the identifier is a precaution only.
    let system = match client.query_one("SELECT system_identifier FROM pg_control_system()", &[]).await {
        Ok(row) => row.try_get::<_, i64>(0).map_err(failed)?.cast_unsigned(),
        Err(error) if is_forbidden(&error) || is_missing(&error) => 0,
        Err(error) => return Err(failed(error)),
    };
    Ok(Server {
        process: row.try_get(7).map_err(failed)?,
        version: version.split(' ').next().unwrap_or_default().to_owned(),
        timeline: text(10)?.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0),
        standby: text(6)?,
        run: text(8)?,
        system,
    })
}
