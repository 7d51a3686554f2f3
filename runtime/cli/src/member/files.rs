//! The files of an added server, as `baton init` would have written them.

use std::path::{Path, PathBuf};

use baton::config::{ClusterConfig, MemberConfig, bracketed, defaults, member_text, server_file_text, split_address};
use baton::layout::{CERTIFICATES, file, interface, issue};
use baton_domain::ServerName;

use crate::Failure;

/// The files to write, next to the cluster file.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    cluster_file: PathBuf,
    member: MemberConfig,
    listen: String,
    http_listen: String,
    /// True if the cluster uses TLS and its authority's key is here.
    tls: bool,
    /// `[database]` as another server's file has it; empty where replicas keep the log.
    database: String,
}

impl Files {
    /// Checks that everything needed for the files is there.
    pub(super) fn beside(cluster_file: Option<&Path>, member: &MemberConfig) -> Result<Self, Failure> {
        let cluster_file =
            cluster_file.ok_or_else(|| Failure::new("--write needs --cluster FILE: it writes next to that file"))?;
        let dir = cluster_file.parent().map(Path::to_owned).unwrap_or_default();
        let (host, port) = split_address(&member.address)?;
        let http = port.checked_add(defaults::HTTP_PORT_OFFSET).ok_or_else(|| {
            Failure::new(format!(
                "{}: the HTTP port is {} higher: choose a lower port",
                member.address,
                defaults::HTTP_PORT_OFFSET
            ))
        })?;
        let all = interface(host);
        let files = Self {
            member: member.clone().http(format!("{}:{http}", bracketed(host))),
            listen: format!("{all}:{port}"),
            http_listen: format!("{all}:{http}"),
            tls: dir.join(CERTIFICATES).exists(),
            database: database_of_others(cluster_file),
            cluster_file: cluster_file.to_owned(),
            dir,
        };
        for needed in [files.secrets()].into_iter().chain(files.tls.then(|| files.authority())) {
            if !needed.exists() {
                return Err(Failure::new(format!("--write needs {}, written by `baton init`", needed.display())));
            }
        }
        if files.server_file().exists() {
            return Err(Failure::new(format!(
                "{} already exists: run the command without --write",
                files.server_file().display()
            )));
        }
        // A server whose file contradicts the list of members would not start.
        if let Some(listed) = listed(cluster_file, &member.name).filter(|listed| !is_same(listed, member)) {
            return Err(Failure::new(format!(
                "{} lists {} with another address or role ({}): correct or delete that [[member]] first",
                cluster_file.display(),
                listed.name,
                listed.address
            )));
        }
        Ok(files)
    }

    fn unusable(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("{}: {error}", self.cluster_file.display()))
    }

    fn secrets(&self) -> PathBuf {
        self.dir.join("server.secrets")
    }

    fn authority(&self) -> PathBuf {
        self.dir.join(CERTIFICATES).join("ca.key")
    }

    fn server_file(&self) -> PathBuf {
        self.dir.join(format!("{}.toml", self.member.name))
    }

    /// Writes the files; returns the next steps as text.
    pub(super) fn write(&self) -> Result<String, Failure> {
        let name = &self.member.name;
        let directory = self.tls.then_some(CERTIFICATES);
        let text = server_file_text(&self.member, &self.listen, &self.http_listen, directory) + &self.database;
        file(&self.server_file(), 0o644, &text)?;
        // A member that was removed and returns has its certificate.
        if self.tls && !self.dir.join(CERTIFICATES).join(format!("{name}.key")).exists() {
            issue(&self.dir, name.as_str())?;
        }
        let text = std::fs::read_to_string(&self.cluster_file).map_err(|error| self.unusable(&error))?;
        if listed(&self.cluster_file, name).is_none() {
            std::fs::write(&self.cluster_file, text + &member_text(&self.member))
                .map_err(|error| self.unusable(&error))?;
        }
        let more = if self.tls { format!(", and from tls/ ca.pem, {name}.pem and {name}.key") } else { String::new() };
        let password = if self.database.contains("password_file") { ", database.password" } else { "" };
        Ok(format!(
            "written: {} and its entry in {}\nnext: copy {name}.toml, cluster.toml{password} and server.secrets to its host{more}, and \
             start it there: baton server {name}.toml\n",
            self.server_file().display(),
            self.cluster_file.display()
        ))
    }
}

/// The files that name a member: the cluster file, and the member's own file next to it.
pub(super) fn naming(cluster_file: Option<&Path>, name: &ServerName) -> Vec<PathBuf> {
    let Some(cluster_file) = cluster_file else { return Vec::new() };
    let in_list = listed(cluster_file, name).map(|_| cluster_file.to_owned());
    let own = cluster_file.with_file_name(format!("{name}.toml"));
    in_list.into_iter().chain(own.exists().then_some(own)).collect()
}

