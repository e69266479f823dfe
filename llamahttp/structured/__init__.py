"""Structured output: what answers have to be, from JSON Schemas and regular expressions to grammars."""
