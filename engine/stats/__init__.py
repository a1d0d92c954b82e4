"""Pure statistics of answers: agreement, shared errors, intervals, tests. Knows nothing of the project."""
