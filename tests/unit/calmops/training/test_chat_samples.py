from calmops.training.data.chat_samples import conversations
from calmops.training.data.corpus import Document

SOURCE = '''
class Box:
    def size(self):
        """Return the size.

        More words.
        """
        return len(self.items)

    def empty_it(self, *,
                 now=True):
        """Throw everything away."""
        if now:
            self.items.clear()

    def undocumented(self):
        return 1

    def only_words(self):
        """Nothing but words."""
'''


def turns_of(text: str, path: str = "box.py") -> list[tuple[str, str]]:
    return [(request.content, answer.content) for request, answer in conversations([Document(path, text, "0")])]


def test_a_documented_function_becomes_a_request_and_its_answer() -> None:
    assert turns_of(SOURCE) == [
        (
            "Write a Python function named size. Return the size.",
            "def size(self):\n    return len(self.items)",
        ),
        (
            "Write a Python function named empty_it. Throw everything away.",
            "def empty_it(self, *,\n             now=True):\n    if now:\n        self.items.clear()",
        ),
    ]


def test_the_other_wording_shows_the_signature() -> None:
    text = 'def add(a, b):\n    """Add two\nnumbers."""\n    return a + b\n'
    assert turns_of(text) == [('def add(a, b):\n    """Add two\n    numbers."""', "def add(a, b):\n    return a + b")]


def test_a_file_that_is_not_python_gives_no_sample() -> None:
    assert turns_of("def broken(:\n") == []
    assert turns_of(SOURCE, "box.txt") == []
