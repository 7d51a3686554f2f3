//! The status page, refreshed every two seconds.

use std::fmt::Write;

use baton_client::protocol::{ServerStatus, Status};
use baton_domain::clock::unix_ms;
use baton_domain::{Assistance, Role, ServerName};

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Baton</title><style>\
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ddd}\
.good{color:#0a7d33;font-weight:600}.bad{color:#b3261e;font-weight:600}.quiet{color:#666}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}th,td{border-color:#333}.good{color:#5ed18a}.bad{color:#ff8a80}}\
</style></head><body>";

/// The page.
pub(super) fn page(status: &Status) -> String {
    let engine = &status.engine;
    let started = engine.state == "started";
    let mut html = HEAD.to_owned();
    let host = engine.server.as_ref().map(|name| format!(" on {}", escaped(name.as_str()))).unwrap_or_default();
    let epoch = engine.epoch.as_ref().map(|epoch| format!(", epoch {}", escaped(epoch))).unwrap_or_default();
    // Writing to a String does not fail.
    let _ = write!(
        html,
        "<h1>Baton</h1><p>The engine is <span class=\"{}\">{}</span>{host}{epoch}.<br><span class=\"quiet\">{}</span></p>",
        if started { "good" } else { "bad" },
        escaped(&engine.state),
        escaped(&engine.reason)
    );
    let quorum = &status.quorum;
    let _ = match &status.database {
        None => write!(
            html,
            "<p>Quorum: {} of the voters needed, <span class=\"{}\">{} up</span>.<br>Policy: {}.</p>",
            quorum.needed,
            if quorum.up >= quorum.needed { "good" } else { "bad" },
            quorum.up,
            escaped(&policy(status))
        ),
        Some(database) => write!(
            html,
            "<p>Store: <span class=\"{}\">{}</span>.<br>Policy: {}.</p>",
            if database.reached && database.regressed.is_none() { "good" } else { "bad" },
            escaped(&database.words()),
            escaped(&policy(status))
        ),
    };
    html += "<table><tr><th>Server</th><th>Role</th><th>Up</th><th>Engine</th><th>Store</th><th>Lag</th><th>Preference</th><th>Trouble</th></tr>";
    for server in &status.servers {
        html += &row(server);
    }
    html += "</table><p class=\"quiet\">Also here: <a href=\"/health\">/health</a>, <a href=\"/ready\">/ready</a>, <a href=\"/metrics\">/metrics</a></p></body></html>\n";
    html
}

fn row(server: &ServerStatus) -> String {
    let role = match server.role {
        Role::Server => "server",
        Role::Witness => "witness",
    };
    format!(
        "<tr><td>{}</td><td>{role}</td><td class=\"{}\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        escaped(server.name.as_str()),
        if server.up { "good" } else { "bad" },
        if server.up { "up" } else { "down" },
        escaped(&server.engine),
        if server.leader { "leads" } else { "" },
        server.lag.map_or_else(|| "unknown".to_owned(), |lag| lag.to_string()),
        server.preference.map(|place| place.to_string()).unwrap_or_default(),
        escaped(&server.remark(unix_ms()).unwrap_or_default())
    )
}

fn policy(status: &Status) -> String {
    let policy = &status.policy;
    let kind = match policy.assistance {
        Assistance::HighAvailability => "high-availability".to_owned(),
        Assistance::None if policy.preferred.is_empty() => "any available server".to_owned(),
        Assistance::None => policy.preferred.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", "),
    };
    [(policy.fail_back, ", fail back"), (policy.preferred_only, ", preferred only"), (policy.manual, ", manual")]
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(kind, |text, (_, word)| text + word)
}

/// Escapes text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
