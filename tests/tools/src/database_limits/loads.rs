//! The loads: statements like those of the log, with several in flight.

use std::pin::pin;
use std::time::Duration;

use baton_tests::clock::now;
use baton_tests::process::cpu_time;
use futures::stream::FuturesOrdered;
use futures::{SinkExt, StreamExt};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, Statement};

use crate::spread::percentile;

pub(super) const TABLES: &str = "
    CREATE TABLE lease (one boolean PRIMARY KEY, term bigint NOT NULL, holder text NOT NULL);
    INSERT INTO lease VALUES (true, 1, 'server1');
    CREATE TABLE entries (idx bigint PRIMARY KEY, term bigint NOT NULL, chain bytea NOT NULL, body bytea NOT NULL)
        WITH (autovacuum_enabled = false, toast_tuple_target = 8160);
    ALTER TABLE entries ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE parts (digest bytea, part int, body bytea NOT NULL, PRIMARY KEY (digest, part));
    ALTER TABLE parts ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE small_parts (digest bytea, part int, body bytea NOT NULL, PRIMARY KEY (digest, part))
        WITH (toast_tuple_target = 8160);
    ALTER TABLE small_parts ALTER body SET STORAGE PLAIN;
    CREATE TABLE bare (body bytea NOT NULL);
    ALTER TABLE bare ALTER body SET STORAGE EXTERNAL;";

/// The append of the log: a lock on the lease row, the entry before, the entries.
const APPEND: &str = "WITH held AS MATERIALIZED (SELECT 1 FROM lease WHERE one AND term = $1 AND holder = $2 FOR SHARE), \
    prev AS MATERIALIZED (SELECT 1 FROM entries WHERE idx = $3 UNION ALL SELECT 1 WHERE $3 = 0) \
    INSERT INTO entries SELECT $3 + e.n, $1, e.chain, e.body \
    FROM held, prev, unnest($4::bytea[], $5::bytea[]) WITH ORDINALITY AS e(chain, body, n)";
const PART: &str = "INSERT INTO parts VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const SMALL_PARTS: &str = "INSERT INTO small_parts SELECT $1, $2 + e.n, e.body \
    FROM unnest($3::bytea[]) WITH ORDINALITY AS e(body, n) ON CONFLICT DO NOTHING";

const MIB: usize = 1024 * 1024;
/// Bytes of a row that fills a page.
const ROW: usize = 8_000;

/// The kind of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Append,
    Part,
    SmallParts,
    CopyBare,
    CopySmallParts,
}

/// A load.
pub(super) struct Load {
    pub(super) name: &'static str,
    pub(super) tcp: bool,
    kind: Kind,
    rows: usize,
    row_bytes: usize,
    in_flight: usize,
}

const fn append(name: &'static str, tcp: bool, rows: usize, row_bytes: usize, in_flight: usize) -> Load {
    Load { name, tcp, kind: Kind::Append, rows, row_bytes, in_flight }
}

const fn mebibyte(name: &'static str, kind: Kind, row_bytes: usize) -> Load {
    Load { name, tcp: false, kind, rows: MIB.div_ceil(row_bytes), row_bytes, in_flight: 1 }
}

/// All of them, in the order in which they are measured.
pub(super) const LOADS: [Load; 14] = [
    append("append of 300 B (L1), socket", false, 1, 300, 1),
    append("append of 300 B (L1), TCP", true, 1, 300, 1),
    append("append of 256 KiB, socket, 1 in flight", false, 1, MIB / 4, 1),
    append("append of 256 KiB, socket, 2 in flight (L2)", false, 1, MIB / 4, 2),
    append("append of 256 KiB, socket, 4 in flight", false, 1, MIB / 4, 4),
    append("append of 256 KiB, TCP, 2 in flight", true, 1, MIB / 4, 2),
    append("append of 33 rows of 8,000 B, socket, 2 in flight", false, 33, ROW, 2),
    append("append of 16 x 256 KiB, socket, 2 in flight", false, 16, MIB / 4, 2),
    append("append of 525 rows of 8,000 B, socket, 2 in flight", false, 525, ROW, 2),
    mebibyte("COPY of 256 KiB rows into a bare table (L3)", Kind::CopyBare, MIB / 4),
    mebibyte("snapshot part: 1 MiB in a row", Kind::Part, MIB),
    mebibyte("snapshot part: unnest of 8,000 B rows", Kind::SmallParts, ROW),
    mebibyte("snapshot part: COPY of 8,000 B rows", Kind::CopySmallParts, ROW),
    mebibyte("snapshot part: COPY of 1 MiB rows", Kind::CopyBare, MIB),
];

