"""Multi-turn: a conversation of many turns, what of each prompt is computed again, before and after a restart."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

from bench.case import Flag, Host, Measure, Take, answer_of, completion
from bench.equality import N_TOP, Answer, Equality, compare
from bench.exchange import Exchange
from bench.scenario import Request, random_tokens, random_words
from bench.server import Server
from bench.stage import Stage

Route = Literal["completion", "chat"]


@dataclass(slots=True)
class Talk:
    """A conversation so far, in token ids or in messages, and the sizes of what is added to it."""

    route: Route
    seed: str
    n_vocab: int
    n_predict: int
    tokens: list[int] = field(default_factory=list)
    messages: list[dict[str, str]] = field(default_factory=list)
    n_said: int = 0

    def say(self, n: int) -> None:
        """The user says `n` tokens or words."""
        self.n_said += 1
        seed = f"{self.seed}/{self.n_said}"
        self.tokens += random_tokens(seed, n, self.n_vocab)
        self.messages.append({"role": "user", "content": " ".join(random_words(seed, n))})

    def hear(self, answer: dict[str, Any], ids: list[int]) -> None:
        """The model has answered."""
        self.tokens += ids
        if self.route == "chat":
            message = (answer.get("choices") or [{}])[0].get("message") or {}
            self.messages.append({"role": "assistant", "content": message.get("content") or ""})

    def request(self, cache_prompt: bool) -> Request:
        if self.route == "completion":
            extra = {"n_probs": N_TOP, "cache_prompt": cache_prompt}
            return completion(list(self.tokens), self.n_predict, stream=False, **extra)
        body = {
            "messages": self.messages,
            "max_tokens": self.n_predict,
            "temperature": 0,
            "ignore_eos": True,
            "logprobs": True,
            "top_logprobs": N_TOP,
            "cache_prompt": cache_prompt,
        }
        return Request("chat", json.dumps(body).encode(), self.n_predict, False)


@dataclass(slots=True)
class Turn:
    """One turn as a server answered it: prompt tokens in all, those not computed, and what the rest took."""

    n_prompt: int
    n_cached: int
    prompt_ms: float
    answer: Answer

    @classmethod
    def of(cls, exchange: Exchange) -> Turn:
        answer = answer_of(exchange)
        timings = answer.get("timings") or {}
        n_cached, n_computed = timings.get("cache_n", 0), timings.get("prompt_n", 0)
        return cls(n_cached + n_computed, n_cached, timings.get("prompt_ms", 0.0), Answer.of(answer))

    @property
    def share(self) -> float:
        """Percent of the prompt that was not computed."""
        return 100 * self.n_cached / self.n_prompt if self.n_prompt else 0.0


def share_of(turns: list[Turn]) -> float:
    n_prompt = sum(turn.n_prompt for turn in turns)
    return 100 * sum(turn.n_cached for turn in turns) / n_prompt if n_prompt else 0.0


@dataclass(frozen=True, slots=True)
class MultiTurn:
    """A conversation; a restart and the next turn; a restart and all turns once more; the same without a cache."""

    architecture: str
    route: Route = "chat"
    n_turns: int = 10
    n_first: int = 400
    n_user: int = 160
    n_predict: int = 32

    name: ClassVar[str] = "multi-turn"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("total_ms", "all prompts, restarts included", "ms", 1, False, "computing time of all of them"),
        Measure("prompt_ms", "prompts of turns 2 and on", "ms", 1, False, "computing time of all of them"),
        Measure("reused", "of these tokens reused", "%", 1, True, "prompt tokens that were not computed"),
        Measure("next_ms", "next turn after a restart", "ms", 1, False, "computing time of its prompt"),
        Measure("next_reused", "of its tokens reused", "%", 1, True, "prompt tokens that were not computed"),
        Measure("replay_ms", "all turns after a restart", "ms", 1, False, "computing time of all prompts"),
        Measure("replay_reused", "of these tokens reused", "%", 1, True, "prompt tokens that were not computed"),
        Measure("right", "answers right", "%", 1, True,
                "the same tokens as with cache_prompt false on a fresh server, or a tie of two tokens"),
        Measure("ties", "of these, by a tie", "%", 1, None, "see bench/equality.py"),
    )
    # fmt: on

    @property
    def model(self) -> str:
        return self.architecture

    @property
    def variant(self) -> str:
        return self.architecture + (" tokens" if self.route == "completion" else "")

    @property
    def title(self) -> str:
        unit, path = ("words", "/v1/chat/completions") if self.route == "chat" else ("tokens", "/completion")
        sizes = f"{self.n_first} {unit}, then {self.n_user} a turn, {self.n_predict} tokens answered"
        return f"{self.n_turns} turns over {path}, {self.architecture} model: {sizes}"

    def flags(self, folder: str) -> list[Flag]:
        return [("-np", "2"), ("-c", "32768"), ("--cache-disk", folder)]

    def run(self, host: Host, seed: str) -> Take:
        take = Take()
        talk = Talk(self.route, seed, host.n_vocab, self.n_predict)
        with TemporaryDirectory(prefix="bench-cache-") as folder:
            with host.open(*self.flags(folder)) as server:
                requests, turns = self._talk(host, server, talk, take)
            with host.open(*self.flags(folder)) as server:
                after = self._ask(host, server, requests[-1:], take)[0]
            with host.open(*self.flags(folder)) as server:
                replay = self._ask(host, server, requests[:-1], take)
        # The same prompts on a server that has nothing and looks for nothing.
        with host.open(("-np", "2"), ("-c", "32768")) as server:
            alone = self._ask(host, server, [without_cache(request) for request in requests], take)
        self._figures(take, turns, after, replay)
        if not take.faults:
            self._compare(take, [*turns, *replay, after], [*alone[:-1], *alone])
        rows = zip(turns, replay, strict=True)
        take.detail["turns"] = [{"before": brief(turn), "after": brief(again)} for turn, again in rows]
        return take

    def _talk(self, host: Host, server: Server, talk: Talk, take: Take) -> tuple[list[Request], list[Turn]]:
        """All requests with the one that would come next, and the turns as they were answered."""
        requests, turns = [], []
        talk.say(self.n_first)
        for id_turn in range(self.n_turns):
            requests.append(talk.request(cache_prompt=True))
            exchange = ask(host, server, requests[-1])
            take.check([exchange])
            turns.append(Turn.of(exchange))
            talk.hear(answer_of(exchange), turns[-1].answer.ids)
            talk.say(self.n_user)
            host.tell(f"turn {id_turn + 1}/{self.n_turns}")
        return [*requests, talk.request(cache_prompt=True)], turns

    def _ask(self, host: Host, server: Server, requests: list[Request], take: Take) -> list[Turn]:
        exchanges = [ask(host, server, request) for request in requests]
        take.check(exchanges)
        return [Turn.of(exchange) for exchange in exchanges]

    def _figures(self, take: Take, turns: list[Turn], after: Turn, replay: list[Turn]) -> None:
        take.figures = {
            "total_ms": sum(turn.prompt_ms for turn in [*turns, after, *replay]),
            "prompt_ms": sum(turn.prompt_ms for turn in turns[1:]),
            "reused": share_of(turns[1:]),
            "next_ms": after.prompt_ms,
            "next_reused": after.share,
            "replay_ms": sum(turn.prompt_ms for turn in replay),
            "replay_reused": share_of(replay),
        }

    def _compare(self, take: Take, turns: list[Turn], alone: list[Turn]) -> None:
        pairs = zip(turns, alone, strict=True)
        counts = Counter(compare(turn.answer, other.answer) for turn, other in pairs)
        take.figures["right"] = 100 - 100 * counts[Equality.DIFFERENT] / len(turns)
        take.figures["ties"] = 100 * counts[Equality.TIE] / len(turns)
        if counts[Equality.DIFFERENT]:
            take.faults["the answer is not that of a run without a cache"] += counts[Equality.DIFFERENT]


def ask(host: Host, server: Server, request: Request) -> Exchange:
    with Stage(server.address, host.timeout_s) as stage:
        exchanges = stage.ask([request])
        stage.finish(exchanges)
    return exchanges[0]


def without_cache(request: Request) -> Request:
    body = json.loads(request.body) | {"cache_prompt": False}
    return Request(request.dialect, json.dumps(body).encode(), request.n_expected, request.stream)


def brief(turn: Turn) -> dict[str, float]:
    return {key: value for key, value in asdict(turn).items() if key != "answer"}
