//! What of a build is worth keeping elsewhere.

use std::collections::BTreeMap;

use rbuild_layer::{LayerId, LayerStore};
use rbuild_solver::{CacheKey, KeyInputs, Record};
use rbuild_store::Table;

use super::Results;
use crate::Result;
use crate::remote::layer_of;

/// A result of a step.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Names under which it is found: rung and cache key.
    pub keys: Vec<String>,
    pub identity: CacheKey,
    pub layer: LayerId,
    pub cost_ms: u64,
    pub inputs: KeyInputs,
    /// Whether its layer is one of the result.
    pub in_result: bool,
}

/// Collects what a build used and made; each result once, with all its keys.
pub(crate) fn wanted(layers: &LayerStore, results: &Results<'_>) -> Result<Vec<Wanted>> {
    let store = layers.store();
    let mut by_record: BTreeMap<&[u8], Wanted> = BTreeMap::new();
    for (key, used) in results.used {
        let name = format!("{}{key}", results.rung);
        if let Some(known) = by_record.get_mut(used.record.as_slice()) {
            known.keys.push(name);
            continue;
        }
        let Some(record) = Record::decode(&used.record) else {
            continue;
        };
        let Some(layer) = layer_of(&record.saved) else {
            continue;
        };
        // Of one that was found what its key was made of lies beside the record.
        let inputs = match &used.inputs {
            Some(inputs) => Some(inputs.clone()),
            None => store
                .get(Table::Steps, &name)?
                .and_then(|row| serde_json::from_slice(&row).ok()),
        };
        let Some(inputs) = inputs else {
            continue;
        };
        let mut keys = vec![name];
        keys.extend(content_name(layers, results.rung, (&record, &used.record))?);
        let cost = store.cost_of(&layer.to_string())?;
        let wanted = Wanted {
            keys,
            identity: record.identity,
            layer,
            cost_ms: cost.map_or(0, |cost| {
                u64::try_from(cost.as_millis()).unwrap_or(u64::MAX)
            }),
            inputs,
            in_result: results.in_result.contains(&layer),
        };
        by_record.insert(&used.record, wanted);
    }
    let mut all: Vec<Wanted> = by_record.into_values().collect();
    for one in &mut all {
        one.keys.sort();
        one.keys.dedup();
        one.keys.truncate(2);
    }
    Ok(all)
}

/// The name under which the content key leads to the same record: a build that hits by the chain key never
/// makes the other. A result that was not forced has its content key as identity.
fn content_name(
    layers: &LayerStore,
    rung: &str,
    (record, bytes): (&Record, &[u8]),
) -> Result<Option<String>> {
    let name = format!("{rung}{}", record.identity);
    let row = layers.store().get(Table::Records, &name)?;
    Ok(row.filter(|row| row == bytes).map(|_| name))
}
