"""The question about a plan outside the guard band, its answer carried on: Airflow's approval operator."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator


class PlanApproval(ApprovalOperator):
    """Waits for a person's word on one plan, without a slot; hands either answer on with the person's name.

    Airflow's own skips what comes after a rejection, but a rejection has to be brought to the core as well.
    Without an answer in time its default counts, with nobody's name.
    """

    def __init__(self, *, plan_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan_id = plan_id

    def skip(self, ti: Any, tasks: Any) -> None:
        """Skip nothing."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """{"plan_id", "approved", "by"} once there is an answer; by None: nobody's."""
        answer = super().execute_complete(context, event)
        user = answer["responded_by_user"] or {}
        return {
            "plan_id": self.plan_id,
            "approved": answer["chosen_options"] == [self.APPROVE],
            "by": user.get("name") or user.get("id"),
        }
