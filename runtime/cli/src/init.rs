//! `baton init`: creates the files of a new cluster.

use std::fmt;
use std::path::{Path, PathBuf};

use baton::config::defaults;
use baton::database::{Created, Database, Schema, sql};
use baton::layout::Layout;
use clap::Args;

use super::survival::survival;
use super::{Failure, output};

/// Witnesses of a cluster that keeps replicas, unless the options say otherwise.
const WITNESSES: u16 = 2;

/// Options of `baton init`.
#[derive(Debug, Clone, Args)]
pub(super) struct InitArgs {
    /// Target directory; must be absent or empty
    dir: PathBuf,
    /// Number of servers: they store, vote and can host the engine
    #[arg(long, default_value_t = 3)]
    servers: u16,
    /// Number of witnesses: they store and vote, and never host the engine; default: 2, and none with --database
    #[arg(long)]
    witnesses: Option<u16>,
    /// First port; HTTP ports are 100 higher
    #[arg(long, default_value_t = defaults::BASE_PORT)]
    base_port: u16,
    /// One host per member, servers first; default: all on 127.0.0.1
    #[arg(long, value_delimiter = ',', value_name = "HOST,..")]
    hosts: Option<Vec<String>>,
    /// Create a certificate authority and one certificate per member, and use mutual TLS
    #[arg(long)]
    tls: bool,
    /// Keep the log in PostgreSQL: postgresql://USER[:PASSWORD]@HOST[:PORT]/DATABASE
    #[arg(long, value_name = "URL")]
    database: Option<DatabaseUrl>,
    /// Schema of the cluster's tables
    #[arg(long, requires = "database", default_value = defaults::database::SCHEMA)]
    schema: String,
    /// Print the statements that create the tables, for an administrator of the database, and do nothing else
    #[arg(long, requires = "database")]
    sql: bool,
}

/// A URL that may hold a password. It is parsed later: errors of options repeat their values.
#[derive(Clone)]
pub(super) struct DatabaseUrl(pub(super) String);

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

pub(super) async fn run(args: InitArgs) -> Result<(), Failure> {
    let database = args.database.as_ref().map(|DatabaseUrl(url)| database(url, &args.schema)).transpose()?;
    if let Some(database) = database.as_ref().filter(|_| args.sql) {
        return output::print(&sql(database.schema(), database.user()));
    }
    let witnesses = args.witnesses.unwrap_or(if database.is_some() { 0 } else { WITNESSES });
    let plan = Layout::plan(args.servers, witnesses).base_port(args.base_port).tls(args.tls);
    let plan = match &args.hosts {
        Some(hosts) => plan.hosts(hosts),
        None => plan,
    };
    let layout = plan.layout()?;
    let created = match database {
        Some(database) => Some(layout.write_with_database(&args.dir, database).await?),
        None => layout.write(&args.dir).map(|()| None)?,
    };
    output::print(&told(&args.dir, &layout, &args, created.as_ref()))
}

/// The database of that URL.
pub(super) fn database(url: &str, schema: &str) -> Result<Database, Failure> {
    let parsed = Schema::parse(schema).and_then(|schema| Ok(Database::parse(url)?.with_schema(schema)));
    parsed.map_err(|error| Failure::new(error.to_string()))
}

/// The result and the next steps.
fn told(dir: &Path, layout: &Layout, args: &InitArgs, created: Option<&Created>) -> String {
    let rows: Vec<Vec<String>> = layout
        .members()
        .iter()
        .map(|planned| {
            vec![
                planned.name.to_string(),
                planned.address.clone(),
                planned.http.clone(),
                dir.join(format!("{}.toml", planned.name)).display().to_string(),
            ]
        })
        .collect();
    let (servers, witnesses) = layout.counts();
    let first = dir.join(format!("{}.toml", layout.members()[0].name));
    let cluster = dir.join("cluster.toml");
    let mut text = output::table(&["MEMBER", "ADDRESS", "HTTP", "FILE"], &rows);
    text += &match created {
        Some(created) => kept_in_database(servers, created, args),
        None => format!("\n{servers} + {witnesses}: {}\n", survival(servers, witnesses).words()),
    };
    let tls = args.tls;
    if args.hosts.is_some() {
        text += match created {
            Some(_) if dir.join("database.password").exists() => {
                "copy to each host: its own .toml file, cluster.toml, server.secrets and database.password"
            }
            Some(_) => "copy to each host: its own .toml file, cluster.toml and server.secrets",
            None => "copy to each host: its own .toml file and directory, cluster.toml and server.secrets",
        };
        text += if tls { ", and from tls/: ca.pem and its own .pem and .key\n" } else { "\n" };
    }
    text += &format!(
        "start each:   baton server {}\nthen:         baton status --cluster {}\nclients need: cluster.toml and cookie{}\n",
        first.display(),
        cluster.display(),
        if tls { ", tls/ca.pem, tls/client.pem and tls/client.key" } else { "" }
    );
    text
}

/// Failures that a cluster survives whose log is in a database.
fn kept_in_database(servers: usize, created: &Created, args: &InitArgs) -> String {
    let Created { name, standby, .. } = created;
    let failures = match servers - 1 {
        0 => "no failure of the server".to_owned(),
        1 => "the failure of any 1 server".to_owned(),
        spare => format!("the failure of any {spare} servers, also at once"),
    };
    let standby = if standby.is_empty() {
        "it has no synchronous standby, so its own failover may lose confirmed messages".to_owned()
    } else {
        format!("its synchronous standby: {standby}")
    };
    format!("\nlog in {name}, schema {}: survives {failures}, while the database works\n{standby}\n", args.schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_says_names_the_failures_that_the_layout_survives() {
        let layout = Layout::plan(3, 2).layout().unwrap();
        let args = InitArgs {
            dir: "DIR".into(),
            servers: 3,
            witnesses: None,
            base_port: defaults::BASE_PORT,
            hosts: None,
            tls: false,
            database: None,
            schema: defaults::database::SCHEMA.to_owned(),
            sql: false,
        };
        let text = told(Path::new("DIR"), &layout, &args, None);
        assert!(text.contains("3 + 2: survives any 2 failures, also at once"), "{text}");
        assert!(text.contains("witness2  127.0.0.1:7104  127.0.0.1:7204  DIR/witness2.toml"), "{text}");
    }
}