/// The table `[database]` of the first server file beside the cluster file that has one.
fn database_of_others(cluster_file: &Path) -> String {
    let members = ClusterConfig::load(cluster_file).map(|config| config.members).unwrap_or_default();
    let table = |text: String| {
        let from = text.find("\n[database]")?;
        let table = &text[from..];
        let end = table[2..].find("\n[").map_or(table.len(), |end| end + 3);
        Some(table[..end].to_owned())
    };
    let files = members.iter().map(|member| cluster_file.with_file_name(format!("{}.toml", member.name)));
    files.filter_map(|file| std::fs::read_to_string(file).ok()).find_map(table).unwrap_or_default()
}

/// A member's entry in the cluster file; a file that cannot be read has none, and was reported before.
fn listed(cluster_file: &Path, name: &ServerName) -> Option<MemberConfig> {
    ClusterConfig::load(cluster_file).ok()?.members.into_iter().find(|member| member.name == *name)
}

fn is_same(one: &MemberConfig, other: &MemberConfig) -> bool {
    (one.role, &one.address) == (other.role, &other.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton::config::ServerConfig;
    use baton_domain::Role;

    fn member(address: &str) -> MemberConfig {
        let name = ServerName::new("server4").unwrap();
        MemberConfig::new(name, Role::Server, address)
    }

    #[test]
    fn a_server_starts_from_the_files_that_were_written_for_it() {
        for tls in [false, true] {
            let temp = tempfile::tempdir().unwrap();
            let dir = temp.path().join("c");
            let layout = baton::layout::Layout::loopback(2, &[7100, 7101], &[7200, 7201]).unwrap();
            layout.with_tls(tls).write(&dir).unwrap();
            let cluster_file = dir.join("cluster.toml");
            let files = Files::beside(Some(&cluster_file), &member("10.0.0.4:7104")).unwrap();
            let told = files.write().unwrap();
            assert!(told.contains("baton server server4.toml") && told.contains("server4.key") == tls, "{told}");
            let config = ServerConfig::load(&dir.join("server4.toml")).unwrap();
            assert_eq!((config.listen.as_str(), config.http.as_str()), ("10.0.0.4:7104", "10.0.0.4:7204"));
            assert_eq!((config.members.len(), config.tls.is_some()), (3, tls));
            let again = Files::beside(Some(&cluster_file), &member("10.0.0.4:7104")).unwrap_err();
            assert!(again.to_string().contains("already exists"), "{again}");

            let (own, name) = (dir.join("server4.toml"), ServerName::new("server4").unwrap());
            assert_eq!(naming(Some(&cluster_file), &name), [cluster_file.clone(), own.clone()]);
            std::fs::remove_file(&own).unwrap();
            assert_eq!(naming(Some(&cluster_file), &name), std::slice::from_ref(&cluster_file));
            assert!(naming(Some(&cluster_file), &ServerName::new("server9").unwrap()).is_empty());
            Files::beside(Some(&cluster_file), &member("10.0.0.4:7104")).unwrap().write().unwrap();
            std::fs::remove_file(&own).unwrap();
            let elsewhere = Files::beside(Some(&cluster_file), &member("10.0.0.9:7104")).unwrap_err();
            assert!(elsewhere.to_string().contains("lists server4 with another address"), "{elsewhere}");
        }
    }

    #[test]
    fn a_server_over_a_database_gets_the_table_of_the_others() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("c");
        baton::layout::Layout::loopback(2, &[7100, 7101], &[7200, 7201]).unwrap().write(&dir).unwrap();
        let table = "\n[database]\nurl = \"postgresql://baton@localhost/x\"\nlease_ms = 1500\n";
        let other = dir.join("server2.toml");
        std::fs::write(&other, std::fs::read_to_string(&other).unwrap() + table + "\n[timing]\n").unwrap();
        let files = Files::beside(Some(&dir.join("cluster.toml")), &member("10.0.0.4:7104")).unwrap();
        files.write().unwrap();
        let config = ServerConfig::load(&dir.join("server4.toml")).unwrap();
        let written = ServerConfig::load(&other).unwrap();
        assert_eq!(config.database.as_ref().map(|database| database.lease_ms), Some(1500));
        assert_eq!(config.database, written.database);
    }

    #[test]
    fn what_is_missing_for_the_files_is_said() {
        let temp = tempfile::tempdir().unwrap();
        let cluster_file = temp.path().join("cluster.toml");
        let why = |file, address: &str| Files::beside(file, &member(address)).unwrap_err().to_string();
        assert!(why(None, "h:1").contains("--cluster FILE"));
        assert!(why(Some(&cluster_file), "h:1").contains("server.secrets"));
        assert!(why(Some(&cluster_file), "h:65500").contains("100 higher"));
    }
}
