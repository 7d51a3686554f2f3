//! The tables of a cluster in the database, and the check that they are this cluster's.

use baton_domain::ClusterId;
use baton_replica::shared::LogError;
use tokio_postgres::Client;

use crate::config::Schema;
use crate::errors::{Effect, is_missing, log_error};

/// The layout of these tables. A program refuses one that it does not know.
pub(crate) const FORMAT: i32 = 1;

/// Tables of entries, which are used in turn.
pub(crate) const SEGMENTS: usize = 8;

/// The statements that create the tables, for an administrator of the database. `role`: the servers connect as that one.
#[must_use]
pub fn sql(schema: &Schema, role: &str) -> String {
    let role = role.replace('"', "\"\"");
    let entries: String =
        (0..SEGMENTS).map(|segment| with_schema(&ENTRIES.replace("{k}", &segment.to_string()), schema)).collect();
    let mut text = with_schema(TABLES, schema);
    text.push_str(&entries);
    text.push_str(&with_schema(FUNCTIONS, schema));
    text.push_str(&with_schema(GRANTS, schema).replace("{role}", &role));
    text
}

/// Checks that the tables are there, known to this program, and this cluster's. The cluster's generation.
pub(crate) async fn check(client: &Client, schema: &Schema, cluster: ClusterId) -> Result<u32, LogError> {
    let failed = |error| log_error(&error, Effect::None);
    let row = match client.query_opt(&cluster_row(schema), &[]).await {
        Ok(Some(row)) => row,
        Ok(None) => {
            return Err(LogError::Refused(format!("the schema {schema} is empty: run `baton init --database`")));
        }
        Err(error) if is_missing(&error) => {
            return Err(LogError::Refused(format!(
                "the database has no schema {schema} of Baton: check `schema`, or run `baton init --database`"
            )));
        }
        Err(error) => return Err(failed(error)),
    };
    let format: i32 = row.try_get(0).map_err(failed)?;
    let found: &[u8] = row.try_get(1).map_err(failed)?;
    let generation: i32 = row.try_get(2).map_err(failed)?;
    if found != cluster.0 {
        return Err(LogError::Foreign(format!("the schema {schema} belongs to the cluster {}", hex(found))));
    }
    if format != FORMAT {
        return Err(LogError::Foreign(format!(
            "the schema {schema} has the layout {format}, and this program knows {FORMAT}: use the program that made it"
        )));
    }
    Ok(generation.cast_unsigned())
}

/// The statement that reads a cluster's row: layout, id, generation.
pub(crate) fn cluster_row(schema: &Schema) -> String {
    with_schema("SELECT format, cluster, generation FROM {s}.cluster WHERE one", schema)
}

