//! `baton queue create|delete|list`.

use baton_actors::protocol::QueueStatus;
use baton_storage::QueueName;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::target::Target;
use super::{Failure, output, session};

/// Options of `baton queue`.
#[derive(Debug, Clone, Args)]
pub(super) struct QueueArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Create a queue; it is no error if it is there
    Create {
        /// Its name
        queue: QueueName,
    },
    /// Delete a queue and all that it holds
    Delete {
        /// Its name
        queue: QueueName,
    },
    /// List the queues
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: QueueArgs) -> Result<(), Failure> {
    let client = session::connect(&args.target, session::FAIL_OVER).await?;
    match args.action {
        Action::Create { queue } => {
            let created = client.create_queue(&queue).await?;
            output::print(&format!("{queue} {}\n", if created { "is created" } else { "was there already" }))?;
        }
        Action::Delete { queue } => {
            client.delete_queue(&queue).await?;
            output::print(&format!("{queue} is deleted\n"))?;
        }
        Action::List { json: true } => output::print_json(&as_json(&client.queues().await?))?,
        Action::List { json: false } => output::print(&as_text(&client.queues().await?))?,
    }
    client.close().await;
    Ok(())
}

/// The contract for scripts: an array, by name.
fn as_json(queues: &[QueueStatus]) -> Value {
    let one = |queue: &QueueStatus| {
        json!({
            "name": queue.name, "depth": queue.depth, "in_flight": queue.in_flight, "consumers": queue.consumers,
        })
    };
    queues.iter().map(one).collect()
}

fn as_text(queues: &[QueueStatus]) -> String {
    let one = |queue: &QueueStatus| {
        let numbers = [queue.depth, queue.in_flight, queue.consumers].map(|number| number.to_string());
        [queue.name.to_string()].into_iter().chain(numbers).collect()
    };
    let rows: Vec<Vec<String>> = queues.iter().map(one).collect();
    output::table(&["QUEUE", ">DEPTH", ">IN FLIGHT", ">CONSUMERS"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_shows_depth_in_flight_and_consumers() {
        let queue = QueueStatus { name: QueueName::new("orders").unwrap(), depth: 1200, in_flight: 3, consumers: 1 };
        assert_eq!(
            as_json(std::slice::from_ref(&queue)),
            json!([{"name": "orders", "depth": 1200, "in_flight": 3, "consumers": 1}])
        );
        assert_eq!(as_text(&[queue]), "QUEUE   DEPTH  IN FLIGHT  CONSUMERS\norders   1200          3          1\n");
        assert_eq!(as_json(&[]), json!([]));
    }
}
