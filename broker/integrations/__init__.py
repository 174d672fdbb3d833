"""Files and services of other programs that the broker reads or edits."""
