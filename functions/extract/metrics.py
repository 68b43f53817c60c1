"""What /extract counts of the work that is done: a result that is given again, or to several, counts once."""

from prometheus_client import Counter

from common.metrics import declare_phase, registry

texts = Counter("factory_extract_texts", "Texts that were looked through", registry=registry)
words = Counter("factory_extract_words", "Words of these texts", registry=registry)
windows = Counter("factory_extract_windows", "Windows that the model was run on", registry=registry)

declare_phase(
    "model",
    "From the first window in the model to the last entity",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
)
