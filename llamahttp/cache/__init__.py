"""Cache: prompts that need not be computed again. Resident in the context's memory, and below that in RAM and on disk."""
