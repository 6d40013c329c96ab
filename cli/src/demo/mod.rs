//! placeholder
use crate::{Exit, args::Demo};
pub async fn run(_: Demo) -> anyhow::Result<Exit> {
    Ok(Exit::Done)
}
pub mod manager {
    pub fn with_parent(_: u32, _: &[String]) -> anyhow::Result<crate::Exit> {
        Ok(crate::Exit::Done)
    }
}
