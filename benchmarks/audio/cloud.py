"""The loopback cloud as a process of its own, so that its pace does not depend on who measures.

    python -m benchmarks.audio.cloud

Every line on standard input is a JSON object with attributes of SpeechCloud to set (`{"pace": 8, "fault": "stall"}`)
and perhaps `"forget": true`; each is answered by a line with the cloud's state. It ends with its input.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

from benchmarks.harness.folders import LOGS, ROOT
from tests.doubles.edge_server import Fault, SpeechCloud

# No two texts of a benchmark begin alike; of a text in several turns only the first begins so.
OPENING = 20


@dataclass(frozen=True)
class State:
    """`turns` since the last `forget`, how many of them are `open`, and when each text's first sound was sent."""

    url: str
    dead_url: str
    turns: int
    open: int
    first_sent_at: dict[str, float]


class Cloud:
    """The process, from the side of who started it; a context manager."""

    def __init__(self, **attributes: object) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        with (LOGS / "audio-cloud.log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.audio.cloud"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
            )
        state = self.tell(**attributes)
        self.url, self.dead_url = state.url, state.dead_url

    def tell(self, **attributes: object) -> State:
        """The state after setting these; `forget=True` has it forget its turns afterwards."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(attributes), file=self._process.stdin)
        return State(**json.loads(self._process.stdout.readline()))

    def __enter__(self) -> "Cloud":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def state(cloud: SpeechCloud) -> State:
    turns = list(cloud.turns)
    begun = [(turn.text.strip()[:OPENING], turn.first_sent_at) for turn in turns if turn.first_sent_at is not None]
    # The first of the turns where one was tried again.
    first_sent_at = {opening: at for opening, at in reversed(begun)}
    still_open = sum(not turn.closed.is_set() for turn in turns)
    return State(cloud.url, cloud.endpoint(Fault.REFUSE), len(turns), still_open, first_sent_at)


def main() -> None:
    with SpeechCloud() as cloud:
        for line in sys.stdin:
            attributes = json.loads(line)
            forget = attributes.pop("forget", False)
            for name, value in attributes.items():
                setattr(cloud, name, Fault(value) if name == "fault" else value)
            print(json.dumps(asdict(state(cloud))), flush=True)
            if forget:
                cloud.turns.clear()


if __name__ == "__main__":
    main()
