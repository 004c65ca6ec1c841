"""Options that several commands have."""

from __future__ import annotations

import click


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    ctx.meta["json"] = value  # errors are told accordingly
    return value


as_json = click.option(
    "--json", "as_json", is_flag=True, callback=_remember, help="Print JSON, for machines."
)
