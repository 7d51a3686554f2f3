//! The creation of a cluster's tables, once.

use baton_domain::ClusterId;
use baton_replica::shared::LogError;

use crate::config::Database;
use crate::connect::{Created, administer};
use crate::errors::{Effect, is_forbidden, is_missing, log_error};
use crate::schema::{FORMAT, cluster_row, hex, sql, with_schema};

const ROWS: &str = r"INSERT INTO {s}.segment VALUES (0, 0, 0, decode(repeat('00', 16), 'hex'));
INSERT INTO {s}.lease (term, holder, incarnation, beat, segment) VALUES (0, '', 0, 0, 0);
INSERT INTO {s}.cluster (format, cluster, genesis)
  VALUES ({format}, decode('{cluster}', 'hex'), decode('{genesis}', 'hex'));
";

/// Creates the tables of a new cluster, unless an administrator has done so, and writes its id and its beginning. Returns
/// the database's name.
///
/// # Errors
/// [`LogError::Foreign`] if the schema belongs to a cluster already; [`LogError::Refused`] with what to do.
pub async fn create(database: &Database, cluster: ClusterId, genesis: &[u8]) -> Result<Created, LogError> {
    let (link, created) = administer(database).await?;
    let client = link.client()?;
    let schema = database.schema();
    let failed = |error| log_error(&error, Effect::None);
    let there = match client.query_opt(&cluster_row(schema), &[]).await {
        Ok(Some(row)) => {
            let other = row.try_get::<_, &[u8]>(1).map_err(failed)?;
            let why = format!("the schema {schema} belongs to the cluster {}: use another schema", hex(other));
            return Err(LogError::Foreign(why));
        }
        Ok(None) => true,
        Err(error) if is_missing(&error) => false,
        Err(error) => return Err(failed(error)),
    };
    let tables = if there { String::new() } else { sql(schema, &database.user) };
    let rows = with_schema(ROWS, schema)
        .replace("{format}", &FORMAT.to_string())
        .replace("{cluster}", &hex(&cluster.0))
        .replace("{genesis}", &hex(genesis));
    match client.batch_execute(&format!("BEGIN;\n{tables}{rows}COMMIT;")).await {
        Ok(()) => Ok(created),
        Err(error) if is_forbidden(&error) => Err(LogError::Refused(format!(
            "the role {} may not create the schema {schema}: GRANT CREATE ON DATABASE, or let an administrator run the \
             output of `baton init --sql`",
            database.user
        ))),
        Err(error) => Err(failed(error)),
    }
}
