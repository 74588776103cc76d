"""OpenAI's Responses API: the same answers as of a chat, as items, and kept so that the next request can go on."""
