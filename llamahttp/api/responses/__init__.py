"""OpenAI's Responses API: its requests to chats, and answers to its items and events."""