/// The figures of one run.
pub(super) struct Figures {
    pub(super) mb_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) cpu_ms_per_mb: f64,
    pub(super) wal: f64,
}

/// A connection.
pub(super) struct Session {
    client: Client,
    process: u32,
}

impl Session {
    pub(super) async fn open(url: &str) -> Result<Self, Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        client
            .batch_execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off")
            .await?;
        let process: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
        Ok(Self { client, process: process.cast_unsigned() })
    }

    pub(super) async fn run(&self, load: &Load, secs: u64) -> Result<Figures, Error> {
        let sql = match load.kind {
            Kind::Append => APPEND,
            Kind::Part => PART,
            Kind::SmallParts => SMALL_PARTS,
            Kind::CopyBare => "COPY bare FROM STDIN (FORMAT binary)",
            Kind::CopySmallParts => "COPY small_parts FROM STDIN (FORMAT binary)",
        };
        let statement = self.client.prepare(sql).await?;
        let body = random(load.row_bytes);
        let (wal, cpu, start) = (self.wal().await?, cpu_time(self.process), now());
        let mut times: Vec<Duration> = Vec::new();
        let mut flight = FuturesOrdered::new();
        let mut number = 0;
        while start.elapsed() < Duration::from_secs(secs) || !flight.is_empty() {
            while flight.len() < load.in_flight && start.elapsed() < Duration::from_secs(secs) {
                let mut call = Box::pin(self.one(load, &statement, number, &body));
                // The first poll sends it.
                let first = futures::poll!(call.as_mut());
                flight.push_back(async move {
                    match first {
                        std::task::Poll::Ready(done) => done,
                        std::task::Poll::Pending => call.await,
                    }
                });
                number += 1;
            }
            if let Some(done) = flight.next().await {
                times.push(done?);
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let cpu = cpu_time(self.process).saturating_sub(cpu);
        let megabytes = (times.len() * load.rows * load.row_bytes) as f64 / 1e6;
        times.sort_unstable();
        let micros = |percent| percentile(&times, percent).as_secs_f64() * 1e6;
        Ok(Figures {
            mb_per_second: megabytes / seconds,
            p50_us: micros(50),
            p99_us: micros(99),
            cpu_ms_per_mb: cpu.as_secs_f64() * 1e3 / megabytes,
            wal: (self.wal().await? - wal) / 1e6 / megabytes,
        })
    }

    /// One statement; the time that it took.
    async fn one(&self, load: &Load, statement: &Statement, number: u32, body: &[u8]) -> Result<Duration, Error> {
        let start = now();
        let digest: &[u8] = &number.to_be_bytes();
        let bodies = vec![body; load.rows];
        match load.kind {
            Kind::Append => {
                let chains: Vec<&[u8]> = vec![&[0; 16]; load.rows];
                let after = i64::from(number) * load.rows as i64;
                let parameters: [&(dyn ToSql + Sync); 5] = [&1_i64, &"server1", &after, &chains, &bodies];
                let written = self.client.execute(statement, &parameters).await?;
                assert_eq!(written, load.rows as u64, "a load appends in order");
            }
            Kind::Part => drop(self.client.execute(statement, &[&digest, &0_i32, &body]).await?),
            Kind::SmallParts => drop(self.client.execute(statement, &[&digest, &0_i64, &bodies]).await?),
            Kind::CopyBare | Kind::CopySmallParts => self.copy(load, statement, digest, body).await?,
        }
        Ok(start.elapsed())
    }

    async fn copy(&self, load: &Load, statement: &Statement, digest: &[u8], body: &[u8]) -> Result<(), Error> {
        let mut sink = pin!(self.client.copy_in::<_, bytes::Bytes>(statement).await?);
        let mut text = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for row in 0..load.rows {
            let column = |text: &mut Vec<u8>, bytes: &[u8]| {
                text.extend(u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
                text.extend(bytes);
            };
            if load.kind == Kind::CopySmallParts {
                text.extend(3_u16.to_be_bytes());
                column(&mut text, digest);
                column(&mut text, &u32::try_from(row).unwrap_or(0).to_be_bytes());
            } else {
                text.extend(1_u16.to_be_bytes());
            }
            column(&mut text, body);
        }
        text.extend([0xff; 2]);
        sink.send(text.into()).await?;
        sink.as_mut().finish().await?;
        // The copy is reported as complete before it is committed.
        self.client.check_connection().await
    }

    /// Bytes of WAL since the beginning.
    async fn wal(&self) -> Result<f64, Error> {
        let statement = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8";
        self.client.query_one(statement, &[]).await?.try_get(0)
    }
}

/// Bytes that nothing can compress.
fn random(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(next).take(bytes).collect()
}
