//! All statements of a session. Each is one message and one transaction of its own, at READ COMMITTED.

use futures::future::try_join_all;
use tokio_postgres::{Client, Error, Statement};

use crate::config::Schema;
use crate::schema::{SEGMENTS, with_schema};

/// Takes the lease if term and beat are still those, in a term above $5. Gives up soon when somebody else changes the row.
const ACQUIRE: &str = "WITH patience AS MATERIALIZED (SELECT set_config('lock_timeout', '300ms', true)) \
    UPDATE {s}.lease SET term = greatest(term, $5) + 1, holder = $1, incarnation = $2, beat = beat + 1, nominee = NULL, \
    since = clock_timestamp() FROM patience \
    WHERE one AND term = $3 AND beat = $4 AND (nominee IN ('', $1) OR $6) RETURNING term, beat";

const RENEW: &str = "UPDATE {s}.lease SET beat = beat + 1 \
    WHERE one AND term = $1 AND holder = $2 AND incarnation = $3 AND nominee IS NULL RETURNING beat";

const GIVE: &str = "UPDATE {s}.lease SET nominee = $4, beat = beat + 1 \
    WHERE one AND term = $1 AND holder = $2 AND incarnation = $3";

/// The only way into the log. `held` locks the lease row against a change of the holder until the commit; `prev` says
/// that the entry before is the one that the holder knows. An entry that is there already is a duplicate key.
const APPEND: &str = "WITH \
    held AS MATERIALIZED (SELECT 1 FROM {s}.lease \
        WHERE one AND term = $1 AND holder = $2 AND incarnation = $3 AND segment = {k} AND nominee IS NULL FOR SHARE), \
    prev AS MATERIALIZED (SELECT 1 FROM {s}.entries_{k} WHERE idx = $4 AND chain = $5 \
        UNION ALL SELECT 1 FROM {s}.segment WHERE segment = {k} AND after_idx = $4 AND after_chain = $5) \
    INSERT INTO {s}.entries_{k} (idx, term, chain, body) \
    SELECT $4 + e.n, e.term, e.chain, e.body \
    FROM held, prev, unnest($6::bigint[], $7::bytea[], $8::bytea[]) WITH ORDINALITY AS e(term, chain, body, n)";

/// The table that is written, and its size.
const SEGMENT: &str =
    "SELECT segment, pg_table_size(format('{s}.entries_%s', segment)::regclass) FROM {s}.lease WHERE one";

const NEXT_SEGMENT: &str = "SELECT {s}.next_segment($1, $2, $3, $4, $5)";

const REPORT: &str = "WITH mine AS (INSERT INTO {s}.server AS s (name, incarnation, address, applied, chain, program) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, \
        address = excluded.address, applied = excluded.applied, chain = excluded.chain, program = excluded.program, \
        seen = clock_timestamp() RETURNING name, incarnation, address, applied, chain, program) \
    SELECT * FROM mine UNION ALL \
    SELECT name, incarnation, address, applied, chain, program FROM {s}.server WHERE name <> $1 ORDER BY 1";

/// Announces a snapshot in place of an earlier one of this server that was not completed. The files whose parts are not
/// all there.
const BEGIN_SNAPSHOT: &str = "WITH \
    earlier AS (DELETE FROM {s}.snapshot WHERE server = $6 AND NOT complete AND id <> $1), \
    made AS (INSERT INTO {s}.snapshot (id, idx, term, chain, generation, server, names, sizes, digests) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)) \
    SELECT DISTINCT file.digest FROM unnest($9::bytea[], $8::bigint[]) AS file(digest, size) \
    WHERE size <> (SELECT coalesce(sum(octet_length(p.body)), 0) FROM {s}.snapshot_part p WHERE p.digest = file.digest)";

const PUT_PART: &str = "INSERT INTO {s}.snapshot_part (digest, part, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

const COMPLETE_SNAPSHOT: &str = "SELECT {s}.complete_snapshot($1)";

const TRIM: &str = "SELECT {s}.trim($1, $2, $3)";

const GENESIS: &str = "SELECT genesis FROM {s}.cluster WHERE one";

const LOOK: &str = "SELECT term, holder, incarnation, beat, nominee FROM {s}.lease WHERE one";

/// The last entry; the hash at $1; where the oldest table begins; the table that has what follows $1.
const PLACE: &str = "SELECT tail.idx, tail.chain, here.chain, oldest.after_idx, oldest.after_chain, place.segment \
    FROM (SELECT idx, chain FROM ({tails} \
            (SELECT after_idx AS idx, after_chain AS chain FROM {s}.segment ORDER BY number DESC LIMIT 1)) AS tails \
        ORDER BY idx DESC LIMIT 1) AS tail \
    CROSS JOIN (SELECT after_idx, after_chain FROM {s}.segment ORDER BY number LIMIT 1) AS oldest \
    LEFT JOIN (SELECT segment FROM {s}.segment WHERE after_idx <= $1 ORDER BY number DESC LIMIT 1) AS place ON true \
    LEFT JOIN (SELECT chain FROM ({heres} \
            SELECT after_chain AS chain FROM {s}.segment WHERE after_idx = $1) AS heres LIMIT 1) AS here ON true";
const TAIL_OF_SEGMENT: &str = "(SELECT idx, chain FROM {s}.entries_{k} ORDER BY idx DESC LIMIT 1) UNION ALL ";
const HERE_IN_SEGMENT: &str = "SELECT chain FROM {s}.entries_{k} WHERE idx = $1 UNION ALL ";

