//! `[database]` of a server file: the log that all servers reach, in PostgreSQL, in place of replicas.

use std::ops::RangeInclusive;
use std::path::PathBuf;

#[cfg(feature = "server")]
use baton_postgres::{Database, DatabaseError, Schema};
use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use super::defaults::database as defaults;
use super::error::ValueError;
use super::source::Source;

/// The servers' response to a database that lost entries which they still have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostTail {
    /// They put them back.
    #[default]
    Heal,
    /// The engine stays stopped until an operator decides.
    Refuse,
}

/// The database of a cluster, as one server reaches it. Times must be the same on all servers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseConfig {
    /// `postgresql://USER@HOST[:PORT][,HOST[:PORT]..]/DATABASE[?PARAMETER=VALUE&..]`, without a password.
    pub url: String,
    /// The file with the password, if one is needed.
    pub password_file: Option<PathBuf>,
    /// The schema of the cluster's tables.
    pub schema: String,
    /// [`defaults::LEASE_MS`].
    pub lease_ms: u64,
    /// [`defaults::RENEW_MS`].
    pub renew_ms: u64,
    /// [`defaults::MARGIN_MS`].
    pub margin_ms: u64,
    /// [`defaults::SUSPECT_MS`].
    pub suspect_ms: u64,
    /// [`defaults::PATIENCE_MS`].
    pub patience_ms: u64,
    /// [`defaults::MAX_BYTES`].
    pub max_bytes: u64,
    /// The response to a database that lost entries.
    pub lost_tail: LostTail,
}

impl DatabaseConfig {
    /// A database at a URL, with all defaults.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password_file: None,
            schema: defaults::SCHEMA.to_owned(),
            lease_ms: defaults::LEASE_MS,
            renew_ms: defaults::RENEW_MS,
            margin_ms: defaults::MARGIN_MS,
            suspect_ms: defaults::SUSPECT_MS,
            patience_ms: defaults::PATIENCE_MS,
            max_bytes: defaults::MAX_BYTES,
            lost_tail: LostTail::default(),
        }
    }

    /// Sets the file with the password.
    #[must_use]
    pub fn password_file(self, file: impl Into<PathBuf>) -> Self {
        Self { password_file: Some(file.into()), ..self }
    }

    /// Sets the schema.
    #[must_use]
    pub fn schema(self, schema: impl Into<String>) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), ValueError> {
        for (key, value, range) in self.ranges() {
            if !range.contains(&value) {
                let (least, most) = (range.start(), range.end());
                return Err(ValueError::new(
                    key,
                    format!("{} = {value} is out of range: use {least} to {most}", key[0]),
                ));
            }
        }
        if self.renew_ms.saturating_mul(3) > self.lease_ms.saturating_sub(self.margin_ms) {
            let why = format!(
                "lease_ms = {} is too short for renew_ms = {} and margin_ms = {}: use at least three times renew_ms, and \
                 margin_ms on top",
                self.lease_ms, self.renew_ms, self.margin_ms
            );
            return Err(ValueError::new(&["lease_ms", "renew_ms", "margin_ms"], why));
        }
        #[cfg(feature = "server")]
        self.database().map_err(|error| match error {
            DatabaseError::Schema(_) => ValueError::new(&["schema"], error.to_string()),
            other => ValueError::new(&["url"], other.to_string()),
        })?;
        Ok(())
    }

    fn ranges(&self) -> [(&'static [&'static str], u64, RangeInclusive<u64>); 6] {
        [
            (&["lease_ms"], self.lease_ms, 500..=60_000),
            (&["renew_ms"], self.renew_ms, 50..=10_000),
            (&["margin_ms"], self.margin_ms, 1..=10_000),
            (&["suspect_ms"], self.suspect_ms, 50..=60_000),
            (&["patience_ms"], self.patience_ms, 0..=3_600_000),
            (&["max_bytes"], self.max_bytes, 0..=u64::MAX / 2),
        ]
    }

    /// The database as the log's implementation knows it.
    ///
    /// # Errors
    /// [`DatabaseError`] for a URL or a schema that cannot be used. It repeats no password.
    #[cfg(feature = "server")]
    pub fn database(&self) -> Result<Database, DatabaseError> {
        let mut database = Database::parse(&self.url)?;
        if database.take_password().is_some() {
            let why = "it has a password: write that to a file of mode 600, and name the file as password_file";
            return Err(DatabaseError::Url(why.to_owned()));
        }
        let database = database.with_schema(Schema::parse(&self.schema)?);
        Ok(match &self.password_file {
            Some(file) => database.with_password_file(file),
            None => database,
        })
    }
}

