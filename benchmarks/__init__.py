"""What runnerstone costs beside doing without it: ``python -m benchmarks`` from the root."""
