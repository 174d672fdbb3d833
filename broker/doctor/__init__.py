"""The doctor: looks at the whole chain from Claude Code to the source, and says what is wrong and how to mend it.

`examination` runs every check of `areas` on one `scene`, where what several need is found out once. Changes nothing.
"""

from broker.doctor.examination import examine
from broker.doctor.finding import Finding, Report, Severity

__all__ = ["Finding", "Report", "Severity", "examine"]
