"""A task runner of a stranger, who knows `runnerstone.task_runners` and nothing else."""
