"""Anthropic's Messages API: its requests to chats, and answers to its messages and events."""
