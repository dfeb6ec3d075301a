//! `highwater plan`: what a round of a job would do, and why.

use super::args::Plan;
use super::run::{find, prepare};
use super::{Context, config, journals, preview, work};
use crate::error::{Kind, Result};

/// Shows it. Reads both sides and the journal; changes none of them.
pub async fn run(context: &Context, args: &Plan) -> Result<u8> {
    let config = match config::load(context) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            context.show.mistakes(&errors);
            return Ok(Kind::Usage.exit_code());
        }
    };
    let job = find(&config, &args.job)?;
    let state = journals::state_dir(context)?;
    let (journal, id) = work::to_read(&state, &job.name).await?;
    let (spec, reach) = prepare(&config, job, &state, &journal).await?;
    preview::show(context, spec, &journal, id, reach).await?;
    Ok(0)
}
