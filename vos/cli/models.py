"""``vos models``."""

from __future__ import annotations

import click

from vos.cli.tables import table


@click.command("models")
def models_command() -> None:
    """List the models: size, licence, cached or not."""
    from vos.sam.weights.download import cached_file
    from vos.sam.weights.registry import MODELS
    from vos.track.registry import NETWORKS

    rows = [("name", "download", "licence", "state", "about")]
    for spec in (*MODELS.values(), *NETWORKS.values()):
        if spec.url is None:
            size, state = "none", "embedded"
        else:
            size, state = spec.size_text, "cached" if cached_file(spec) else "not cached"
        rows.append((spec.name, size, spec.licence, state, spec.description))
    click.echo(table(rows, align="<"))
