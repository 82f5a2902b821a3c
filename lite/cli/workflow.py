"""`ipvm workflow`: run steps that await each other, and look after their runs."""

from __future__ import annotations

import click

from lite.cli.command import VerbGroup

VERBS = {
    "run": "workflow_go:run",
    "check": "workflow_look:check",
    "graph": "workflow_look:graph",
    "list": "workflow_runs:list_",
    "show": "workflow_runs:show",
    "resume": "workflow_go:resume",
    "cancel": "workflow_runs:cancel",
    "schema": "workflow_look:schema",
    "prefetch": "workflow_prefetch:prefetch",
}
"""Every verb of the group, with the module under `lite.cli` and the name in it."""


class WorkflowGroup(VerbGroup):
    """Verbs that are imported one by one, because each needs something else."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, attribute = VERBS[cmd_name].split(":")
        loaded = __import__(f"lite.cli.{module}", fromlist=[attribute])
        found: click.Command = getattr(loaded, attribute)
        return found


workflow = WorkflowGroup(
    "workflow",
    help="Run steps that await each other's results: shared work once, and on after a crash.",
    example="ipvm workflow run thumbs.yaml\nipvm workflow resume 7f3a",
    no_args_is_help=True,
)
