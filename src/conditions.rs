//! Conditions of a status. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Sets the condition `kind` to (status, reason, message); its transition time moves only with its
/// status.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    (status, reason, message): (&str, &str, &str),
    generation: Option<i64>,
    now: Timestamp,
) {
    let old = conditions.iter_mut().find(|condition| condition.type_ == kind);
    let since = old
        .as_ref()
        .filter(|old| old.status == status)
        .map_or_else(|| Time(whole_seconds(now)), |old| old.last_transition_time.clone());
    let condition = Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match old {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}

/// As times go over the wire: what is written must equal what is read back.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
