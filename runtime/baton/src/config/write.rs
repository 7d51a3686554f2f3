//! The files that `init` writes.

use std::fmt::Write;

use baton_domain::{ClusterId, Role};

use super::{MemberConfig, Secrets};

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Server => "server",
        Role::Witness => "witness",
    }
}

/// `cluster.toml`. `tls` names the directory with the certificates, relative to the file.
#[must_use]
pub fn cluster_file_text(cluster: ClusterId, members: &[MemberConfig], tls: Option<&str>) -> String {
    let mut text = format!(
        "# Baton cluster: for clients, and the servers' list of members. Paths are relative to this file.\n\
         cluster = \"{cluster}\"\n\
         # The secret of all processes that may connect; only the file's owner may read it.\n\
         cookie = \"cookie\"\n"
    );
    // Writing to a String does not fail.
    if let Some(dir) = tls {
        let _ = write!(text, "\n{}", tls_table(dir, "client"));
    }
    members.iter().fold(text, |text, member| text + &member_text(member))
}

/// The entry of one member in `cluster.toml`.
#[must_use]
pub fn member_text(member: &MemberConfig) -> String {
    let MemberConfig { name, role, address, http } = member;
    let role = role_word(*role);
    let http = http.as_ref().map(|http| format!("http = \"{http}\"\n")).unwrap_or_default();
    format!("\n[[member]]\nname = \"{name}\"\nrole = \"{role}\"\naddress = \"{address}\"\n{http}")
}

/// `serverN.toml` or `witnessN.toml`.
#[must_use]
pub fn server_file_text(member: &MemberConfig, listen: &str, http: &str, tls: Option<&str>) -> String {
    let MemberConfig { name, role, address, .. } = member;
    let mut text = format!(
        "# Baton {name}. Start it with `baton server {name}.toml`. Paths are relative to this file.\n\
         name = \"{name}\"\n\
         role = \"{role}\"\n\
         # Address to listen on for servers and clients, and address for the other servers to dial.\n\
         listen = \"{listen}\"\n\
         advertise = \"{address}\"\n\
         # HTTP address: /health, /ready, /metrics and a status page.\n\
         http = \"{http}\"\n\
         # Directory of the store.\n\
         dir = \"{name}\"\n\
         # The list of members, and the secrets that servers share (only the file's owner may read them).\n\
         cluster = \"cluster.toml\"\n\
         secrets = \"server.secrets\"\n",
        role = role_word(*role),
    );
    if let Some(dir) = tls {
        let _ = write!(text, "\n{}", tls_table(dir, name.as_str()));
    }
    text
}

/// `[database]`, to follow [`server_file_text`]. `password_file` is a path relative to the file.
#[must_use]
pub fn database_text(url: &str, schema: &str, password_file: Option<&str>) -> String {
    let password = password_file.map(|file| format!("password_file = {}\n", quoted(file))).unwrap_or_default();
    format!(
        "\n# The PostgreSQL that keeps the log. The directory above is a copy, which can be deleted while the server is down.\n\
         [database]\nurl = {}\nschema = {}\n{password}",
        quoted(url),
        quoted(schema),
    )
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn tls_table(dir: &str, name: &str) -> String {
    format!("[tls]\nca = \"{dir}/ca.pem\"\ncert = \"{dir}/{name}.pem\"\nkey = \"{dir}/{name}.key\"\n")
}

/// `server.secrets`.
#[must_use]
pub fn secrets_file_text(secrets: &Secrets) -> String {
    format!(
        "# Secrets of the servers. Clients get only the cookie (the file `cookie`), never the key.\n\
         cookie = \"{}\"\nserver_key = \"{}\"\n",
        secrets.cookie.to_hex(),
        secrets.server_key.to_hex()
    )
}
