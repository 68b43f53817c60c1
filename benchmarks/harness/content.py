"""Content words: what a summary has to say, without the words that hold it together."""

import re

_WORD = re.compile(r"[^\W\d_]+")
# Words of four letters and more that say nothing by themselves. Shorter ones are none anyway.
FUNCTION_WORDS = frozenset(
    [
        *("about", "above", "after", "again", "against", "along", "also", "although", "among", "another", "around"),
        *("because", "been", "before", "being", "below", "between", "both", "cannot", "could", "does", "doing", "down"),
        *("during", "each", "either", "even", "ever", "every", "from", "have", "having", "here", "hers", "herself"),
        *("himself", "however", "into", "itself", "just", "like", "many", "might", "more", "most", "much", "must"),
        *("neither", "only", "other", "others", "ours", "over", "rather", "same", "shall", "should", "since", "some"),
        *("such", "than", "that", "their", "theirs", "them", "themselves", "then", "there", "these", "they", "this"),
        *("those", "though", "through", "under", "until", "upon", "very", "were", "what", "when", "where", "whether"),
        *("which", "while", "whom", "whose", "will", "with", "within", "without", "would", "your", "yours"),
    ]
)
LEAST_LETTERS = 4


def content_words(text: str) -> set[str]:
    """The words of at least four letters in small letters, but for function words."""
    words = _WORD.findall(text.lower())
    return {word for word in words if len(word) >= LEAST_LETTERS and word not in FUNCTION_WORDS}
