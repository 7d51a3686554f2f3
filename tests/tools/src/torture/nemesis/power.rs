//! Loss of power, and kills of a server while it takes a snapshot or purges its log.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use baton_tests::clock::Deadline;

use super::{HealStep, Nemesis};
use crate::torture::dice::Dice;
use crate::torture::history::FaultRecord;
use crate::torture::lab::PURGES;

/// Wait for the begin of a snapshot or a purge.
const HOUSEKEEPING: Duration = Duration::from_secs(15);
/// Interval of the checks.
const LOOK: Duration = Duration::from_millis(1);
/// Files whose losses a remark lists.
const NAMED: usize = 4;

impl Nemesis<'_> {
    /// Kills members all at once and removes their unsynced bytes.
    pub(super) fn power_loss(&mut self, victims: &[String], dice: &mut Dice, done: &mut FaultRecord) -> Vec<HealStep> {
        // Half of the time the disks are slow before: then more is on its way to them.
        let slow = dice.once_in(2).then(|| dice.within(30..300));
        if let Some(ms) = slow {
            let slowed = victims.iter().try_for_each(|name| self.lab.slow_sync(name, Some(ms)));
            done.notes.push(slowed.map_or_else(|why| why, |()| format!("{ms} ms a sync before")));
            std::thread::sleep(Duration::from_millis(dice.within(200..1_200)));
        }
        self.lab.kill(victims);
        if slow.is_some() {
            for name in victims {
                // It is absent where slow disks are not possible here; said above.
                let _ = self.lab.slow_sync(name, None);
            }
        }
        self.lose_unsynced(victims, dice, done);
        victims.iter().cloned().map(HealStep::Start).collect()
    }

    /// Removes the unsynced bytes of members that do not run.
    fn lose_unsynced(&mut self, victims: &[String], dice: &mut Dice, done: &mut FaultRecord) {
        for name in victims {
            match self.lab.lose_unsynced(name, dice) {
                Ok(loss) => {
                    done.lost_bytes += loss.bytes;
                    let (files, more) = (loss.files.iter().take(NAMED), loss.files.len().saturating_sub(NAMED));
                    done.notes.push(format!("{name} lost {} bytes", loss.bytes));
                    done.notes.extend(files.cloned());
                    if more > 0 {
                        done.notes.push(format!("and of {more} more files"));
                    }
                }
                Err(why) => done.notes.push(format!("not made: {why}")),
            }
        }
    }

    /// Kills a member soon after a snapshot or a purge was begun; half of the time it loses its power, and half of the time
    /// it is killed once more while it starts.
    pub(super) fn kill_at_purge(
        &mut self,
        victims: &[String],
        dice: &mut Dice,
        done: &mut FaultRecord,
    ) -> Result<Vec<HealStep>, String> {
        let victim = victims.first().map_or("", String::as_str);
        let (purge, delay_ms) = (dice.once_in(2), dice.within(0..12));
        let seen = if purge { purge_begins(self.lab.log(victim)) } else { snapshot_begins(self.lab.store(victim)) };
        std::thread::sleep(Duration::from_millis(delay_ms));
        self.lab.kill(victims);
        let what = if purge { "a purge" } else { "a snapshot" };
        done.notes.push(if seen { format!("{delay_ms} ms after {what} began") } else { format!("{what} never began") });
        if dice.once_in(2) {
            self.lose_unsynced(victims, dice, done);
        }
        if dice.once_in(2) {
            victims.iter().try_for_each(|name| self.lab.start_member(name))?;
            let start_ms = dice.within(0..500);
            std::thread::sleep(Duration::from_millis(start_ms));
            self.lab.kill(victims);
            done.notes.push(format!("killed again {start_ms} ms after its start"));
            if dice.once_in(2) {
                self.lose_unsynced(victims, dice, done);
            }
        }
        Ok(victims.iter().cloned().map(HealStep::Start).collect())
    }
}

/// Waits until a snapshot is begun in a store, and says whether it was.
fn snapshot_begins(store: &Path) -> bool {
    let snapshots = || -> BTreeSet<String> {
        let entries = std::fs::read_dir(store).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("snapshot-")).collect()
    };
    let before = snapshots();
    Deadline::within(HOUSEKEEPING).poll(LOOK, || !snapshots().is_subset(&before))
}

/// Waits until a member's log says that it purges its Raft log, and says whether it did.
fn purge_begins(log: &Path) -> bool {
    let Ok(mut log) = File::open(log) else { return false };
    if log.seek(SeekFrom::End(0)).is_err() {
        return false;
    }
    let mut text = String::new();
    Deadline::within(HOUSEKEEPING).poll(LOOK, || {
        let mut bytes = Vec::new();
        // A file that cannot be read now is read the next time.
        let _ = log.read_to_end(&mut bytes);
        text.push_str(&String::from_utf8_lossy(&bytes));
        let found = text.contains(PURGES);
        // The last line may be a part of one.
        text.drain(..text.rfind('\n').map_or(0, |end| end + 1));
        found
    })
}
