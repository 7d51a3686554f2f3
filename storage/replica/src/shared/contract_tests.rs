//! The simulated log keeps the contract of a shared log.

use baton_domain::ClusterId;

use super::contract::{self, Subject, for_each_rule};
use super::log::SharedLogs;
use super::simulated::{CLUSTER, SimulatedLog};

impl Subject for SimulatedLog {
    fn logs(&self) -> &dyn SharedLogs {
        self
    }

    fn cluster(&self) -> ClusterId {
        CLUSTER
    }
}

macro_rules! rule {
    ($rule:ident) => {
        #[tokio::test(start_paused = true)]
        async fn $rule() {
            contract::$rule(&SimulatedLog::new(1)).await;
        }
    };
}

for_each_rule!(rule);
