"""Map-reduce: an article that is too long for the context becomes the summaries of its parts."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from common.sentences import finished
from functions.summarize import condense
from functions.summarize.context import Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.planning import Plan
from functions.summarize.tickets import Completion

# The summary of a part may have this share of the tokens that a prompt has room for.
PART_SHARE = 0.2


@dataclass(frozen=True)
class Parts:
    """How parts are summarised: `parallel` at a time; `sampling` is told the tokens of summary and thoughts.

    `told` is given how each of them ended.
    """

    engine: LlamaEngine
    parallel: int
    sampling: Callable[[int, int], Sampling]
    told: Callable[[Completion], None] = lambda _: None

    async def reduced(self, text: str, tokens: list[int], room: int) -> tuple[str, list[int], dict[str, float]]:
        """A text of at most `room` tokens, its tokens, and the milliseconds of the phases.

        It is longer only where the model writes more than it reads: the rest is left to condensing.
        """
        engine, phases = self.engine, dict[str, float]()
        output = max(1, int(room * PART_SHARE))
        taken = engine.prompt.frame_length() + output + engine.thinking_tokens
        part_room = min(room, engine.context_tokens - taken)
        turns = asyncio.Semaphore(self.parallel)

        async def summary(part: str) -> str:
            async with turns:
                written, completion = await self._summary_of(part, output)
            self.told(completion)
            phases.update(added(phases, completion))
            return written

        while len(tokens) > room:
            parts = await engine.run(partial(condense.windows, text, part_room, engine.count), len(text))
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(summary(part)) for part in parts]
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None
            text, before = "\n\n".join(task.result() for task in tasks), len(tokens)
            tokens = await engine.tokens_of(text)
            if len(tokens) >= before:
                break
        return text, tokens, phases

    async def _summary_of(self, part: str, output_tokens: int) -> tuple[str, Completion]:
        engine, thinking = self.engine, self.engine.thinking_tokens
        tokens = engine.prompt.build(await engine.tokens_of(part))
        ticket = engine.reserve(len(tokens), Plan(0, output_tokens + thinking), None, False)
        try:
            async with aclosing(engine.generate(ticket, tokens, self.sampling(output_tokens, thinking))) as stream:
                *written, completion = [piece async for piece in stream]
        finally:
            engine.release(ticket)
        assert isinstance(completion, Completion)
        text = "".join(map(str, written))
        return finished(text) or text.strip(), completion


def added(phases: dict[str, float], completion: Completion) -> dict[str, float]:
    """`phases` with the milliseconds of one more generation."""
    more = {"queue": completion.queue_ms, "prefill": completion.prefill_ms, "decode": completion.decode_ms}
    return {name: phases.get(name, 0.0) + milliseconds for name, milliseconds in more.items()}
