"""spadework's command line: each verb parses its options and calls one function of a package."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.errors import InputError

# Heavy modules (torch, ray, pyarrow) are imported inside the verbs, so that --help answers at once.

EXISTING = click.Path(path_type=Path)


class Verbs(click.Group):
    """Verbs in the order of the work, and one line with exit code 2 for a user's mistake."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are defined, which is the order in which they are used."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; an `InputError` ends in one line and exit code 2."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="spadework")
def main() -> None:
    """Turn label maps into photographs at scale, and prove how good they are."""


if __name__ == "__main__":
    main()
