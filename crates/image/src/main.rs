//! `image`: makes the manager's image, for `make image`, and proves that it can be made again. Not what is in it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Parser;
use trimtab_image::again;
use trimtab_image::development;
use trimtab_image::manager::{Made, mebibytes};
use trimtab_image::recipe::{self, Places};
use trimtab_image::sources::Sources;

/// Makes the image of trimtab-manager as an OCI archive, without a container engine.
#[derive(Debug, Parser)]
struct Args {
    /// Where the archive goes; by default `image` in Cargo's target folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Make it a second time elsewhere and compare: all of it is built twice.
    #[arg(long)]
    twice: bool,
    /// Make one of the manager as tests have it built, in seconds: unoptimised, with this machine's libraries, for clusters on
    /// this machine.
    #[arg(long, conflicts_with = "twice")]
    development: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let places = Places::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    let out = args.out.unwrap_or_else(|| places.target.join("image"));
    if args.development {
        println!("{}", development::make(&places, &out)?.display());
        return Ok(());
    }
    let sources = Sources::of(&places.workspace)?;
    let made = recipe::make(&places, &sources, &out)?;
    tell(&made, &sources);
    if args.twice {
        eprintln!("\nonce more, from a copy of the sources in another folder");
        let again = again::elsewhere(&places, &sources)?;
        again::compare(&made, &again)?;
        println!("the same to the bit: {}", again.digest);
    }
    Ok(())
}

fn tell(made: &Made, sources: &Sources) {
    let built_from = match (&sources.commit, sources.dirty) {
        (None, _) => "unknown: the sources are no git checkout, so the image names no revision".to_owned(),
        (Some(commit), false) => commit.clone(),
        (Some(commit), true) => format!("{commit}, with changes that are in no commit"),
    };
    println!("{}", made.reference);
    println!("  digest    {}", made.digest);
    println!("  commit    {built_from}");
    println!("  archive   {}, {}", made.archive.display(), mebibytes(made.sizes.0));
    println!("  contents  {} (CycloneDX; attached to the image too)", made.contents.display());
    println!("  program   {}, static", mebibytes(made.sizes.1));
    println!("onto a local cluster: trimtab local load-image {}", made.archive.display());
}