/// Writes the schema's name into a statement.
pub(crate) fn with_schema(statement: &str, schema: &Schema) -> String {
    statement.replace("{s}", &format!("\"{schema}\""))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TABLES: &str = r#"CREATE SCHEMA IF NOT EXISTS {s};

-- What this schema is. Written by `baton init` and `baton recover`.
CREATE TABLE {s}.cluster (
  one        boolean PRIMARY KEY DEFAULT true CHECK (one),
  format     int         NOT NULL,              -- of these tables: a program refuses one that it does not know
  cluster    bytea       NOT NULL CHECK (octet_length(cluster) = 16),
  generation int         NOT NULL DEFAULT 0,
  genesis    bytea       NOT NULL,              -- the first members and policy
  made       timestamptz NOT NULL DEFAULT clock_timestamp());

-- Who may append. No time decides anything; `since` is for people.
CREATE TABLE {s}.lease (
  one         boolean PRIMARY KEY DEFAULT true CHECK (one),
  term        bigint      NOT NULL,             -- grows with every change of the holder
  holder      text        NOT NULL,             -- '' before the first one
  incarnation bigint      NOT NULL,             -- of the holder's process
  beat        bigint      NOT NULL,             -- grows with every renewal and every change
  nominee     text,                             -- the holder gave up: for that server, '' for anybody
  segment     smallint    NOT NULL,             -- the table of entries that is written
  since       timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The tables of entries that are in use, and the position that each one follows.
CREATE TABLE {s}.segment (
  segment     smallint PRIMARY KEY CHECK (segment BETWEEN 0 AND 7),
  number      bigint   NOT NULL UNIQUE,         -- grows with each use of a table
  after_idx   bigint   NOT NULL,
  after_chain bytea    NOT NULL);

-- Snapshots of the state: files, which several snapshots share.
CREATE TABLE {s}.snapshot (
  id         bigint      PRIMARY KEY,
  idx        bigint      NOT NULL,
  term       bigint      NOT NULL,
  chain      bytea       NOT NULL,
  generation int         NOT NULL,
  server     text        NOT NULL,
  names      text[]      NOT NULL,
  sizes      bigint[]    NOT NULL,
  digests    bytea[]     NOT NULL,
  complete   boolean     NOT NULL DEFAULT false,
  made       timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE {s}.snapshot_part (
  digest bytea NOT NULL,
  part   int   NOT NULL,
  body   bytea NOT NULL,
  PRIMARY KEY (digest, part));
ALTER TABLE {s}.snapshot_part ALTER body SET STORAGE EXTERNAL;

-- One row per server, written once a second: a commit that shows that the database works, and for people.
CREATE TABLE {s}.server (
  name        text        PRIMARY KEY,
  incarnation bigint      NOT NULL,
  address     text        NOT NULL,
  applied     bigint      NOT NULL,
  chain       bytea       NOT NULL,
  program     text        NOT NULL,
  seen        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE VIEW {s}.status AS
  SELECT l.holder, l.term, l.since, l.nominee, s.name, s.applied, s.program, clock_timestamp() - s.seen AS silent_for
  FROM {s}.lease l CROSS JOIN {s}.server s ORDER BY s.name;

-- The log: eight tables, used in turn and emptied by TRUNCATE. Not partitions: a statement names its table and locks no
-- other one.
"#;

const ENTRIES: &str = r#"CREATE TABLE {s}.entries_{k} (
  idx   bigint PRIMARY KEY,
  term  bigint NOT NULL,
  chain bytea  NOT NULL,                        -- hash of all entries up to and with this one
  body  bytea  NOT NULL                         -- the command
) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false, toast_tuple_target = 8160);
ALTER TABLE {s}.entries_{k} ALTER body SET STORAGE EXTERNAL;
"#;

/// Each of them takes a lock first; what it reads afterwards is newer than whatever held the lock.
const FUNCTIONS: &str = r#"
-- The holder goes on in the next table, if it is free. The table that is written now; NULL: not the holder, or the last
-- entry is another.
CREATE FUNCTION {s}.next_segment(of_term bigint, me text, process bigint, at_idx bigint, at_chain bytea)
RETURNS smallint LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  here smallint;
  following smallint;
  ends boolean;
BEGIN
  SELECT segment INTO here FROM {s}.lease
    WHERE one AND term = of_term AND holder = me AND incarnation = process AND nominee IS NULL FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  EXECUTE format('SELECT idx = $1 AND chain = $2 FROM {s}.entries_%s ORDER BY idx DESC LIMIT 1', here)
    INTO ends USING at_idx, at_chain;
  IF ends IS DISTINCT FROM true THEN RETURN NULL; END IF;
  following := (here + 1) % 8;
  IF EXISTS (SELECT FROM {s}.segment WHERE segment = following) THEN RETURN here; END IF;
  INSERT INTO {s}.segment SELECT following, max(number) + 1, at_idx, at_chain FROM {s}.segment;
  UPDATE {s}.lease SET segment = following;
  RETURN following;
END $$;

-- Marks a snapshot whose parts are all there.
CREATE FUNCTION {s}.complete_snapshot(which bigint)
RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  PERFORM FROM {s}.cluster WHERE one FOR NO KEY UPDATE;     -- trim waits, and knows the snapshot then
  UPDATE {s}.snapshot s SET complete = true WHERE id = which AND NOT EXISTS (
    SELECT FROM unnest(s.digests, s.sizes) AS file(digest, size)
    WHERE size <> (SELECT coalesce(sum(octet_length(p.body)), 0) FROM {s}.snapshot_part p WHERE p.digest = file.digest));
  RETURN FOUND;
END $$;

-- The holder frees the oldest table of entries, if the newest snapshot contains them all; else snapshots and parts that
-- are no longer needed. True if it freed something.
CREATE FUNCTION {s}.trim(of_term bigint, me text, process bigint)
RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  oldest {s}.segment;
  through bigint;
  newest {s}.snapshot;
  freed bigint;
BEGIN
  PERFORM FROM {s}.lease WHERE one AND term = of_term AND holder = me AND incarnation = process FOR SHARE;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM FROM {s}.cluster WHERE one FOR NO KEY UPDATE;
  SELECT s.* INTO newest FROM {s}.snapshot s JOIN {s}.cluster c USING (generation)
    WHERE s.complete ORDER BY s.idx DESC LIMIT 1;
  IF NOT FOUND THEN RETURN false; END IF;
  SELECT * INTO oldest FROM {s}.segment ORDER BY number LIMIT 1;
  SELECT min(after_idx) INTO through FROM {s}.segment WHERE number > oldest.number;
  IF through <= newest.idx THEN
    BEGIN
      -- Never in line: readers that come later would wait behind it.
      EXECUTE format('LOCK TABLE ONLY {s}.entries_%s IN ACCESS EXCLUSIVE MODE NOWAIT', oldest.segment);
      EXECUTE format('TRUNCATE ONLY {s}.entries_%s', oldest.segment);
      DELETE FROM {s}.segment WHERE number = oldest.number;
      RETURN true;
    EXCEPTION WHEN lock_not_available THEN NULL;
    END;
  END IF;
  DELETE FROM {s}.snapshot s WHERE (s.generation, s.idx, s.id) < (newest.generation, newest.idx, newest.id)
    AND (NOT s.complete OR s.id NOT IN (
      SELECT id FROM {s}.snapshot WHERE complete ORDER BY generation DESC, idx DESC, id DESC LIMIT 2));
  DELETE FROM {s}.snapshot_part WHERE (digest, part) IN (
    SELECT digest, part FROM {s}.snapshot_part p
    WHERE NOT EXISTS (SELECT FROM {s}.snapshot s WHERE p.digest = ANY (s.digests)) LIMIT 16);
  GET DIAGNOSTICS freed = ROW_COUNT;
  RETURN freed > 0;
END $$;

"#;

const GRANTS: &str = r#"GRANT USAGE ON SCHEMA {s} TO "{role}";
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA {s} TO "{role}";
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {s} TO "{role}";
"#;
