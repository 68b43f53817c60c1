"""python -m runner.downloads: fetch the models that the profile needs, ahead of the first start."""

import sys
from typing import TYPE_CHECKING, Any

from common import logs, model_files
from common.errors import ModelLoadFailed
from common.lazy import ModelStatus
from common.settings import get_settings
from functions.audio import piper_loading as piper
from functions.extract import model as gliner
from functions.summarize import model as llama

if TYPE_CHECKING:
    from tqdm import tqdm


def main() -> None:
    """Prints where each file is. Shows a bar on a terminal, else lines of the log."""
    from tqdm import tqdm

    settings = get_settings()
    logs.configure(settings.log_style, settings.log_level)
    try:
        wanted = gliner.resolve(settings.extract)
        language = llama.resolve(settings.summarize)
        small = llama.resolve_stand_in(settings.summarize)
        first = [small.file] if small else []
        files = [*first, language.file, *([language.adapter] if language.adapter else []), *wanted.files]
        files += [file for voice in piper.preloaded(settings.audio) for file in piper.files(voice)]
        while files:
            file = files.pop(0)
            with tqdm(total=100, unit="%", disable=not sys.stderr.isatty(), leave=False) as bar:

                def show(status: ModelStatus, bar: "tqdm[Any]" = bar) -> None:
                    bar.set_description_str(status.detail, refresh=False)
                    bar.update(round(100 * (status.progress or 0)) - bar.n)

                path = model_files.local(file, settings, show)
            print(path)
            if file == wanted.model:
                files += [weights for weights, _ in gliner.weights(file, path)]
    except ModelLoadFailed as error:
        sys.exit(f"downloads: {error}")
    except KeyboardInterrupt:
        sys.exit("downloads: interrupted; the next start goes on from there")


if __name__ == "__main__":
    main()