/// Entries after $1 in one table, until those before make $2 bytes. The sizes are known without reading the bodies.
const READ: &str = "SELECT idx, term, chain, body FROM (SELECT idx, term, chain, body, \
        sum(octet_length(body)) OVER (ORDER BY idx ROWS UNBOUNDED PRECEDING) - octet_length(body) AS before \
        FROM (SELECT * FROM {s}.entries_{k} WHERE idx > $1 ORDER BY idx LIMIT 1024) AS next) AS summed \
    WHERE before < $2 ORDER BY idx";

/// Sessions of a process: waiting for the standby, at work, all; and how many of this one's own ($2, $3) are seen.
const SESSIONS: &str = "SELECT \
    count(*) FILTER (WHERE application_name = $1 AND wait_event = 'SyncRep'), \
    count(*) FILTER (WHERE application_name = $1 AND state <> 'idle' AND wait_event IS DISTINCT FROM 'ClientRead'), \
    count(*) FILTER (WHERE application_name = $1), \
    count(*) FILTER (WHERE application_name = $2 AND pid = ANY ($3)) \
    FROM pg_stat_activity WHERE usename = current_user AND datname = current_database()";

const EVICT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE usename = current_user AND datname = current_database() AND application_name = $1 AND pid <> ALL ($2) \
    AND wait_event IS DISTINCT FROM 'SyncRep'";

const SIZE: &str = "SELECT \
    coalesce(sum(pg_total_relation_size(oid)) FILTER (WHERE relname LIKE 'entries\\_%'), 0)::bigint, \
    coalesce(sum(pg_total_relation_size(oid)), 0)::bigint \
    FROM pg_class WHERE relnamespace = '{s}'::regnamespace AND relkind = 'r'";

const NEWEST_SNAPSHOT: &str = "SELECT id, idx, term, chain, generation, server, names, sizes, digests \
    FROM {s}.snapshot WHERE complete ORDER BY generation DESC, idx DESC, id DESC LIMIT 1";

const PARTS: &str = "SELECT part, body FROM {s}.snapshot_part WHERE digest = $1 AND part >= $2 ORDER BY part LIMIT $3";

/// Statements that commit.
pub(crate) struct Writes {
    pub(crate) acquire: Statement,
    pub(crate) renew: Statement,
    pub(crate) give: Statement,
    /// One for each table.
    pub(crate) append: Vec<Statement>,
    pub(crate) segment: Statement,
    pub(crate) next_segment: Statement,
    pub(crate) report: Statement,
    pub(crate) begin_snapshot: Statement,
    pub(crate) put_part: Statement,
    pub(crate) complete_snapshot: Statement,
    pub(crate) trim: Statement,
}

impl Writes {
    pub(crate) async fn prepare(client: &Client, schema: &Schema) -> Result<Self, Error> {
        let one = async |statement: &str| client.prepare(&with_schema(statement, schema)).await;
        Ok(Self {
            acquire: one(ACQUIRE).await?,
            renew: one(RENEW).await?,
            give: one(GIVE).await?,
            append: for_each_segment(client, APPEND, schema).await?,
            segment: one(SEGMENT).await?,
            next_segment: one(NEXT_SEGMENT).await?,
            report: one(REPORT).await?,
            begin_snapshot: one(BEGIN_SNAPSHOT).await?,
            put_part: one(PUT_PART).await?,
            complete_snapshot: one(COMPLETE_SNAPSHOT).await?,
            trim: one(TRIM).await?,
        })
    }
}

/// Statements that only read, or end sessions.
pub(crate) struct Reads {
    pub(crate) genesis: Statement,
    pub(crate) look: Statement,
    pub(crate) place: Statement,
    /// One for each table.
    pub(crate) read: Vec<Statement>,
    pub(crate) sessions: Statement,
    pub(crate) evict: Statement,
    pub(crate) size: Statement,
    pub(crate) newest_snapshot: Statement,
    pub(crate) parts: Statement,
}

impl Reads {
    pub(crate) async fn prepare(client: &Client, schema: &Schema) -> Result<Self, Error> {
        let one = async |statement: &str| client.prepare(&with_schema(statement, schema)).await;
        let all = |part: &str| (0..SEGMENTS).map(|k| part.replace("{k}", &k.to_string())).collect::<String>();
        let place = PLACE.replace("{tails}", &all(TAIL_OF_SEGMENT)).replace("{heres}", &all(HERE_IN_SEGMENT));
        Ok(Self {
            genesis: one(GENESIS).await?,
            look: one(LOOK).await?,
            place: one(&place).await?,
            read: for_each_segment(client, READ, schema).await?,
            sessions: one(SESSIONS).await?,
            evict: one(EVICT).await?,
            size: one(SIZE).await?,
            newest_snapshot: one(NEWEST_SNAPSHOT).await?,
            parts: one(PARTS).await?,
        })
    }
}

async fn for_each_segment(client: &Client, statement: &str, schema: &Schema) -> Result<Vec<Statement>, Error> {
    let texts = (0..SEGMENTS).map(|k| with_schema(&statement.replace("{k}", &k.to_string()), schema));
    let texts: Vec<String> = texts.collect();
    try_join_all(texts.iter().map(|text| client.prepare(text))).await
}
