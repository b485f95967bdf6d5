"""Which backups a site makes: what its BackupPolicies come to, and what its settings say."""

from shared.backup.settings import BackupSettings
from shared.backup.standing import Task
from shared.ids import COMMON
from shared.model.settings_policies import BackupPolicy
from shared.policy.compile import SitePlanner
from shared.policy.inherit import effective_settings

KIND = "BackupPolicy"


def wanted_backups(planner: SitePlanner, settings: BackupSettings) -> list[Task]:
    """Return the tasks in name order.

    Only policies of `common` count: a backup holds what belongs to every tenant.
    """
    found = effective_settings(
        planner.inheritance(), planner.definitions, KIND, planner.places.chain()
    )
    tasks = []
    for name, effective in found.items():
        spec = effective.spec
        if name.tenant == COMMON and isinstance(spec, BackupPolicy):
            tasks.append(
                Task(
                    name=name.name,
                    cron=spec.schedule,
                    timezone=spec.timezone,
                    retain=spec.retain,
                    destination=spec.destination,
                    policy=effective.document.key,
                )
            )
    own = settings.own_task()
    return [*([own] if own else []), *tasks]
