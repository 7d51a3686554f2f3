//! Writes and reads settings of a queue and of the policy, one operation at a time.

use std::time::Duration;

use baton::actors::protocol::{DirectoryReply, DirectoryRequest};
use baton::client::{ClientError, SettingsPatch};
use baton::{Client, Policy, QueueName};
use baton_domain::PolicyChange;
use baton_tools::torture::{Dice, Event};
use tokio::signal::unix::Signal;

use crate::{Failure, argument, ended, number};

/// Between two operations, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 20..250;

/// A register in the settings of a queue, its maximum number of messages: no two writes have the same number.
pub(crate) async fn settings(client: &Client, arguments: &[String], end: &mut Signal) -> Result<(), Failure> {
    let (queue, name) = (QueueName::new(argument(arguments, 0)?)?, argument(arguments, 1)?);
    let mut dice = Dice::new(number(arguments, 2)?);
    let register = format!("settings of {queue}");
    // Apart for each process by its name, and large enough never to be in anybody's way.
    let first = 1_000_000 * (1 + name.bytes().fold(0, |sum: u64, byte| sum * 31 % 9_973 + u64::from(byte)));
    for turn in 0.. {
        if dice.once_in(2) {
            let value = first + turn;
            Event::Asking { register: register.clone(), write: Some((0, value.to_string())) }.print();
            let settings = SettingsPatch::default().max_messages(value);
            answered(client.configure(&queue, settings, None).await.map(|_| None));
        } else {
            Event::Asking { register: register.clone(), write: None }.print();
            let find = |queues: Vec<baton::client::QueueStatus>| queues.into_iter().find(|it| it.name == queue);
            let seen = client.queues().await.map(find);
            answered(seen.map(|seen| seen.map(|queue| vec![queue.settings.max_messages.to_string()])));
        }
        if pause(&mut dice, end).await {
            break;
        }
    }
    Ok(())
}

/// Two fields of the policy, each written alone; the answer tells both.
pub(crate) async fn policy(client: &Client, arguments: &[String], end: &mut Signal) -> Result<(), Failure> {
    let register = argument(arguments, 0)?.to_owned();
    let mut dice = Dice::new(number(arguments, 1)?);
    loop {
        let value = dice.once_in(2);
        let (field, change) = if dice.once_in(2) {
            (0, PolicyChange { fail_back: Some(value), ..PolicyChange::default() })
        } else {
            (1, PolicyChange { preferred_only: Some(value), ..PolicyChange::default() })
        };
        Event::Asking { register: register.clone(), write: Some((field, value.to_string())) }.print();
        let saw = |policy: Policy| Some(vec![policy.fail_back.to_string(), policy.preferred_only.to_string()]);
        match client.admin(DirectoryRequest::ChangePolicy(change)).await {
            Ok(DirectoryReply::Policy(policy)) => Event::Answered { saw: saw(policy) }.print(),
            // Some refusals come after the change was proposed.
            Ok(other) => Event::Unanswered { why: format!("{other:?}") }.print(),
            Err(error) => Event::Unanswered { why: error.to_string() }.print(),
        }
        if pause(&mut dice, end).await {
            return Ok(());
        }
    }
}

fn answered(answer: Result<Option<Vec<String>>, ClientError>) {
    match answer {
        Ok(saw) => Event::Answered { saw }.print(),
        Err(error) => Event::Unanswered { why: error.to_string() }.print(),
    }
}

/// Waits a while; true after SIGTERM.
async fn pause(dice: &mut Dice, end: &mut Signal) -> bool {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(dice.within(PAUSE_MS))) => false,
        () = ended(end) => true,
    }
}
