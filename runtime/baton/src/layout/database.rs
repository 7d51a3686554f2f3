//! A new cluster whose log is in a database: configuration files without stores, and tables in place of them.

use std::path::Path;

use baton_postgres::{Created, Database, create};

use super::files::file;
use super::{Layout, LayoutError, clear, genesis, take_empty, write_files};
use crate::config::database_text;

/// The name of the password's file, next to the files that name it.
const PASSWORD: &str = "database.password";

impl Layout {
    /// Writes configuration and secrets to a directory, which must be absent or empty, and creates the log in the database:
    /// the files of [`Layout::write`] without the stores, which the servers fill from the log. A password in the URL goes
    /// to the file `database.password`. After an error the directory is empty.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub async fn write_with_database(&self, dir: &Path, database: Database) -> Result<Created, LayoutError> {
        if self.counts().1 > 0 {
            return Err(LayoutError::Witnesses);
        }
        take_empty(dir)?;
        let outcome = fill(dir, self, database).await;
        if outcome.is_err() {
            clear(dir);
        }
        outcome
    }
}

async fn fill(dir: &Path, layout: &Layout, mut database: Database) -> Result<Created, LayoutError> {
    let password = database.take_password();
    let name = password.as_ref().map(|_| PASSWORD);
    if let Some(password) = password {
        let password = password.text();
        file(&dir.join(PASSWORD), 0o600, password)?;
        database = database.with_password_file(&dir.join(PASSWORD));
    }
    let more = database_text(database.url(), database.schema().name(), name);
    let cluster = write_files(dir, layout, &more)?;
    // Last: an error before leaves nothing in the database.
    create(&database, cluster, &genesis(layout).to_bytes()?).await.map_err(LayoutError::Log)
}
