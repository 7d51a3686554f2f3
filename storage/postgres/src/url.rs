//! The parts of a database's URL. No text of this module contains a password.

/// Parameters of a URL that may be used; PostgreSQL's documentation of libpq describes them.
const PARAMETERS: &str = "host, port, user, dbname, sslmode, sslrootcert, target_session_attrs=read-write";

/// The kinds of proof that a server of the database gives of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SslMode {
    /// TLS, except on this machine.
    Default,
    VerifyFull,
    Disable,
}

/// The parts of a URL, split as tokio-postgres splits it, so that both agree what the password is.
pub(crate) struct UrlParts<'a> {
    user: Option<&'a str>,
    password: Option<&'a str>,
    rest: &'a str,
    passed: Vec<&'a str>,
    own: Vec<&'a str>,
    pub(crate) ssl_mode: SslMode,
    pub(crate) ca_file: Option<&'a str>,
}

impl<'a> UrlParts<'a> {
    pub(crate) fn split(url: &'a str) -> Result<Self, String> {
        let refused = |why: &str| why.to_owned();
        let text = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"));
        let text = text.ok_or_else(|| refused("it starts with postgresql://"))?;
        let (credentials, rest) = match text.split_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, text),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.contains('@') {
            return Err(refused("it contains @ twice: write %40 for an @ in a name or a password"));
        }
        let (user, password) = match credentials.map(|text| text.split_once(':').ok_or(text)) {
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        let (passed, own) = (Vec::new(), Vec::new());
        let mut parts = Self { user, password, rest, passed, own, ssl_mode: SslMode::Default, ca_file: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            parts.parameter(parameter)?;
        }
        Ok(parts)
    }

    fn parameter(&mut self, parameter: &'a str) -> Result<(), String> {
        let refused = Err;
        match parameter.split_once('=') {
            Some(("host" | "port" | "user" | "dbname", _)) => {
                self.passed.push(parameter);
                return Ok(());
            }
            Some(("password", _)) => return refused("the password goes between the user and the @".to_owned()),
            Some(("sslmode", "verify-full")) => self.ssl_mode = SslMode::VerifyFull,
            Some(("sslmode", "disable")) => self.ssl_mode = SslMode::Disable,
            Some(("sslmode", _)) => {
                return refused("sslmode is verify-full or disable: the others do not prove who answers".to_owned());
            }
            Some(("sslrootcert", file)) if !file.starts_with('/') => {
                return refused("sslrootcert is an absolute path".to_owned());
            }
            Some(("sslrootcert", file)) => self.ca_file = Some(file),
            Some(("target_session_attrs", "read-write")) => {}
            _ => return refused(format!("a parameter is not one of {PARAMETERS}")),
        }
        self.own.push(parameter);
        Ok(())
    }

    fn text(&self, credentials: &str, parameters: &[&str]) -> String {
        let at = if credentials.is_empty() { "" } else { "@" };
        let query = if parameters.is_empty() { "" } else { "?" };
        format!("postgresql://{credentials}{at}{}{query}{}", self.rest, parameters.join("&"))
    }

    pub(crate) fn for_postgres(&self) -> String {
        let user = self.user.unwrap_or_default();
        match self.password {
            Some(password) => self.text(&format!("{user}:{password}"), &self.passed),
            None => self.text(user, &self.passed),
        }
    }

    pub(crate) fn without_password(&self) -> String {
        let parameters: Vec<&str> = self.passed.iter().chain(&self.own).copied().collect();
        self.text(self.user.unwrap_or_default(), &parameters)
    }
}
