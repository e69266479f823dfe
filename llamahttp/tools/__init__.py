"""Tools: how models write reasoning and tool calls, told in one description that gives the grammar and the parser."""
