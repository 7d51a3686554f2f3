//! Columns of rows as values. A column that has no such value means a damaged database.

use baton_domain::ServerName;
use baton_replica::shared::{Chain, LogError, Position};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::schema::SEGMENTS;

pub(crate) fn damaged(why: &str) -> LogError {
    LogError::Damaged(why.to_owned())
}

/// A column.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, LogError> {
    row.try_get(column).map_err(|error| damaged(&error.to_string()))
}

/// A number, which the database knows as a signed one.
pub(crate) fn number(row: &Row, column: usize) -> Result<u64, LogError> {
    get::<i64>(row, column).map(i64::cast_unsigned)
}

/// 16 bytes as a number.
pub(crate) fn hash(bytes: &[u8]) -> Result<u128, LogError> {
    let bytes = bytes.try_into().map_err(|_| damaged("a hash is not of 16 bytes"))?;
    Ok(u128::from_be_bytes(bytes))
}

pub(crate) fn chain(bytes: &[u8]) -> Result<Chain, LogError> {
    hash(bytes).map(Chain)
}

/// An index in this column, and its chain in the next one.
pub(crate) fn position(row: &Row, column: usize) -> Result<Position, LogError> {
    Ok(Position { index: number(row, column)?, chain: chain(get(row, column + 1)?)? })
}

pub(crate) fn server(name: &str) -> Result<ServerName, LogError> {
    ServerName::new(name).map_err(|error| damaged(&error.to_string()))
}

/// A table of entries.
pub(crate) fn table(number: i16) -> Result<usize, LogError> {
    let table = usize::try_from(number).ok().filter(|&table| table < SEGMENTS);
    table.ok_or_else(|| damaged("there is no such table of entries"))
}
