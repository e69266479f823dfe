"""Cache: prompts that need not be computed again: resident in the context's memory, below that in RAM and on disk."""
