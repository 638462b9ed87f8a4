"""The grader: learners' code in, verdicts out."""
