"""People in and out: import, export, cohorts and threads from files. docs/audience.md has the formats."""

from msgxc.people.exporting import export_people
from msgxc.people.importing import ImportSummary, Progress, import_people
from msgxc.people.selecting import (
    CohortSummary,
    cohort_from,
    cohort_name,
    cohort_where,
    count,
    require_cohort,
    select,
)
from msgxc.people.threads import ThreadsSummary, import_threads

__all__ = [
    "CohortSummary",
    "ImportSummary",
    "Progress",
    "ThreadsSummary",
    "cohort_from",
    "cohort_name",
    "cohort_where",
    "count",
    "export_people",
    "import_people",
    "import_threads",
    "require_cohort",
    "select",
]
