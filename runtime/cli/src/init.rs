//! `baton init`: creates the files of a new cluster.

use std::path::{Path, PathBuf};

use baton::config::defaults;
use baton::layout::Layout;
use clap::Args;

use super::survival::survival;
use super::{Failure, output};

/// Options of `baton init`.
#[derive(Debug, Clone, Args)]
pub(super) struct InitArgs {
    /// Target directory; must be absent or empty
    dir: PathBuf,
    /// Number of servers: they store, vote and can host the engine
    #[arg(long, default_value_t = 3)]
    servers: u16,
    /// Number of witnesses: they store and vote, and never host the engine
    #[arg(long, default_value_t = 2)]
    witnesses: u16,
    /// First port; HTTP ports are 100 higher
    #[arg(long, default_value_t = defaults::BASE_PORT)]
    base_port: u16,
    /// One host per member, servers first; default: all on 127.0.0.1
    #[arg(long, value_delimiter = ',', value_name = "HOST,..")]
    hosts: Option<Vec<String>>,
    /// Create a certificate authority and one certificate per member, and use mutual TLS
    #[arg(long)]
    tls: bool,
}

pub(super) fn run(args: &InitArgs) -> Result<(), Failure> {
    let plan = Layout::plan(args.servers, args.witnesses).base_port(args.base_port).tls(args.tls);
    let plan = match &args.hosts {
        Some(hosts) => plan.hosts(hosts),
        None => plan,
    };
    let layout = plan.layout()?;
    layout.write(&args.dir)?;
    output::print(&told(&args.dir, &layout, args.hosts.is_some(), args.tls))
}

/// The result and the next steps.
fn told(dir: &Path, layout: &Layout, hosts: bool, tls: bool) -> String {
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
    text += &format!("\n{servers} + {witnesses}: {}\n", survival(servers, witnesses).words());
    if hosts {
        text += "copy to each host: its own .toml file and directory, cluster.toml and server.secrets";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_says_names_the_failures_that_the_layout_survives() {
        let layout = Layout::plan(3, 2).layout().unwrap();
        let text = told(Path::new("DIR"), &layout, false, false);
        assert!(text.contains("3 + 2: survives any 2 failures, also at once"), "{text}");
        assert!(text.contains("witness2  127.0.0.1:7104  127.0.0.1:7204  DIR/witness2.toml"), "{text}");
    }
}
