//! What a request asks the applications on its way to do: the header [`PLAN`], which every application forwards.
//!
//! ```text
//! x-plan: database=503; backend=mask; frontend=delay:20; database/slow=delay:50
//! ```
//!
//! A path behind the name restricts an action to requests of that path.

use anyhow::{Context as _, Result, bail};
use std::str::FromStr;
use std::time::Duration;

/// Name of the header.
pub const PLAN: &str = "x-plan";

/// Name of a header that has one application add a header to its answer; it may be repeated, and everybody forwards it.
///
/// ```text
/// x-answer: backend server-timing: db;dur=53
/// ```
pub const ANSWER: &str = "x-answer";

/// Actions by application, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<(String, Action)>,
}

/// What one application does to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `503`: answers with the status, without calling anybody.
    Status(u16),
    /// `once:503`: the same, but only to the first attempt of a request (by `x-request-id`).
    Once(u16),
    /// `grpc:14`: answers with a message and the gRPC status in trailers, without calling anybody.
    Grpc(u32),
    /// `trailers-only:14`: answers with the gRPC status in the headers and nothing else.
    TrailersOnly(u32),
    /// `close`: ends the connection in order instead of answering.
    Close,
    /// `reset`: resets the connection (HTTP/1.1) or the stream (HTTP/2) instead of answering.
    Reset,
    /// `cut`: answers 200 and resets within the body.
    Cut,
    /// `mask`: answers 200 although somebody it called has failed.
    Mask,
    /// `delay:20`: waits so many milliseconds first.
    Delay(Duration),
    /// `hang`: calls the others, then never answers.
    Hang,
    /// `early`: answers 200 and a part of the body, calls the others, then ends the body.
    Early,
}

// === impl Plan ===

impl Plan {
    /// Nothing special.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an action.
    #[must_use]
    pub fn with(mut self, application: &str, action: Action) -> Self {
        self.steps.push((application.to_owned(), action));
        self
    }

    /// All actions of one application.
    pub fn actions(&self, application: &str) -> impl Iterator<Item = Action> {
        self.steps.iter().filter(move |(name, _)| name == application).map(|(_, action)| *action)
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, (application, action)) in self.steps.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{application}={action}")?;
        }
        Ok(())
    }
}

impl FromStr for Plan {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut plan = Self::new();
        for step in text.split(';').map(str::trim).filter(|step| !step.is_empty()) {
            let (application, action) = step.split_once('=').with_context(|| format!("plan step {step:?}"))?;
            plan.steps.push((application.to_owned(), action.parse()?));
        }
        Ok(plan)
    }
}

// === impl Action ===

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(code) => write!(f, "{code}"),
            Self::Once(code) => write!(f, "once:{code}"),
            Self::Grpc(code) => write!(f, "grpc:{code}"),
            Self::TrailersOnly(code) => write!(f, "trailers-only:{code}"),
            Self::Close => f.write_str("close"),
            Self::Reset => f.write_str("reset"),
            Self::Cut => f.write_str("cut"),
            Self::Mask => f.write_str("mask"),
            Self::Delay(delay) => write!(f, "delay:{}", delay.as_millis()),
            Self::Hang => f.write_str("hang"),
            Self::Early => f.write_str("early"),
        }
    }
}

impl FromStr for Action {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.split_once(':') {
            Some(("once", code)) => Self::Once(code.parse()?),
            Some(("grpc", code)) => Self::Grpc(code.parse()?),
            Some(("trailers-only", code)) => Self::TrailersOnly(code.parse()?),
            Some(("delay", millis)) => Self::Delay(Duration::from_millis(millis.parse()?)),
            Some(_) => bail!("plan action {text:?}"),
            None => match text {
                "close" => Self::Close,
                "reset" => Self::Reset,
                "cut" => Self::Cut,
                "mask" => Self::Mask,
                "hang" => Self::Hang,
                "early" => Self::Early,
                code => Self::Status(code.parse().with_context(|| format!("plan action {text:?}"))?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_is_written() {
        let actions = [
            Action::Status(503),
            Action::Once(503),
            Action::Grpc(14),
            Action::TrailersOnly(14),
            Action::Close,
            Action::Reset,
            Action::Cut,
            Action::Mask,
            Action::Delay(Duration::from_millis(20)),
            Action::Hang,
            Action::Early,
        ];
        let plan = actions.iter().fold(Plan::new(), |plan, action| plan.with("backend", *action));
        assert_eq!(
            plan.to_string(),
            "backend=503; backend=once:503; backend=grpc:14; backend=trailers-only:14; backend=close; backend=reset; backend=cut; \
                                      backend=mask; backend=delay:20; backend=hang; backend=early"
        );
        assert_eq!(plan.to_string().parse::<Plan>().expect("valid"), plan);
        assert_eq!(plan.actions("backend").collect::<Vec<_>>(), actions);
        assert_eq!(plan.actions("frontend").count(), 0);
        for bad in ["backend", "backend=sometimes", "backend=delay:x", "backend=99999999"] {
            assert!(bad.parse::<Plan>().is_err(), "{bad}");
        }
    }
}