/// `[database]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDatabase {
    url: Spanned<String>,
    password_file: Option<Spanned<String>>,
    schema: Option<Spanned<String>>,
    lease_ms: Option<Spanned<u64>>,
    renew_ms: Option<Spanned<u64>>,
    margin_ms: Option<Spanned<u64>>,
    suspect_ms: Option<Spanned<u64>>,
    patience_ms: Option<Spanned<u64>>,
    max_bytes: Option<Spanned<u64>>,
    #[serde(default)]
    lost_tail: LostTail,
}

impl RawDatabase {
    /// The values, checked.
    pub(super) fn check(&self, source: &Source) -> Result<DatabaseConfig, ConfigError> {
        let number =
            |written: &Option<Spanned<u64>>, default| written.as_ref().map_or(default, |value| *value.get_ref());
        let all = DatabaseConfig::new(self.url.get_ref());
        let config = DatabaseConfig {
            password_file: self.password_file.as_ref().map(|file| source.path(file.get_ref())),
            schema: self.schema.as_ref().map_or(all.schema, |schema| schema.get_ref().clone()),
            lease_ms: number(&self.lease_ms, all.lease_ms),
            renew_ms: number(&self.renew_ms, all.renew_ms),
            margin_ms: number(&self.margin_ms, all.margin_ms),
            suspect_ms: number(&self.suspect_ms, all.suspect_ms),
            patience_ms: number(&self.patience_ms, all.patience_ms),
            max_bytes: number(&self.max_bytes, all.max_bytes),
            lost_tail: self.lost_tail,
            url: all.url,
        };
        config.check().map_err(|error| source.reject(error, |key| self.place(key)))?;
        Ok(config)
    }

    fn place(&self, key: &str) -> Option<std::ops::Range<usize>> {
        let number = |written: &Option<Spanned<u64>>| written.as_ref().map(Spanned::span);
        match key {
            "url" => Some(self.url.span()),
            "schema" => self.schema.as_ref().map(Spanned::span),
            "lease_ms" => number(&self.lease_ms),
            "renew_ms" => number(&self.renew_ms),
            "margin_ms" => number(&self.margin_ms),
            "suspect_ms" => number(&self.suspect_ms),
            "patience_ms" => number(&self.patience_ms),
            "max_bytes" => number(&self.max_bytes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DatabaseConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("server1.toml");
        std::fs::write(&file, text).unwrap();
        let source = Source::read(&file).unwrap();
        let config = source.parse::<RawDatabase>().and_then(|raw| raw.check(&source));
        config.map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_read_with_its_defaults() {
        let url = "postgresql://baton@localhost/x";
        let config = read(&format!("url = \"{url}\"\npassword_file = \"a.password\"")).unwrap();
        assert!(config.password_file.clone().unwrap().ends_with("a.password"));
        assert_eq!(DatabaseConfig { password_file: None, ..config }, DatabaseConfig::new(url));
        let written = "schema = \"shop\"\nlease_ms = 1000\nrenew_ms = 100\nmax_bytes = 9\nlost_tail = \"refuse\"";
        let config = read(&format!("url = \"{url}\"\n{written}")).unwrap();
        assert_eq!((&config.schema[..], config.lease_ms, config.lost_tail), ("shop", 1000, LostTail::Refuse));
    }

    #[test]
    fn wrong_values_are_named_with_their_line() {
        for (wrong, why) in [
            ("lease_ms = 499", "server1.toml:2: lease_ms = 499 is out of range: use 500 to 60000"),
            ("lease_ms = 800", "server1.toml:2: lease_ms = 800 is too short for renew_ms = 250"),
            ("lost_tail = \"drop\"", "unknown variant `drop`, expected `heal` or `refuse`"),
            ("pooler = true", "unknown field `pooler`"),
        ] {
            let error = read(&format!("url = \"postgresql://baton@localhost/x\"\n{wrong}")).unwrap_err();
            assert!(error.contains(why), "{error}\n  not {why}");
        }
    }

    #[cfg(feature = "server")]
    #[test]
    fn a_url_is_checked_and_a_password_in_it_refused_and_not_repeated() {
        for (url, why) in [
            ("postgresql://baton:secret@localhost/x", "password_file"),
            ("postgresql://baton@db1/x", "db1:5432 is not on this machine"),
            ("baton", "it starts with postgresql://"),
        ] {
            let error = read(&format!("url = \"{url}\"")).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{error}\n  not {why}");
        }
        let error = read("url = \"postgresql://baton@localhost/x\"\nschema = \"A\"").unwrap_err();
        assert!(error.contains("server1.toml:2") && error.contains("no name for a schema"), "{error}");
    }
}
