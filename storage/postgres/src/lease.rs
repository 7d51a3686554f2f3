//! The lease row, the sessions that the database sees, and the rows of the servers.

use baton_replica::shared::{LeaseRow, LogError, Nominee, ServerRow, Sessions};
use tokio_postgres::Row;

use crate::connect::session_name;
use crate::log::{Parameters, PostgresLog};
use crate::rows::{get, number, position, server};

impl PostgresLog {
    pub(crate) async fn lease_row(&self) -> Result<LeaseRow, LogError> {
        let row = self.session.read.client()?.query_one(&self.reads.look, &[]).await;
        let row = row.map_err(|error| self.failed(&error))?;
        let holder: &str = get(&row, 1)?;
        Ok(LeaseRow {
            term: number(&row, 0)?,
            holder: if holder.is_empty() { None } else { Some(server(holder)?) },
            incarnation: number(&row, 2)?,
            beat: number(&row, 3)?,
            nominee: match get::<Option<&str>>(&row, 4)? {
                None => Nominee::None,
                Some("") => Nominee::Anybody,
                Some(name) => Nominee::Server(server(name)?),
            },
        })
    }

    pub(crate) async fn acquire_lease(
        &self,
        (term, beat): (u64, u64),
        above: u64,
        takes_over: bool,
    ) -> Result<Option<LeaseRow>, LogError> {
        let (name, incarnation) = (self.name(), self.incarnation());
        let (term, beat, above) = (term.cast_signed(), beat.cast_signed(), above.cast_signed());
        let client = self.session.write.client()?;
        let parameters: Parameters<6> = [&name, &incarnation, &term, &beat, &above, &takes_over];
        let row = self.write(client.query_opt(&self.writes.acquire, &parameters)).await?;
        let Some(row) = row else { return Ok(None) };
        self.line.lock().await.segment = None;
        Ok(Some(LeaseRow {
            term: number(&row, 0)?,
            holder: Some(self.who.server.clone()),
            incarnation: self.who.incarnation,
            beat: number(&row, 1)?,
            nominee: Nominee::None,
        }))
    }

    pub(crate) async fn sessions(&self, incarnation: u64) -> Result<Sessions, LogError> {
        let (theirs, ours) = (session_name(incarnation), session_name(self.who.incarnation));
        let own = self.session.processes.as_slice();
        let client = self.session.read.client()?;
        let row = client.query_one(&self.reads.sessions, &[&theirs, &ours, &own]).await;
        let row = row.map_err(|error| self.failed(&error))?;
        let [standby, working, all, seen] = [number(&row, 0)?, number(&row, 1)?, number(&row, 2)?, number(&row, 3)?];
        Ok(match (standby, working, all) {
            _ if seen < own.len() as u64 => Sessions::Unseen,
            (1.., _, _) => Sessions::WaitsForStandby,
            (_, 1.., _) => Sessions::Busy,
            (_, _, 1..) => Sessions::WaitsForClient,
            (0, 0, 0) => Sessions::Gone,
        })
    }

    pub(crate) async fn report_mine(&self, mine: ServerRow) -> Result<Vec<ServerRow>, LogError> {
        let (name, incarnation) = (mine.server.as_str(), mine.incarnation.cast_signed());
        let (applied, chain) = (mine.applied.index.cast_signed(), mine.applied.chain.0.to_be_bytes());
        let chain = chain.as_slice();
        let client = self.session.write.client()?;
        let parameters: Parameters<6> = [&name, &incarnation, &mine.address, &applied, &chain, &mine.program];
        let rows = self.write(client.query(&self.writes.report, &parameters)).await?;
        let server_row = |row: &Row| {
            Ok(ServerRow {
                server: server(get(row, 0)?)?,
                incarnation: number(row, 1)?,
                address: get::<&str>(row, 2)?.to_owned(),
                applied: position(row, 3)?,
                program: get::<&str>(row, 5)?.to_owned(),
            })
        };
        rows.iter().map(server_row).collect()
    }
}
