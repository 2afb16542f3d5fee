"""The question about a plan that needs a person, its answer carried on: Airflow's approval operator.

The question waits in Airflow (Required Actions) until the plan's deadline and takes no slot; the default is
Reject. The core rejects an overdue plan by itself, whether or not Airflow is there.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import TriggerRule, task


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


def ask_about(outcomes: Any) -> None:
    """The last tasks of a DAG: questions → ask → decide, for those plans of the outcomes that wait.

    outcomes: what a task (or the mapped ones together) returned of each plan, with its "plan_id" (None where
    no plan was made). People are asked about what is there even where some of these tasks failed; the leaf
    `nothing_failed` then makes the run fail all the same.
    """

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def questions(outcomes: list[dict[str, Any] | None] | None) -> list[dict[str, Any]]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.questions([told["plan_id"] for told in outcomes or [] if told and told["plan_id"]])

    @task(max_active_tis_per_dagrun=2)
    def decide(answer: dict[str, Any]) -> dict[str, Any]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.decide(answer["plan_id"], approved=answer["approved"], by=answer["by"])

    outcomes >> EmptyOperator(task_id="nothing_failed")
    asked = PlanApproval.partial(
        task_id="ask",
        defaults=PlanApproval.REJECT,
        execution_timeout=None,  # it would end the waiting: apache/airflow#55866
    ).expand_kwargs(questions(outcomes))
    decide.expand(answer=asked.output)
