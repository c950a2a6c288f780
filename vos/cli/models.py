"""``vos models``."""

from __future__ import annotations

import click

from vos.cli.tables import table


@click.command("models")
@click.option(
    "--details",
    is_flag=True,
    help="Also print the address, size, SHA-256 and local path of each file.",
)
def models_command(details: bool) -> None:
    """List the models: size, licence, cached or not."""
    from vos.sam.weights.download import cache_folder, cached_file
    from vos.sam.weights.registry import FEATURES, MODELS
    from vos.track.registry import NETWORKS

    rows = [("name", "download", "input", "licence", "state", "about")]
    notes = []
    for spec in (*MODELS.values(), *FEATURES.values(), *NETWORKS.values()):
        if spec.url is None:
            size, state = "none", "embedded"
        else:
            size, state = spec.size_text, "cached" if cached_file(spec) else "not cached"
        input_size = "any size" if spec.image_size is None else f"{spec.image_size} px"
        about = spec.description if spec.extra is None else f"{spec.description} [{spec.extra}]"
        rows.append((spec.name, size, input_size, spec.licence, state, about))
        notes += [
            "",
            spec.name,
            f"  published accuracy  {spec.accuracy or 'none'}",
            f"  address             {spec.url or 'in the package'}",
            f"  bytes               {spec.num_bytes or 'unknown'}",
            f"  SHA-256             {spec.sha256 or 'unknown'}",
        ]
        if spec.url is not None:
            notes.append(f"  file                {cache_folder() / spec.file_name}")
    click.echo(table(rows, align="<"))
    click.echo("[models] needs pip install 'vos-persam[models]', [cutie] 'vos-persam[cutie]'")
    if details:
        click.echo("\n".join(notes))
