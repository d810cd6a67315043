"""What the processes of a job share: seeds, memory, Ray, stages of threads."""
