//! `spinectl cluster recover`: a cluster that lost its majority for good goes on from the nodes at the endpoints, and from no
//! others. Which they are is no choice to make by chance.
//!
//! With several: 1 look at each, 2 decide, so that what is missing is known before anything is touched, 3 hold each, 4 decide
//! again from what cannot change any more, 5 each begins. Where one is in the new incarnation already, an earlier try of this
//! command broke off at 5: the others get the plan from there.

use serde_json::{Value, json};
use spine_client::SpineClient;
use spine_proto::admin::v1::recover_step_request::Step;
use spine_proto::admin::v1::{
    RecoverDecision, RecoverLook, RecoverStepRequest, RecoverStepResponse, RecoverSurvivor, RecoveredShard,
};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, table, talk};

pub(crate) async fn run(context: &Context, client: &SpineClient, accepted: bool) -> Result<Exit, Failure> {
    if client.endpoints().is_empty() {
        return Err(Failure::usage(
            "name the nodes to go on from: --endpoints HOST:PORT,...",
        ));
    }
    if !accepted {
        return Err(Failure::usage(
            "what only the lost nodes had is lost for good; say --accept-data-loss",
        ));
    }
    let (incarnation, shards) = match client.endpoints() {
        [only] => {
            let admin = client.admin(only.as_str())?.with_deadline(context.timeout());
            let done = admin.recover_cluster().await?;
            (done.incarnation, done.shards)
        }
        _ => Survivors { context, client }.go_on().await?,
    };
    show(context, incarnation, &shards)?;
    Ok(Exit::Ok)
}

/// Takes a hold back at every endpoint. One that is not held was not come to by the earlier try, or was released before.
pub(crate) async fn release(context: &Context, client: &SpineClient) -> Result<Exit, Failure> {
    let survivors = Survivors { context, client };
    for endpoint in client.endpoints() {
        match survivors.ask(endpoint.as_str(), &[], Step::Release(true)).await {
            Ok(_) => talk(format_args!("{endpoint} ends; start it again")),
            Err(error) if error.reason == "NOT_HELD" => {
                talk(format_args!("{endpoint} is not held and stays as it is"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Exit::Ok)
}

struct Survivors<'a> {
    context: &'a Context,
    client: &'a SpineClient,
}

impl Survivors<'_> {
    async fn go_on(&self) -> Result<(u32, Vec<RecoveredShard>), Failure> {
        let seen = self.look(&[], false).await?;
        let newest = seen.iter().map(|(_, node)| node.incarnation).max().unwrap_or(0);
        let ids: Vec<u64> = seen.iter().map(|(_, node)| node.node_id).collect();
        let begun = seen.iter().find(|(_, node)| node.incarnation == newest);
        if let Some((at, first)) = begun
            && seen.iter().any(|(_, node)| node.incarnation < newest)
        {
            talk(format_args!(
                "{at} is in incarnation {newest} already: the others go on with its plan"
            ));
            let late = seen.iter().filter(|(_, node)| node.incarnation < newest);
            for (address, _) in late {
                self.begin(address, &ids, first).await?;
            }
            return Ok((newest, Vec::new()));
        }
        self.decide(&seen).await?;
        let held = match self.look(&ids, true).await {
            Ok(held) => held,
            Err(failure) => {
                talk(format_args!(
                    "nothing was ordered; nodes that are held stay so: give the command again, or the same with --release"
                ));
                return Err(failure);
            }
        };
        let next = self.decide(&held).await?;
        for (address, _) in &held {
            self.begin(address, &ids, &next).await?;
        }
        Ok((next.incarnation, next.shards))
    }

    /// What each has; all must answer.
    async fn look(
        &self,
        survivors: &[u64],
        hold: bool,
    ) -> Result<Vec<(String, RecoverStepResponse)>, Failure> {
        let mut seen = Vec::new();
        for endpoint in self.client.endpoints() {
            let look = Step::Look(RecoverLook { hold });
            let answer = self.step(endpoint.as_str(), survivors, look).await?;
            seen.push((endpoint.to_string(), answer));
        }
        Ok(seen)
    }

    /// By the one that follows the newest plan.
    async fn decide(&self, seen: &[(String, RecoverStepResponse)]) -> Result<RecoverStepResponse, Failure> {
        let (address, _) = seen
            .iter()
            .max_by_key(|(_, node)| node.plan_epoch)
            .ok_or_else(|| Failure::usage("no endpoints"))?;
        let survivors = seen.iter().map(|(_, node)| RecoverSurvivor {
            node_id: node.node_id,
            replicas: node.replicas.clone(),
        });
        let decision = RecoverDecision {
            survivors: survivors.collect(),
        };
        self.step(address, &[], Step::Decide(decision)).await
    }

    async fn begin(
        &self,
        address: &str,
        survivors: &[u64],
        next: &RecoverStepResponse,
    ) -> Result<(), Failure> {
        let done = self
            .step(address, survivors, Step::Begin(next.plan.clone()))
            .await;
        if done.is_err() {
            talk(format_args!(
                "{address} has not begun incarnation {}: give the same command again, with the same endpoints, once all of \
                 them have been started",
                next.incarnation
            ));
        }
        done.map(drop)
    }

    async fn step(
        &self,
        address: &str,
        survivors: &[u64],
        step: Step,
    ) -> Result<RecoverStepResponse, Failure> {
        Ok(self.ask(address, survivors, step).await?)
    }

    async fn ask(
        &self,
        address: &str,
        survivors: &[u64],
        step: Step,
    ) -> spine_client::Result<RecoverStepResponse> {
        let admin = self.client.admin(address)?.with_deadline(self.context.timeout());
        let request = RecoverStepRequest {
            accept_data_loss: true,
            survivors: survivors.to_vec(),
            step: Some(step),
        };
        admin.recover_step(&request).await
    }
}

fn show(context: &Context, incarnation: u32, shards: &[RecoveredShard]) -> Result<(), Failure> {
    let each: Vec<Value> = shards
        .iter()
        .map(|shard| {
            json!({
                "shard": shard.shard,
                "node_id": shard.node_id,
                "last_index": shard.last_index,
                "last_term": shard.last_term,
                "committed_index": shard.committed_index,
                "complete": shard.complete,
            })
        })
        .collect();
    let json = json!({ "incarnation": incarnation, "shards": each });
    emit(context.format, &json, || {
        let header = [
            "SHARD",
            "FROM NODE",
            "LAST INDEX",
            "LAST TERM",
            "KNOWN COMMITTED",
            "KEPT BEYOND",
            "MAY BE LOST",
        ];
        let rows = shards.iter().map(|shard| {
            let beyond = shard.last_index.saturating_sub(shard.committed_index);
            let lost = if shard.complete {
                "nothing".to_owned()
            } else {
                format!("after {}", shard.last_index)
            };
            [
                shard.shard.to_string(),
                shard.node_id.to_string(),
                shard.last_index.to_string(),
                shard.last_term.to_string(),
                shard.committed_index.to_string(),
                beyond.to_string(),
                lost,
            ]
        });
        let told = if shards.is_empty() {
            String::new()
        } else {
            table(header, rows) + "\n"
        };
        format!(
            "{told}Incarnation {incarnation} begins with this. What only the lost nodes had is lost. Start the nodes that it \
             goes on from again, then add others: spinectl node add"
        )
    })
}
