"""The body of POST /v1/chat/completions: what is accepted, and what is refused by name.

Invariant: a parameter that cannot be honoured is an error that names it, never ignored in silence. Values that ask for
nothing special (``modalities: ["text"]``, ``store: false``) are honoured by doing nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from daemon.api.chat_guides import GuideFields
from daemon.api.chat_messages import MAX_IMAGES, ChatMessage
from daemon.api.chat_sampling import SamplingFields
from daemon.api.chat_thinking import EFFORT, ThinkingFields
from daemon.api.chat_tools import ToolFields
from daemon.api.fields import KeepAliveField, RequestBody, Strict
from daemon.api.headers import NO_WISHES, Wishes
from daemon.bounds import MAX_SECONDS
from daemon.pool.protocol import Generate
from daemon.terms import Terms
from daemon.wants import Wants, parse_task
from registry.errors import InvalidRequest
from selector.policy import Policy

# Of English text four and more, of code and of other scripts fewer: rather too much room than too little.
CHARACTERS_PER_TOKEN = 3
# Vision models make some hundred to a few thousand tokens of a picture (judged).
TOKENS_PER_IMAGE = 1000

# Parameters of OpenAI's API that nothing here can honour, with the values that ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none",),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "store": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
# Of these, what only says how fast, how wordy, or kept for whom.
HINTS = frozenset({"prediction", "store", "verbosity"})


# What the worker calls every form that an answer can be asked to have.
GUIDE = "response_format"


class StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(RequestBody, SamplingFields, ToolFields, GuideFields, ThinkingFields):
    """OpenAI's chat completion request, with more beside it.

    ``task`` and ``policy`` are for the choice of ``auto``; they mean nothing for a model that is named. ``keep_alive``
    is how long the model stays loaded afterwards, ``deadline_s`` the most that the whole answer may take.
    """

    refused = NEUTRAL
    hints = HINTS

    model: str = Field("auto", min_length=1, max_length=512)
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    task: str | None = Field(None, max_length=64)
    policy: Annotated[Policy, Field(strict=False)] | None = None
    keep_alive: KeepAliveField | None = Field(None, description='seconds, or text such as "5m"; -1 is for ever')
    deadline_s: float | None = Field(None, gt=0, le=MAX_SECONDS)
    # These say who asks; nothing in the answer depends on them.
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None

    def wants(self, wishes: Wishes = NO_WISHES) -> Wants:
        """What it says about the choice of a model. Raises UnknownTask."""
        named = wishes.task or self.task
        return Wants(
            needs_tools=bool(self.offered_tools),
            needs_vision=self._images > 0,
            task=parse_task(named.strip().lower()) if named is not None else None,
            policy=wishes.policy or self.policy,
            thinking=self.thinking,
            turns=tuple(m.text for m in self.messages if m.role == "user"),
            context_tokens=self._estimated_tokens() + (self.most_tokens or 0),
            is_in_tool_loop=self.messages[-1].role == "tool",
        )

    def terms(self, wishes: Wishes = NO_WISHES) -> Terms:
        """On what terms it is answered."""
        return Terms(self.keep_alive, wishes.deadline_s or self.deadline_s)

    def as_generate(self, *, max_messages: int) -> Generate:
        """Raises InvalidRequest for what single fields cannot show."""
        if len(self.messages) > max_messages:
            raise InvalidRequest(
                f"{len(self.messages)} messages are more than max_messages = {max_messages}.", param="messages"
            )
        if self._images > MAX_IMAGES:
            raise InvalidRequest(
                f"There are {self._images} pictures; one request can have at most {MAX_IMAGES}.", param="messages"
            )
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("'stream_options' needs \"stream\": true.", param="stream_options")
        return Generate(
            request_id=uuid.uuid4().hex,
            messages=[message.as_dict() for message in self.messages],
            guide=self.as_guide(),
            **self.sampling_fields(),
            **self.tool_fields(),
        )

    @property
    def names(self) -> Mapping[str, str]:
        """What it calls that for which there are several fields."""
        return {GUIDE: self.guide_name or GUIDE, EFFORT: self.thinking_name}

    @property
    def _images(self) -> int:
        return sum(message.images for message in self.messages)

    def _estimated_tokens(self) -> int:
        """Of the prompt."""
        texts = [message.text for message in self.messages]
        texts += [call.function.arguments for message in self.messages for call in message.tool_calls or ()]
        texts += [tool.model_dump_json(exclude_none=True) for tool in self.offered_tools]
        return sum(map(tokens_of, texts)) + TOKENS_PER_IMAGE * self._images


def tokens_of(text: str) -> int:
    """About how many; scripts beyond ASCII have about a token for each character."""
    ascii_only = len(text.encode("ascii", "ignore"))
    return len(text) - ascii_only + ascii_only // CHARACTERS_PER_TOKEN
