//! The pace of a rolling update: `maxSurge` and `maxUnavailable` in numbers, by the rules of a
//! Deployment (`k8s.io/apimachinery/pkg/util/intstr`, `k8s.io/kubernetes/pkg/controller/deployment/util`).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sandbox_api::RollingUpdate;

const DEFAULT: &str = "25%";

/// How many Sandboxes a rolling update may have too many, and too few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub max_surge: i32,
    pub max_unavailable: i32,
}

impl Pace {
    /// Both a quarter unless said otherwise. Never both 0: the update would stand still.
    pub fn of(rolling: Option<&RollingUpdate>, replicas: i32) -> Self {
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let max_surge = scaled(surge, replicas, true);
        let max_unavailable = scaled(unavailable, replicas, false).min(replicas.max(0));
        if max_surge == 0 && max_unavailable == 0 {
            return Self { max_surge, max_unavailable: 1 };
        }
        Self { max_surge, max_unavailable }
    }

    /// Whether it was asked for in so many words that nothing may move.
    pub(super) fn is_standstill(self, rolling: &RollingUpdate) -> bool {
        let zero = |value: &Option<IntOrString>| {
            value.as_ref().is_some_and(|value| match value {
                IntOrString::Int(number) => *number == 0,
                IntOrString::String(text) => percent(text) == Some(0),
            })
        };
        zero(&rolling.max_surge) && zero(&rolling.max_unavailable)
    }
}

fn scaled(value: Option<&IntOrString>, replicas: i32, up: bool) -> i32 {
    let text = match value {
        Some(IntOrString::Int(number)) => return (*number).max(0),
        Some(IntOrString::String(text)) => text.as_str(),
        None => DEFAULT,
    };
    let share = i64::from(replicas.max(0)) * i64::from(percent(text).unwrap_or_default());
    let number = if up { (share + 99) / 100 } else { share / 100 };
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn percent(text: &str) -> Option<i32> {
    let digits = text.strip_suffix('%')?;
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().unwrap_or(i32::MAX))
}

/// What is wrong with a number or share.
pub(super) fn check(value: &IntOrString, at_most_all: bool) -> Result<(), &'static str> {
    match value {
        IntOrString::Int(number) if *number < 0 => Err("must be greater than or equal to 0"),
        IntOrString::Int(_) => Ok(()),
        IntOrString::String(text) => match percent(text) {
            None => {
                Err("a valid percent string must be a numeric string followed by an ending '%' \
                 (e.g. '1%', or '93%', regex used for validation is '[0-9]+%')")
            }
            Some(share) if at_most_all && share > 100 => Err("must not be greater than 100%"),
            Some(_) => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_replicas() {
        let int = |number| Some(IntOrString::Int(number));
        let share = |text: &str| Some(IntOrString::String(text.into()));
        for (surge, unavailable, replicas, expected) in [
            (None, None, 10, (3, 2)),
            (None, None, 1, (1, 0)),
            (int(2), int(0), 10, (2, 0)),
            (int(0), share("10%"), 5, (0, 1)),
            (share("0%"), share("1%"), 5, (0, 1)),
            (share("100%"), share("100%"), 4, (4, 4)),
            (int(1), int(9), 4, (1, 4)),
            (None, None, 0, (0, 1)),
        ] {
            let rolling = RollingUpdate { max_surge: surge, max_unavailable: unavailable };
            let pace = Pace::of(Some(&rolling), replicas);
            assert_eq!((pace.max_surge, pace.max_unavailable), expected, "{rolling:?} {replicas}");
        }
    }
}
